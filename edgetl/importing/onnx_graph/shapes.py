"""Reshape, Transpose, Flatten, Squeeze, Unsqueeze, Concat, Split, Slice, Gather, Expand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .values import NHWC, Graph, Node, Refused, Tensor, Value, aligned, attributes, given


def transpose(graph: Graph, node: Node) -> Tensor:
    """Remember the new order of axes."""
    value = graph.value(node.input[0])
    permutation = attributes(node).get("perm") or list(reversed(range(len(value.order))))
    if permutation[0] != 0:
        raise Refused("it moves the batch")
    return Value(value.tensor, tuple(permutation.index(axis) for axis in value.order))


def reshape(graph: Graph, node: Node) -> Tensor:
    """Reshape to a constant shape."""
    value = graph.value(node.input[0])
    target = [int(side) for side in (attributes(node).get("shape") or graph.constant(node.input[1]))]
    if not attributes(node).get("allowzero"):
        target = [value.shape[place] if side == 0 else side for place, side in enumerate(target)]
    if -1 in target:
        known = math.prod(side for side in target if side != -1)
        target[target.index(-1)] = math.prod(value.shape) // max(1, known)
    return to_shape(graph, value, target, node)


def flatten(graph: Graph, node: Node) -> Tensor:
    """Flatten all but the batch."""
    value = graph.value(node.input[0])
    axis = attributes(node).get("axis", 1) % (len(value.shape) + 1)
    shape = value.shape
    return to_shape(graph, value, [math.prod(shape[:axis]), math.prod(shape[axis:])], node)


def squeeze(graph: Graph, node: Node) -> Tensor:
    """Remove axes of length 1."""
    value = graph.value(node.input[0])
    rank = len(value.shape)
    axes = _axes(graph, node) or [axis for axis in range(1, rank) if value.shape[axis] == 1]
    removed = {axis % rank for axis in axes}
    if 0 in removed:
        raise Refused("it removes the batch")
    return to_shape(graph, value, [side for axis, side in enumerate(value.shape) if axis not in removed], node)


def unsqueeze(graph: Graph, node: Node) -> Tensor:
    """Add axes of length 1."""
    value, axes = graph.value(node.input[0]), _axes(graph, node)
    rank = len(value.shape) + len(axes)
    added = {axis % rank for axis in axes}
    sides = iter(value.shape)
    return to_shape(graph, value, [1 if axis in added else next(sides) for axis in range(rank)], node)


def to_shape(graph: Graph, value: Value, target: Sequence[int], node: Node) -> Value:
    """Reshape a tensor; axes that stay together keep the order that Keras has them in."""
    shape = value.shape
    if math.prod(shape) != math.prod(target):
        raise Refused(f"it turns {list(shape)} into {list(target)}, which has another number of elements")
    if not target or target[0] != shape[0]:
        raise Refused(f"it turns {list(shape)} into {list(target)}, which changes the batch")
    groups = _groups(shape, target)
    place = {axis: position for position, axis in enumerate(value.order)}
    groups.sort(key=lambda group: min(place[axis] for axis in group[0]))
    wanted = [axis for before, _ in groups for axis in before]
    if len(groups) == 1 and len(target) == 2 and wanted != [a for a in value.order if a in wanted]:
        return _flattened(graph, value, node)
    ones = [axis for axis in range(1, len(shape)) if axis not in wanted]
    if wanted != [axis for axis in value.order if axis in wanted]:
        value = Value(aligned(graph, value, [0, *wanted, *ones], node), (0, *wanted, *ones))
    order = _order(target, [axis for _, after in groups for axis in after])
    sides = [target[axis] for axis in order[1:]]
    if list(value.tensor.shape[1:]) == sides:
        return Value(value.tensor, order)
    return Value(graph.named(graph.layers.Reshape(sides)(value.tensor), node), order)


def _groups(shape: Sequence[int], target: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Return which axes become which, the batch and axes of length 1 left out: the smallest groups of equal size."""
    before = [axis for axis in range(1, len(shape)) if shape[axis] > 1]
    after = [axis for axis in range(1, len(target)) if target[axis] > 1]
    groups = []
    while before:
        one, other = [before.pop(0)], [after.pop(0)]
        left, right = shape[one[0]], target[other[0]]
        while left != right:
            if left < right:
                one.append(before.pop(0))
                left *= shape[one[-1]]
            else:
                other.append(after.pop(0))
                right *= target[other[-1]]
        groups.append((one, other))
    return groups


def _order(target: Sequence[int], sequence: list[int]) -> tuple[int, ...]:
    """Return an order of axes in which those longer than 1 come in this sequence; a common one if possible."""
    usual = [NHWC] if len(target) == 4 else []
    for order in (*usual, tuple(range(len(target)))):
        if [axis for axis in order if axis and target[axis] > 1] == sequence:
            return order
    return (0, *sequence, *(axis for axis in range(1, len(target)) if axis not in sequence))


def _flattened(graph: Graph, value: Value, node: Node) -> Value:
    """Flatten a feature map in the order that Keras has, and remember where each element is in ONNX."""
    shape = value.shape
    places = np.arange(math.prod(shape)).reshape(shape).transpose(value.order).reshape(-1)
    return Value(graph.named(graph.layers.Flatten()(value.tensor), node), (0, 1), rows=places)


def in_order(graph: Graph, value: Value, node: Node) -> Value:
    """Return a flattened feature map with its elements where ONNX has them."""
    if value.rows is None:
        return value
    taken = graph.ops.take(value.tensor, np.argsort(value.rows).tolist(), axis=1)
    return Value(graph.named(taken, node), value.order)


def concat(graph: Graph, node: Node) -> Tensor:
    """Join tensors in the order of axes that the first one has."""
    values = [in_order(graph, graph.value(name), node) for name in node.input]
    first = values[0]
    axis = attributes(node)["axis"] % len(first.order)
    if axis == 0:
        raise Refused("it joins batches")
    tensors = [aligned(graph, value, first.order, node) for value in values]
    joined = graph.layers.Concatenate(axis=first.order.index(axis))(tensors)
    return Value(graph.named(joined, node), first.order)


def split(graph: Graph, node: Node) -> list[Tensor]:
    """Cut a tensor into slices."""
    value = in_order(graph, graph.value(node.input[0]), node)
    axis = attributes(node).get("axis", 0) % len(value.order)
    side, count = value.shape[axis], len(node.output)
    sizes = attributes(node).get("split")
    if sizes is None and given(node, 1):
        sizes = [int(one) for one in graph.constant(node.input[1])]
    if sizes is None:
        each = -(-side // count)
        sizes = [min(each, side - each * place) for place in range(count)]
    ends = np.cumsum(sizes).tolist()
    return [_cut(graph, value, axis, end - size, end, node) for size, end in zip(sizes, ends, strict=True)]


def slice_of(graph: Graph, node: Node) -> Tensor:
    """Cut ranges out of a tensor."""
    value, own = in_order(graph, graph.value(node.input[0]), node), attributes(node)

    def numbers(name: str, place: int, default: list[int]) -> list[int]:
        if name in own:
            return list(own[name])
        return [int(one) for one in graph.constant(node.input[place])] if given(node, place) else default

    starts, ends = numbers("starts", 1, []), numbers("ends", 2, [])
    axes = numbers("axes", 3, list(range(len(starts))))
    for start, end, axis, step in zip(starts, ends, axes, numbers("steps", 4, [1] * len(starts)), strict=True):
        axis %= len(value.order)
        low, high, _ = slice(start, end, 1).indices(value.shape[axis])
        if step != 1:
            raise Refused(f"it takes every {step}th element")
        value = _cut(graph, value, axis, low, high, node)
    return value


def _cut(graph: Graph, value: Value, axis: int, start: int, end: int, node: Node) -> Value:
    if (start, end) == (0, value.shape[axis]):
        return value
    if axis == 0:
        raise Refused("it cuts the batch")
    cuts = [slice(None)] * len(value.order)
    cuts[value.order.index(axis)] = slice(start, end)
    return Value(graph.named(value.tensor[tuple(cuts)], node), value.order)


def gather(graph: Graph, node: Node) -> Tensor:
    """Take constant indices along an axis."""
    value, indices = in_order(graph, graph.value(node.input[0]), node), graph.constant(node.input[1])
    axis = attributes(node).get("axis", 0) % len(value.order)
    if axis == 0:
        raise Refused("it takes from the batch")
    side = value.shape[axis]
    if indices.ndim == 0:
        at = int(indices) % side
        cut = _cut(graph, value, axis, at, at + 1, node)
        return to_shape(graph, cut, [one for place, one in enumerate(cut.shape) if place != axis], node)
    if indices.ndim != 1:
        raise Refused("its indices have two or more axes")
    taken = graph.ops.take(value.tensor, (indices % side).tolist(), axis=value.order.index(axis))
    return Value(graph.named(taken, node), value.order)


def expand(graph: Graph, node: Node) -> Tensor:
    """Pass a tensor on that has the shape already."""
    value = graph.value(node.input[0])
    target = np.broadcast_shapes(value.shape, tuple(int(side) for side in graph.constant(node.input[1])))
    if target != value.shape:
        raise Refused(f"it repeats {list(value.shape)} to {list(target)}")
    return value


def _axes(graph: Graph, node: Node) -> list[int]:
    own = attributes(node).get("axes")
    if own is not None:
        return list(own)
    return [int(axis) for axis in graph.constant(node.input[1]).reshape(-1)] if given(node, 1) else []
