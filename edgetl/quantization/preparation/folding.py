"""Exact BatchNorm folding, so that int8 quantizes the effective weights."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from edgetl._lib import extras
from edgetl.quantization.preparation.graph import LINEAR, Keras, is_linear, kind, rebuild, steps
from edgetl_device.errors import InputError

Arrays = list[npt.NDArray[np.float32]]

# Pre-activation networks (DenseNet, some cells of NASNet) normalize concatenated outputs of several convolutions, or a
# tensor that other layers read unnormalized. Such a BatchNorm becomes a layer of its own.
_ALONE_AFTER = ("Concatenate", "MaxPooling2D", "AveragePooling2D")


def fold_batch_norm(model: Keras) -> Keras:
    """Return a copy of ``model`` without BatchNormalization, in which only linear layers have weights.

    With y = gamma (Wx + b - mean) / sqrt(var + eps) + beta (Ioffe & Szegedy 2015, inference mode) the new kernel is
    W * gamma / sqrt(var + eps) per output channel, and the new bias beta + (b - mean) * gamma / sqrt(var + eps),
    computed in float64 and stored in float32. Layers keep their names; the folded ones have a bias.

    A BatchNormalization after a Concatenate or a pooling layer has no such W; it becomes a 1x1 DepthwiseConv2D of the
    same name. A SeparableConv2D becomes a DepthwiseConv2D, with ``_depthwise`` added to its name, and a 1x1 Conv2D of
    the same name.

    Args:
        model: A flat functional model, channels last.

    Raises:
        InputError: A BatchNormalization follows another kind of layer, or is not the only reader of that layer; another
            kind of layer has weights; or a weight is NaN or infinite.
    """
    order = steps(model)
    keras = extras.keras()
    readers = Counter(id(tensor) for node in order for tensor in node.input_tensors)
    writers = {id(node.outputs[0]): node.operation for node in order}
    weights: dict[str, Arrays] = {}
    replace: dict[str, list[Keras]] = {}
    drop = set()
    for node in order:
        if _is_separable(node.operation):
            _split(node.operation, weights, replace)
    for node in order:
        norm = node.operation
        if not isinstance(norm, keras.layers.BatchNormalization):
            continue
        source = node.input_tensors[0]
        before: Keras = writers.get(id(source))
        if before is not None and kind(before) in _ALONE_AFTER and _is_last_of_four(norm):
            replace[norm.name] = [_alone(norm)]
            weights[norm.name] = _scale_and_shift(norm)
            continue
        _check(norm, before, readers[id(source)] == 1 and source is not model.outputs[0])
        weights[before.name] = _folded(before, weights.get(before.name) or before.get_weights(), norm)
        drop.add(norm.name)
    for node in order:
        _check_weights(node.operation, weights)
    return rebuild(model, weights, drop=drop, replace=replace)


def _is_separable(operation: Keras) -> bool:
    return type(operation) is extras.keras().layers.SeparableConv2D


def _is_last_of_four(norm: Keras) -> bool:
    axis = norm.axis if isinstance(norm.axis, int) else norm.axis[0]
    return len(norm.input.shape) == 4 and axis in (-1, 3)


def _split(separable: Keras, weights: dict[str, Arrays], replace: dict[str, list[Keras]]) -> None:
    layers = extras.keras().layers
    depthwise = layers.DepthwiseConv2D(
        separable.kernel_size,
        separable.strides,
        separable.padding,
        depth_multiplier=separable.depth_multiplier,
        data_format=separable.data_format,
        dilation_rate=separable.dilation_rate,
        use_bias=False,
        name=f"{separable.name}_depthwise",
    )
    pointwise = layers.Conv2D(
        separable.filters,
        1,
        data_format=separable.data_format,
        activation=separable.activation,
        name=separable.name,
    )
    kernel, pointwise_kernel, *bias = separable.get_weights()
    replace[separable.name] = [depthwise, pointwise]
    weights[depthwise.name] = [kernel]
    weights[separable.name] = [pointwise_kernel, *(bias or [np.zeros(separable.filters, np.float32)])]


def _alone(norm: Keras) -> Keras:
    return extras.keras().layers.DepthwiseConv2D(1, name=norm.name)


def _check_weights(operation: Keras, weights: dict[str, Arrays]) -> None:
    norm = extras.keras().layers.BatchNormalization
    found: Arrays = [*getattr(operation, "get_weights", list)(), *weights.get(operation.name, ())]
    if found and not (is_linear(operation) or _is_separable(operation) or isinstance(operation, norm)):
        raise InputError(
            f"layer {operation.name!r}: cannot be quantized",
            why=f"it is a {kind(operation)} with weights; supported are {', '.join(LINEAR)} and SeparableConv2D",
        )
    if not all(np.isfinite(array).all() for array in found):
        raise InputError(
            f"layer {operation.name!r}: has NaN or infinite weights",
            hint="Train again with a smaller learning rate, or restore an earlier checkpoint.",
        )


def _check(norm: Keras, before: Keras | None, only_reader: bool) -> None:
    axis = norm.axis if isinstance(norm.axis, int) else norm.axis[0]
    rank = len(norm.input.shape)
    if before is not None and kind(before) in _ALONE_AFTER:
        why = "only the channels-last layout can be folded"
    elif before is None or not (is_linear(before) or _is_separable(before)):
        found = "the model's input" if before is None else f"{kind(before)} {before.name!r}"
        why = f"it follows {found}; supported are {', '.join((*LINEAR, 'SeparableConv2D', *_ALONE_AFTER))}"
    elif not only_reader:
        why = f"{before.name!r} has other readers too"
    elif before.activation is not None and before.activation is not extras.keras().activations.linear:
        why = f"{before.name!r} has an activation"
    elif axis not in (-1, rank - 1) or getattr(before, "data_format", "channels_last") != "channels_last":
        why = "only the channels-last layout can be folded"
    else:
        return
    raise InputError(f"layer {norm.name!r}: this BatchNormalization cannot be folded", why=why)


def _folded(before: Keras, weights: Arrays, norm: Keras) -> Arrays:
    factor, shift = _factor_and_shift(norm)
    kernel, *bias = (np.asarray(array, np.float64) for array in weights)
    # A depthwise kernel is [height, width, in, multiplier] and writes channel in * multipliers + multiplier.
    per_channel = factor.reshape(kernel.shape[-2:]) if kind(before) == "DepthwiseConv2D" else factor
    shifted = shift + (bias[0] if bias else 0.0) * factor
    return [(kernel * per_channel).astype(np.float32), shifted.astype(np.float32)]


def _scale_and_shift(norm: Keras) -> Arrays:
    """Return kernel and bias of the 1x1 DepthwiseConv2D equal to this BatchNormalization."""
    factor, shift = _factor_and_shift(norm)
    return [factor.reshape(1, 1, -1, 1).astype(np.float32), shift.astype(np.float32)]


def _factor_and_shift(norm: Keras) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    mean, variance = (np.asarray(value, np.float64) for value in (norm.moving_mean, norm.moving_variance))
    gamma = np.asarray(norm.gamma, np.float64) if norm.scale else np.ones_like(mean)
    beta = np.asarray(norm.beta, np.float64) if norm.center else np.zeros_like(mean)
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return factor, beta - mean * factor
