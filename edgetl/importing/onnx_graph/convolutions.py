"""Convolutions, pools, padding and dense layers. Explicit padding becomes TFLite's SAME where that is the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from edgetl.importing.plain import called, kind

from .values import (
    NHWC,
    Array,
    Graph,
    Keras,
    Node,
    Refused,
    Tensor,
    Value,
    aligned,
    attributes,
    channels_last,
    given,
    standard,
    title,
)

Pads = tuple[int, int, int, int]  # top, left, bottom, right
_NONE: Pads = (0, 0, 0, 0)
_RESIZE_WITH_COORDINATES = 11
# Layers whose outputs are never below 0.
_NOT_NEGATIVE = ("ReLU",)


def convolution(graph: Graph, node: Node) -> Tensor:
    """Convert Conv to Conv2D, grouped too, or DepthwiseConv2D."""
    own = attributes(node)
    kernel = graph.constant(node.input[1]).astype(np.float32)
    bias = graph.constant(node.input[2]).astype(np.float32) if given(node, 2) else np.zeros(len(kernel), np.float32)
    if kernel.ndim != 4:
        raise Refused(f"its kernel has {kernel.ndim - 2} spatial axes, not 2")
    groups, strides, dilations = own.get("group", 1), _pair(own, "strides"), _pair(own, "dilations")
    value = graph.value(node.input[0])
    tensor, before = channels_last(graph, value, node), _NONE
    size = [(side - 1) * dilation + 1 for side, dilation in zip(kernel.shape[2:], dilations, strict=True)]
    # SAME goes by the size with what a Pad added.
    pads = _pads(own, tensor.shape[1:3], size, strides)
    if value.padded is not None:
        tensor, before = value.padded
    pads = tuple(one + other for one, other in zip(pads, before, strict=True))  # type: ignore[assignment]
    tensor, padding = _padded(graph, tensor, pads, size, strides, node)
    channels = tensor.shape[-1]
    shared: dict[str, Any] = {
        "strides": strides,
        "padding": padding,
        "dilation_rate": dilations,
        "name": graph.names.of(title(node)),
    }
    sides, name = tuple(kernel.shape[2:]), graph.layers
    if max(strides) > 1 and max(dilations) > 1:
        raise Refused("it has strides and dilations at once, which TensorFlow has not")
    if groups == channels > 1:
        if strides[0] != strides[1]:
            raise Refused(f"it is depthwise with strides {list(strides)}, which must be equal")
        # [multiplier * channels, 1, h, w] to [h, w, channels, multiplier]
        weights = kernel.reshape(channels, -1, *sides).transpose(2, 3, 0, 1)
        layer = name.DepthwiseConv2D(sides, depth_multiplier=weights.shape[-1], depthwise_initializer="zeros", **shared)
    else:
        weights = kernel.transpose(2, 3, 1, 0)
        layer = name.Conv2D(len(kernel), sides, groups=groups, kernel_initializer="zeros", **shared)
    return Value(called(layer, tensor, weights=[weights, bias]), NHWC)


def max_pool(graph: Graph, node: Node) -> Tensor:
    """Convert MaxPool."""
    own, size, strides = attributes(node), _pair(attributes(node), "kernel_shape"), _pair(attributes(node), "strides")
    if len(node.output) > 1 and node.output[1]:
        raise Refused("it also puts out indices")
    if max(_pair(own, "dilations")) > 1:
        raise Refused("it has dilations")
    tensor = channels_last(graph, graph.value(node.input[0]), node)
    pads = _pads(own, tensor.shape[1:3], size, strides)
    padding: Literal["valid", "same"]
    if _is_same(pads, tensor.shape[1:3], size, strides):
        padding = "same"
    else:
        padding = "valid"
        pads = _used(pads, tensor.shape[1:3], size, strides)
        if any(pads) and kind(tensor._keras_history.operation) in _NOT_NEGATIVE:
            tensor = graph.named(graph.layers.ZeroPadding2D(_sides(pads))(tensor), node)
        elif any(pads):
            if any(2 * pad > side for pad, side in zip(pads, [*size, *size], strict=True)):
                raise Refused(f"it pads {list(pads)} for windows of {list(size)}")
            # Mirrored values are in the window already, so they change no maximum.
            sides = _sides(pads)
            tensor = graph.named(graph.ops.pad(tensor, ((0, 0), *sides, (0, 0)), mode="symmetric"), node)
    pool = graph.layers.MaxPooling2D(size, strides, padding)
    return Value(graph.named(pool(tensor), node), NHWC)


def average_pool(graph: Graph, node: Node) -> Tensor:
    """Convert AveragePool."""
    own, size, strides = attributes(node), _pair(attributes(node), "kernel_shape"), _pair(attributes(node), "strides")
    if max(_pair(own, "dilations")) > 1:
        raise Refused("it has dilations")
    tensor = channels_last(graph, graph.value(node.input[0]), node)
    shape = tensor.shape[1:3]
    pads = _pads(own, shape, size, strides)
    counts = bool(own.get("count_include_pad", 0))
    padding = "valid"
    # Windows that end beyond the input because of ceil_mode never count what is there; SAME does not either.
    if not counts and _is_same(pads, shape, size, strides):
        padding = "same"
    elif any(pads := _used(pads, shape, size, strides)):
        if not counts or own.get("ceil_mode"):
            raise Refused(f"it pads {list(pads)} and does not count what it pads, which TFLite only does for SAME")
        tensor = graph.named(graph.layers.ZeroPadding2D(_sides(pads))(tensor), node)
    pool = graph.layers.AveragePooling2D(size, strides, padding)
    return Value(graph.named(pool(tensor), node), NHWC)


def global_average_pool(graph: Graph, node: Node) -> Tensor:
    """Convert GlobalAveragePool."""
    tensor = channels_last(graph, graph.value(node.input[0]), node)
    return Value(graph.named(graph.layers.GlobalAveragePooling2D(keepdims=True)(tensor), node), NHWC)


def global_max_pool(graph: Graph, node: Node) -> Tensor:
    """Convert GlobalMaxPool."""
    tensor = channels_last(graph, graph.value(node.input[0]), node)
    return Value(graph.named(graph.layers.GlobalMaxPooling2D(keepdims=True)(tensor), node), NHWC)


def pad(graph: Graph, node: Node) -> Tensor:
    """Convert Pad of height and width; zeros before a convolution become part of it."""
    own, value = attributes(node), graph.value(node.input[0])
    pads = own.get("pads") or [int(one) for one in graph.constant(node.input[1])]
    if given(node, 3):
        rank = len(value.order)
        whole = [0] * (2 * rank)
        for place, axis in enumerate(int(one) % rank for one in graph.constant(node.input[3])):
            whole[axis], whole[rank + axis] = pads[place], pads[len(pads) // 2 + place]
        pads = whole
    if not any(pads):
        return value
    mode = own.get("mode", "constant")
    filled = own.get("value", 0.0) or (float(graph.constant(node.input[2]).reshape(-1)[0]) if given(node, 2) else 0.0)
    rank = len(value.order)
    if min(pads) < 0 or pads[0] or pads[rank] or mode not in ("constant", "reflect") or (mode == "constant" and filled):
        raise Refused(f"it pads {list(pads)} in mode {mode} with {filled:g}")
    sides = [(pads[axis], pads[rank + axis]) for axis in value.order]
    if mode == "reflect" or value.order != NHWC or any(sides[3]):
        moved = graph.ops.pad(value.tensor, tuple(sides), mode=mode)
        return Value(graph.named(moved, node), value.order)
    (top, bottom), (left, right) = sides[1:3]
    padded = graph.layers.ZeroPadding2D(((top, bottom), (left, right)))(value.tensor)
    return Value(graph.named(padded, node), NHWC, padded=(value.tensor, (top, left, bottom, right)))


def upsample(graph: Graph, node: Node) -> Tensor:
    """Convert Resize and Upsample by whole factors."""
    own, value = attributes(node), graph.value(node.input[0])
    tensor = channels_last(graph, value, node)
    sides = value.shape
    if own.get("axes"):
        raise Refused("it names its axes")
    constants = [graph.constant(name) if name else np.zeros(0) for name in node.input[1:]]
    scales = own.get("scales") or next((c.tolist() for c in constants[:2] if c.size == 4 and c.dtype.kind == "f"), None)
    if scales is None:
        scales = [target / side for target, side in zip(constants[-1].tolist(), sides, strict=True)]
    if any(scale != int(scale) for scale in scales) or scales[0] != 1 or scales[1] != 1:
        raise Refused(f"it scales by {[round(scale, 3) for scale in scales]}; only height and width by whole numbers")
    factors = int(scales[2]), int(scales[3])
    if factors == (1, 1):
        return value
    mode = {"nearest": "nearest", "linear": "bilinear"}.get(own.get("mode", "nearest"))
    if graph.opset < _RESIZE_WITH_COORDINATES:
        coordinates, rounding = "asymmetric", "floor"
    else:
        coordinates = own.get("coordinate_transformation_mode", "half_pixel")
        rounding = own.get("nearest_mode", "round_prefer_floor")
    # These differ for outputs of one pixel only, and outputs are larger than inputs here.
    coordinates = "half_pixel" if coordinates == "pytorch_half_pixel" else coordinates
    repeats = mode == "nearest" and _repeats(coordinates, rounding, max(factors))
    if not repeats and not (mode == "bilinear" and coordinates == "half_pixel"):
        how = f"{coordinates} and {rounding}" if mode == "nearest" else coordinates
        raise Refused(f"it is {own.get('mode', 'nearest')} with {how}")
    scaled = graph.layers.UpSampling2D(factors, interpolation=mode)(tensor)
    return Value(graph.named(scaled, node), NHWC)


def _repeats(coordinates: str, rounding: str, factor: int) -> bool:
    """Return whether the nearest pixel makes each pixel ``factor`` pixels, as Keras does.

    Output pixel x is at (x + 0.5) / factor - 0.5 (half_pixel) or x / factor (asymmetric) of the input.
    """
    if coordinates == "half_pixel":
        return rounding in ("round_prefer_floor", "round_prefer_ceil")
    if coordinates == "asymmetric":
        return rounding == "floor" or (rounding == "round_prefer_floor" and factor == 2)
    return False


def gemm(graph: Graph, node: Node) -> Tensor:
    """Convert Gemm with constant weights to Dense."""
    own = attributes(node)
    if own.get("transA"):
        raise Refused("it transposes its input")
    kernel = graph.constant(node.input[1]).astype(np.float32)
    kernel = (kernel.T if own.get("transB") else kernel) * np.float32(own.get("alpha", 1.0))
    bias = np.zeros(kernel.shape[1], np.float32)
    if given(node, 2):
        bias = bias + graph.constant(node.input[2]).astype(np.float32).reshape(-1) * np.float32(own.get("beta", 1.0))
    return _dense(graph, graph.value(node.input[0]), kernel, bias, node)


def matmul(graph: Graph, node: Node) -> Tensor:
    """Convert MatMul with constant weights to Dense, or on a feature map to a 1x1 Conv2D."""
    if graph.is_constant(node.input[0]) or not graph.is_constant(node.input[1]):
        raise Refused("it multiplies two tensors that depend on the photo, or a constant from the left")
    kernel = graph.constant(node.input[1]).astype(np.float32)
    if kernel.ndim != 2:
        raise Refused(f"its weights have {kernel.ndim} axes, not 2")
    value, bias = graph.value(node.input[0]), np.zeros(kernel.shape[1], np.float32)
    rank = len(value.order)
    if rank != 4:
        return _dense(graph, value, kernel, bias, node)
    # The last axis of ONNX is the channels here, whatever the others are.
    order = (0, 1, 2, 3) if value.order[-1] != 3 else value.order
    tensor = aligned(graph, value, order, node)
    layer = graph.layers.Conv2D(kernel.shape[1], 1, kernel_initializer="zeros", name=graph.names.of(title(node)))
    return Value(called(layer, tensor, weights=[kernel[None, None], bias]), order)


def _dense(graph: Graph, value: Value, kernel: Array, bias: Array, node: Node) -> Value:
    if value.rows is not None:
        kernel = kernel[value.rows]
    tensor = value.tensor if value.rows is not None else standard(graph, value, node)
    if tensor.shape[-1] != len(kernel):
        raise Refused(f"its weights are for {len(kernel)} inputs, not {tensor.shape[-1]}")
    layer = graph.layers.Dense(kernel.shape[1], kernel_initializer="zeros", name=graph.names.of(title(node)))
    return Value(called(layer, tensor, weights=[kernel, bias]), tuple(range(len(value.order))))


def _pair(own: dict[str, Any], name: str) -> tuple[int, int]:
    found = own.get(name) or [1, 1]
    if len(found) != 2:
        raise Refused(f"it has {len(found)} spatial axes, not 2")
    return int(found[0]), int(found[1])


def _pads(own: dict[str, Any], shape: Sequence[int], size: Sequence[int], strides: Sequence[int]) -> Pads:
    """Return the padding of a node; with ``ceil_mode``, also what its last windows reach beyond the input."""
    auto = own.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = [_same_total(side, one, stride) for side, one, stride in zip(shape, size, strides, strict=True)]
        low = [total // 2 if auto == "SAME_UPPER" else -(-total // 2) for total in totals]
        return low[0], low[1], totals[0] - low[0], totals[1] - low[1]
    found = [0] * 4 if auto == "VALID" else list(own.get("pads") or [0] * 4)
    if own.get("ceil_mode"):
        for axis in (0, 1):
            side, one, stride = shape[axis], size[axis], strides[axis]
            padded = side + found[axis] + found[2 + axis]
            windows = -(-(padded - one) // stride) + 1
            if (windows - 1) * stride >= side + found[axis]:
                windows -= 1  # a window must begin within the input
            found[2 + axis] += max(0, (windows - 1) * stride + one - padded)
    return found[0], found[1], found[2], found[3]


def _same_total(side: int, size: int, stride: int) -> int:
    return max(0, (-(-side // stride) - 1) * stride + size - side)


def _used(pads: Pads, shape: Sequence[int], size: Sequence[int], strides: Sequence[int]) -> Pads:
    """Return the padding without what no window reaches."""
    found = list(pads)
    for axis in (0, 1):
        rest = (shape[axis] + pads[axis] + pads[2 + axis] - size[axis]) % strides[axis]
        found[2 + axis] -= min(rest, found[2 + axis])
    return found[0], found[1], found[2], found[3]


def _is_same(pads: Pads, shape: Sequence[int], size: Sequence[int], strides: Sequence[int]) -> bool:
    """Return whether TFLite's SAME pads like this and has as many windows."""
    used = _used(pads, shape, size, strides)
    for axis in (0, 1):
        side, one, stride = shape[axis], size[axis], strides[axis]
        total = _same_total(side, one, stride)
        windows = (side + used[axis] + used[2 + axis] - one) // stride + 1
        if windows != -(-side // stride) or used[axis] != total // 2 or used[2 + axis] != total - total // 2:
            return False
    return True


def _padded(
    graph: Graph, tensor: Keras, pads: Pads, size: Sequence[int], strides: Sequence[int], node: Node
) -> tuple[Keras, Literal["same", "valid"]]:
    """Return a tensor with what a convolution must be told: ``same``, or zeros added and ``valid``."""
    if min(pads) < 0:
        raise Refused(f"it pads {list(pads)}")
    shape = tensor.shape[1:3]
    pads = _used(pads, shape, size, strides)
    if not any(pads):
        return tensor, "valid"
    if _is_same(pads, shape, size, strides):
        return tensor, "same"
    return graph.named(graph.layers.ZeroPadding2D(_sides(pads))(tensor), node), "valid"


def _sides(pads: Pads) -> tuple[tuple[int, int], tuple[int, int]]:
    top, left, bottom, right = pads
    return (top, bottom), (left, right)
