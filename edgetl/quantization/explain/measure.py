"""Measure one operator, from the activations and constants of both files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl.inspection.sqnr import sqnr_db
from edgetl.inspection.tflite.file import Operator, TFLiteModel
from edgetl.inspection.tflite.names import layer_of
from edgetl.inspection.tflite.tree import constant, to_real

from .match import Matching
from .result import Channels, Floats, Kernel, Layer
from .run import Activations
from .scaling import Affine, moved_scalings

# The dimension of a kernel's output channels, by the TFLite 8-bit quantization specification.
_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}


@dataclass(frozen=True, eq=False)
class Pair:
    """The float file with its activations, the int8 file, and the tensors that correspond."""

    float_: TFLiteModel
    float_tree: Any
    exact: Activations
    int8: TFLiteModel
    int8_tree: Any
    matching: Matching

    def counterpart(self, index: int) -> Floats:
        """Return the exact values of activation ``index`` of the int8 file: float32 [n, 1, ...]."""
        exact = self.exact[self.matching.pairs[index]]
        return self.moved[index].of(exact) if index in self.moved else exact

    @cached_property
    def moved(self) -> dict[int, Affine]:
        """Map from float values to int8 values, by int8 tensor, where repair moved the input scaling."""
        return moved_scalings(self.int8, self.int8_tree, self.float_, self.float_tree, self.matching)

    def _writer(self, index: int) -> Operator | None:
        """Return the operator of the float file that writes the counterpart of a tensor of the int8 file."""
        written = self.matching.pairs.get(index)
        return next((operator for operator in self.float_.operators if written in operator.outputs), None)

    def kernel(self, operator: Operator) -> Kernel | None:
        """Return the constants of an int8 operator; None if it has none or the float operator is a different one."""
        if operator.name not in _CHANNEL_AXIS:
            return None
        theirs = self._writer(operator.outputs[0])
        if theirs is None or theirs.name != operator.name:
            return None
        exact = _constants(self.float_tree, self.float_, theirs)
        rounded = _constants(self.int8_tree, self.int8, operator)
        if exact is None or rounded is None or exact[0].shape != rounded[0].shape:
            return None
        axis = _CHANNEL_AXIS[operator.name]
        others = tuple(dimension for dimension in range(rounded[0].ndim) if dimension != axis)
        # For an input factor * x + summand, divide the kernel by the factor and take the summand out of the bias.
        moved = self.moved.get(operator.inputs[0], Affine())
        kernel = exact[0] / np.float32(moved.factor)
        return Kernel(
            sqnr_db=sqnr_db(kernel, rounded[0]),
            low=rounded[0].min(others),
            high=rounded[0].max(others),
            scale=np.array(self.int8.tensors[operator.inputs[1]].scales, np.float32),
            bias_shift=rounded[1] - (exact[1] - np.float32(moved.summand) * kernel.sum(others)),
        )


def measure(
    pair: Pair, place: int, *, found: npt.NDArray[Any], alone: npt.NDArray[Any], answer_error: float | None
) -> Layer:
    """Measure operator ``place`` of the int8 file.

    Args:
        pair: Both files.
        place: Index of the operator.
        found: Its output in the whole int8 file, still quantized.
        alone: Its output for inputs from the float file, still quantized.
        answer_error: As in :class:`Layer`; None if an input has no counterpart, which makes ``alone`` meaningless.
    """
    int8, operator = pair.int8, pair.int8.operators[place]
    index = operator.outputs[0]
    tensor = int8.tensors[index]
    exact, real = pair.counterpart(index), to_real(found, tensor)
    limits = np.iinfo(tensor.dtype)
    low, high = (tensor.scales[0] * (limit - tensor.zero_points[0]) for limit in (limits.min, limits.max))
    return Layer(
        name=layer_of(int8, operator),
        operator=operator.name,
        tensor=tensor.name,
        float_tensor=pair.float_.tensors[pair.matching.pairs[index]].name,
        shape=tensor.shape,
        scale=tensor.scales[0],
        reach=(low, high),
        values=exact.size,
        sqnr_db=sqnr_db(exact, real),
        alone_sqnr_db=None if answer_error is None else sqnr_db(exact, to_real(alone, tensor)),
        answer_error=answer_error,
        largest_error=float(np.abs(real - exact).max()),
        channels=_channels(exact, real, low - tensor.scales[0] / 2, high + tensor.scales[0] / 2),
        kernel=pair.kernel(operator),
    )


def _channels(exact: Floats, found: Floats, low: float, high: float) -> Channels:
    exact, found = (values.reshape(-1, values.shape[-1]) for values in (exact, found))
    return Channels(
        low=exact.min(0),
        high=exact.max(0),
        int8_low=found.min(0),
        int8_high=found.max(0),
        mean_error=(found - exact).mean(0, dtype=np.float64).astype(np.float32),
        clipped=np.count_nonzero((exact < low) | (exact > high), axis=0).astype(np.int64),
    )


def _constants(tree: Any, model: TFLiteModel, operator: Operator) -> tuple[Floats, Floats] | None:
    """Return kernel and bias, dequantized; a missing bias is zeros. None if the kernel is not a constant."""
    kernel, *bias = operator.inputs[1:3]
    values = constant(tree, kernel, model.tensors[kernel])
    if values is None:
        return None
    channels = values.shape[_CHANNEL_AXIS[operator.name]]
    shift: npt.NDArray[Any] | None = None
    if bias and bias[0] >= 0:
        shift = constant(tree, bias[0], model.tensors[bias[0]])
    real = np.zeros(channels, np.float32) if shift is None else to_real(shift, model.tensors[bias[0]])
    return to_real(values, model.tensors[kernel]), real
