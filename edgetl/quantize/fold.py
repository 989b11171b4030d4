"""BatchNorm folded into the convolution before it, exactly, so that int8 weights are the weights that are really used.

Not for: training a folded model; its BatchNorm is gone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgetl import extras
from edgetl.quantize.graph import LINEAR, Keras, is_linear, kind, rebuild, steps
from edgetl_device.errors import InputError


def fold_batch_norm(model: Keras) -> Keras:
    """Return a copy of ``model`` with every BatchNormalization folded into the linear layer it follows.

    With y = gamma (Wx + b - mean) / sqrt(var + eps) + beta (Ioffe & Szegedy 2015, inference mode) the new kernel is
    W * gamma / sqrt(var + eps) per output channel, and the new bias beta + (b - mean) * gamma / sqrt(var + eps),
    computed in float64 and stored in float32. Layer names stay; the folded layers have a bias.

    Args:
        model: A flat functional model, channels last.

    Raises:
        InputError: A BatchNormalization does not follow a Conv2D, DepthwiseConv2D or Dense of which it is the only
            reader, or a weight is NaN or infinite.
    """
    order = steps(model)
    keras = extras.keras()
    readers: dict[int, int] = {}
    for node in order:
        for tensor in node.input_tensors:
            readers[id(tensor)] = readers.get(id(tensor), 0) + 1
    writers = {id(node.outputs[0]): node.operation for node in order}
    weights, drop = {}, set()
    for node in order:
        norm = node.operation
        if not isinstance(norm, keras.layers.BatchNormalization):
            continue
        source = node.input_tensors[0]
        before: Keras = writers.get(id(source))
        _check(norm, before, readers[id(source)] == 1 and source is not model.outputs[0])
        weights[before.name] = _folded(before, norm)
        drop.add(norm.name)
    for operation in {node.operation for node in order}:
        for array in weights.get(operation.name) or getattr(operation, "get_weights", list)():
            if not np.isfinite(array).all():
                raise InputError(
                    f"layer {operation.name!r}: has NaN or infinite weights",
                    hint="Train again with a smaller learning rate, or restore an earlier checkpoint.",
                )
    return rebuild(model, weights, drop=drop)


def _check(norm: Keras, before: Keras | None, only_reader: bool) -> None:
    axis = norm.axis if isinstance(norm.axis, int) else norm.axis[0]
    rank = len(norm.input.shape)
    if before is None or not is_linear(before):
        found = "the model's input" if before is None else f"{kind(before)} {before.name!r}"
        why = f"it follows {found}; folding knows {', '.join(LINEAR)}"
    elif not only_reader:
        why = f"{before.name!r} is also read elsewhere"
    elif before.activation is not None and before.activation is not extras.keras().activations.linear:
        why = f"{before.name!r} has an activation in between"
    elif axis not in (-1, rank - 1) or getattr(before, "data_format", "channels_last") != "channels_last":
        why = "only the channels-last layout can be folded"
    else:
        return
    raise InputError(f"layer {norm.name!r}: this BatchNormalization cannot be folded", why=why)


def _folded(before: Keras, norm: Keras) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    mean, variance = (np.asarray(value, np.float64) for value in (norm.moving_mean, norm.moving_variance))
    gamma = np.asarray(norm.gamma, np.float64) if norm.scale else np.ones_like(mean)
    beta = np.asarray(norm.beta, np.float64) if norm.center else np.zeros_like(mean)
    kernel, *bias = (np.asarray(array, np.float64) for array in before.get_weights())
    factor = gamma / np.sqrt(variance + norm.epsilon)
    # A depthwise kernel is [height, width, in, multiplier] and writes channel in * multipliers + multiplier.
    per_channel = factor.reshape(kernel.shape[-2:]) if kind(before) == "DepthwiseConv2D" else factor
    shifted = beta + ((bias[0] if bias else 0.0) - mean) * factor
    return (kernel * per_channel).astype(np.float32), shifted.astype(np.float32)
