"""Round weights to the int8 grid of the converters, to nearest or with GPTQ.

The step is max|w| / 127 per output channel (optionally per tensor), as in the TFLite 8-bit quantization specification.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LEVELS = 127
# Damping relative to the mean diagonal of the Gram matrix, as in the paper: keeps it invertible.
_DAMPING = 0.01


def step_of(kernel: npt.NDArray[np.float32], *, per_tensor: bool = False) -> npt.NDArray[np.float32]:
    """Return the step max|w| / 127, float32 [groups, 1, outputs], per tensor [1, 1, 1]; 1 where all weights are 0.

    Args:
        kernel: float32 [groups, inputs, outputs]; one group for a convolution, one per channel for a depthwise one.
        per_tensor: One step for all outputs.
    """
    step = np.abs(kernel).max(axis=None if per_tensor else 1, keepdims=True) / _LEVELS
    return np.where(step > 0, step, 1.0).astype(np.float32)


def nearest(kernel: npt.NDArray[np.float32], step: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Round each weight to the nearest integer multiple of its step from :func:`step_of`."""
    return np.asarray((np.rint(kernel / step) * step).astype(np.float32))


def round_gptq(
    kernel: npt.NDArray[np.float32], step: npt.NDArray[np.float32], gram: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Round weights with GPTQ, minimizing the change of each output rather than of each weight.

    The weights of one input at a time are rounded, strongest input first, and the weights not yet rounded compensate
    the error (Frantar et al. 2022, arXiv:2210.17323, algorithm 1 with activation order). The largest weights keep their
    value, so that a converter derives the same grid.

    Args:
        kernel: float32 [groups, inputs, outputs].
        step: From :func:`step_of`.
        gram: Mean Gram matrix of the inputs, float64 [groups, inputs, inputs].

    Returns:
        float32 [groups, inputs, outputs], integer multiples of ``step``.
    """
    step = np.broadcast_to(step, (len(kernel), 1, kernel.shape[2]))
    levels_of = np.rint(kernel / step)
    diagonal = np.diagonal(gram, axis1=1, axis2=2)
    order = np.argsort(-diagonal, axis=1, kind="stable")
    pinned = np.take_along_axis(np.abs(levels_of) == _LEVELS, order[:, :, None], axis=1)
    left = np.take_along_axis(kernel.astype(np.float64), order[:, :, None], axis=1)
    sorted_gram = np.take_along_axis(np.take_along_axis(gram, order[:, :, None], axis=1), order[:, None, :], axis=2)
    # An input that is always 0 would make the matrix singular; its weight has no effect on the output.
    damping = np.maximum(_DAMPING * diagonal.mean(axis=1), np.finfo(np.float64).tiny ** 0.5)
    damped = sorted_gram + damping[:, None, None] * np.eye(kernel.shape[1])
    spread = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    rounded = np.empty_like(left)
    exact = np.take_along_axis(levels_of, order[:, :, None], axis=1)
    for place in range(kernel.shape[1]):
        levels = np.clip(np.rint(left[:, place] / step[:, 0]), -_LEVELS, _LEVELS)
        rounded[:, place] = np.where(pinned[:, place], exact[:, place], levels) * step[:, 0]
        error = (left[:, place] - rounded[:, place]) / spread[:, place, place, None]
        left[:, place + 1 :] -= spread[:, place, place + 1 :, None] * error[:, None]
    back = np.argsort(order, axis=1)
    return np.take_along_axis(rounded, back[:, :, None], axis=1).astype(np.float32)
