"""Arithmetic, activations, reductions and normalizations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from edgetl._lib import extras
from edgetl.importing.keras_graph import layer_normalized
from edgetl.importing.plain import called, kind, per_channel

from .shapes import in_order, to_shape
from .values import NHWC, Array, Graph, Keras, Node, Refused, Tensor, Value, aligned, attributes, given, title

_LAYERS = {"Add": "Add", "Sub": "Subtract", "Mul": "Multiply", "Max": "Maximum", "Min": "Minimum"}
_SOFTMAX_OF_ONE_AXIS = 13


def unary(make: Callable[[Graph, Keras, dict[str, Any]], Keras]) -> Callable[[Graph, Node], Tensor]:
    """Return the conversion of an operator that treats each element alone."""

    def convert(graph: Graph, node: Node) -> Tensor:
        value = graph.value(node.input[0])
        output = make(graph, value.tensor, attributes(node))
        return replace(value, tensor=graph.named(output, node), padded=None)

    return convert


def activation(name: str) -> Callable[[Graph, Node], Tensor]:
    """Return the conversion to a named activation of Keras."""
    return unary(lambda graph, tensor, _: graph.layers.Activation(name)(tensor))


def operation(name: str) -> Callable[[Graph, Node], Tensor]:
    """Return the conversion to a function of keras.ops."""
    return unary(lambda graph, tensor, _: getattr(graph.ops, name)(tensor))


def passed(graph: Graph, node: Node) -> Tensor:
    """Pass the input on: Identity, Dropout, Cast between floats."""
    return graph.values[node.input[0]]


def cast(graph: Graph, node: Node) -> Tensor:
    """Pass a tensor on that is cast to float32."""
    if attributes(node)["to"] != 1:
        raise Refused("it casts to another type than float32")
    return graph.value(node.input[0])


def clip(graph: Graph, node: Node) -> Tensor:
    """Convert Clip: to ReLU and ReLU6 where it is one."""
    own, value = attributes(node), graph.value(node.input[0])
    limits = [own.get("min", -np.inf), own.get("max", np.inf)]
    for place in (0, 1):
        if given(node, place + 1):
            limits[place] = float(graph.constant(node.input[place + 1]))
    low, high = (float(limit) for limit in limits)
    huge = float(np.finfo(np.float32).max)
    if low == 0:
        output = graph.layers.ReLU(max_value=None if high >= huge else high)(value.tensor)
    else:
        output = graph.ops.clip(value.tensor, max(low, -huge), min(high, huge))
    return replace(value, tensor=graph.named(output, node), padded=None)


def hard_sigmoid(graph: Graph, node: Node) -> Tensor:
    """Convert HardSigmoid."""
    own, value = attributes(node), graph.value(node.input[0])
    alpha, beta = own.get("alpha", 0.2), own.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        output = graph.layers.Activation("hard_sigmoid")(value.tensor)
    else:
        scaled = graph.named(graph.layers.Rescaling(alpha, beta)(value.tensor), node)
        output = graph.layers.ReLU(max_value=1.0)(scaled)
    return replace(value, tensor=graph.named(output, node), padded=None)


def gelu(graph: Graph, node: Node) -> Tensor:
    """Convert Gelu."""
    approximate = attributes(node).get("approximate", "none")
    if approximate != "none":
        raise Refused(f"it is approximated by {approximate}")
    return activation("gelu")(graph, node)


def softmax(name: str) -> Callable[[Graph, Node], Tensor]:
    """Return the conversion of Softmax and LogSoftmax over the last axis of Keras."""

    def convert(graph: Graph, node: Node) -> Tensor:
        value = in_order(graph, graph.value(node.input[0]), node)
        if graph.opset < _SOFTMAX_OF_ONE_AXIS:
            return _flat_softmax(graph, value, node, convert_axis)
        return convert_axis(graph, value, attributes(node).get("axis", -1) % len(value.order), node)

    def convert_axis(graph: Graph, value: Value, axis: int, node: Node) -> Value:
        rank = len(value.order)
        order = value.order if value.order[-1] == axis else (*(one for one in range(rank) if one != axis), axis)
        tensor = aligned(graph, value, order, node)
        layer = graph.layers.Softmax() if name == "softmax" else graph.layers.Activation(name)
        return Value(graph.named(layer(tensor), node), order)

    return convert


def _flat_softmax(graph: Graph, value: Value, node: Node, of_axis: Callable[[Graph, Value, int, Node], Value]) -> Value:
    """Convert Softmax before opset 13, over the axes from ``axis`` on as if they were one."""
    shape = value.shape
    axis = attributes(node).get("axis", 1) % len(shape)
    if axis == 0:
        raise Refused("it is over the batch")
    long = [one for one in range(axis, len(shape)) if shape[one] > 1]
    if len(long) < 2:
        return of_axis(graph, value, long[0] if long else axis, node)
    order = tuple(range(len(shape)))
    value = Value(aligned(graph, value, order, node), order)
    flat = to_shape(graph, value, [*shape[:axis], math.prod(shape[axis:])], node)
    return to_shape(graph, of_axis(graph, flat, axis, node), list(shape), node)


def variadic(graph: Graph, node: Node) -> Tensor:
    """Convert Sum, Max and Min of any number of inputs, two at a time."""
    names = sorted(node.input, key=graph.is_constant)
    make = extras.require("onnx").helper.make_node
    operator = "Add" if node.op_type == "Sum" else node.op_type
    before, *others = names
    for place, other in enumerate(others, 1):
        last = place == len(others)
        after = node.output[0] if last else f"{node.output[0]}.{place}"
        pair = make(operator, [before, other], [after], name=title(node) if last else f"{title(node)}.{place}")
        graph.values[after] = arithmetic(graph, pair)
        before = after
    return graph.values[before]


def arithmetic(graph: Graph, node: Node) -> Tensor:
    """Convert Add, Sub, Mul, Div, Pow, Max and Min of two tensors, or of one and a constant."""
    first, second = node.input
    if graph.is_constant(second) and not graph.is_constant(first):
        return _with_constant(graph, graph.value(first), graph.constant(second), node, flipped=False)
    if graph.is_constant(first):
        return _with_constant(graph, graph.value(second), graph.constant(first), node, flipped=True)
    values = [graph.value(first), graph.value(second)]
    if not _same_rows(values):
        values = [in_order(graph, value, node) for value in values]
    rank = max(len(value.order) for value in values)
    values = [_of_rank(graph, value, rank, node) for value in values]
    larger = max(values, key=lambda value: int(np.prod(value.shape)))
    tensors = [aligned(graph, value, larger.order, node) for value in values]
    if node.op_type == "Div":
        output = graph.ops.divide(*tensors)
    elif node.op_type in _LAYERS:
        output = getattr(graph.layers, _LAYERS[node.op_type])()(tensors)
    else:
        raise Refused("both its inputs depend on the photo")
    return Value(graph.named(output, node), larger.order, rows=larger.rows)


def _same_rows(values: list[Value]) -> bool:
    one, other = (value.rows for value in values)
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def _of_rank(graph: Graph, value: Value, rank: int, node: Node) -> Value:
    missing = rank - len(value.order)
    if not missing:
        return value
    if value.shape[0] != 1:
        raise Refused("its inputs have different numbers of axes")
    return to_shape(graph, value, [1] * missing + list(value.shape), node)


def _with_constant(graph: Graph, value: Value, constant: Array, node: Node, *, flipped: bool) -> Tensor:
    constant = constant.astype(np.float32)
    rank = len(value.order)
    if constant.ndim > rank:
        if any(side != 1 for side in constant.shape[: constant.ndim - rank]):
            raise Refused("its constant has more axes than its input")
        constant = constant.reshape(constant.shape[constant.ndim - rank :])
    if np.broadcast_shapes(constant.shape, value.shape) != value.shape:
        raise Refused(f"its constant of shape {list(constant.shape)} makes {list(value.shape)} larger")
    name = node.input[1 if flipped else 0]
    if constant.size == 1:
        number = float(constant.reshape(-1)[0])
        linear = _factor_and_shift(node.op_type, constant.reshape(-1), flipped=flipped)
        if linear is None:
            return replace(value, tensor=_with_number(graph, value.tensor, number, node, flipped=flipped), padded=None)
        return _linear(graph, value, name, *linear, node)
    value = in_order(graph, value, node)
    whole = constant.reshape((1,) * (rank - constant.ndim) + constant.shape).transpose(value.order)
    linear = _factor_and_shift(node.op_type, whole, flipped=flipped)
    if linear is not None and whole.size == whole.shape[-1] and rank in (2, 4):
        factor, shift = (part.reshape(-1) for part in linear)
        return _linear(graph, value, name, factor, shift, node)
    ops = graph.ops
    # Not a sum: int8 preparation takes those for sums of residual streams.
    functions: dict[str, Callable[[], Keras]] = {
        "Add": lambda: ops.subtract(value.tensor, -whole),
        "Sub": lambda: ops.subtract(whole, value.tensor) if flipped else ops.subtract(value.tensor, whole),
        "Mul": lambda: ops.multiply(value.tensor, whole),
        "Div": lambda: ops.divide(whole, value.tensor) if flipped else ops.multiply(value.tensor, 1 / whole),
        "Max": lambda: ops.maximum(value.tensor, whole),
        "Min": lambda: ops.minimum(value.tensor, whole),
    }
    if node.op_type not in functions:
        raise Refused("its constant is not one number")
    return Value(graph.named(functions[node.op_type](), node), value.order)


def _linear(graph: Graph, value: Value, name: str, factor: Array, shift: Array, node: Node) -> Value:
    """Return ``value * factor + shift``, one number or one per channel, as part of the layer before if possible."""
    writer, alone = graph.linear.get(name), graph.read_once(name)
    if writer is not None and alone:
        # What it wrote has no other reader.
        kernel, bias = writer.get_weights()
        per_output = np.broadcast_to(factor, bias.shape)
        if kind(writer) == "DepthwiseConv2D":
            per_output = per_output.reshape(kernel.shape[-2:])
        writer.set_weights([kernel * per_output, bias * factor + shift])
        graph.linear[node.output[0]] = writer
        return value
    if name in graph.scalings and alone:
        source, before, offset = graph.scalings[name]
        value, factor, shift = source, before * factor, offset * factor + shift
    if factor.size == 1 and shift.size == 1:
        scale, offset = float(factor[0]), float(shift[0])
        graph.scalings[node.output[0]] = value, scale, offset
        if (scale, offset) == (1, 0):
            return value
        scaled = graph.layers.Rescaling(scale, offset)(value.tensor)
        return replace(value, tensor=graph.named(scaled, node), padded=None)
    made = per_channel(value.tensor, factor, shift, graph.names.of(title(node)))
    graph.linear[node.output[0]] = made._keras_history.operation
    return Value(made, value.order)


def _factor_and_shift(operator: str, constant: Array, *, flipped: bool) -> tuple[Array, Array] | None:
    """Return factor and shift that equal an operator with a constant, where there are such."""
    ones, zeros = np.ones_like(constant), np.zeros_like(constant)
    if operator == "Add":
        return ones, constant
    if operator == "Sub":
        return (-ones, constant) if flipped else (ones, -constant)
    if operator == "Mul":
        return constant, zeros
    if operator == "Div" and not flipped:
        return 1 / constant, zeros
    return None


def _with_number(graph: Graph, tensor: Keras, number: float, node: Node, *, flipped: bool) -> Keras:
    ops, value = graph.ops, np.float32(number)
    if flipped and node.op_type == "Pow":
        raise Refused("the exponent depends on the photo")
    functions: dict[str, Callable[[], Keras]] = {
        "Div": lambda: ops.divide(value, tensor),
        "Max": lambda: graph.layers.ReLU()(tensor) if number == 0 else ops.maximum(tensor, value),
        "Min": lambda: ops.minimum(tensor, value),
        "Pow": lambda: _power(graph, tensor, number),
    }
    return graph.named(functions[node.op_type](), node)


def _power(graph: Graph, tensor: Keras, exponent: float) -> Keras:
    if exponent == 2:
        return graph.ops.square(tensor)
    if exponent == 0.5:
        return graph.ops.sqrt(tensor)
    raise Refused(f"its exponent is {exponent:g}; only 2 and 0.5 are known")


def reduction(name: str) -> Callable[[Graph, Node], Tensor]:
    """Return the conversion of ReduceMean, ReduceMax, ReduceSum."""

    def convert(graph: Graph, node: Node) -> Tensor:
        own, value = attributes(node), in_order(graph, graph.value(node.input[0]), node)
        rank = len(value.order)
        axes = own.get("axes") or ([int(one) for one in graph.constant(node.input[1])] if given(node, 1) else None)
        reduced = sorted(axis % rank for axis in axes) if axes else list(range(rank))
        if 0 in reduced:
            raise Refused("it reduces the batch")
        keep = bool(own.get("keepdims", 1))
        if name == "mean" and rank == 4 and value.order == NHWC and reduced == [2, 3]:
            output = graph.layers.GlobalAveragePooling2D(keepdims=keep)(value.tensor)
        else:
            places = sorted(value.order.index(axis) for axis in reduced)
            output = getattr(graph.ops, name)(value.tensor, axis=places, keepdims=keep)
        left = [axis for axis in value.order if keep or axis not in reduced]
        order = tuple(sorted(left).index(axis) for axis in left)
        return Value(graph.named(output, node), order)

    return convert


def batch_normalization(graph: Graph, node: Node) -> Tensor:
    """Convert BatchNormalization after training."""
    if attributes(node).get("training_mode"):
        raise Refused("it is in training mode")
    value = graph.value(node.input[0])
    if value.order[-1] != 1:
        value = Value(aligned(graph, value, NHWC, node), NHWC)
    arrays = [graph.constant(name).astype(np.float32) for name in node.input[1:5]]
    layer = graph.layers.BatchNormalization(
        epsilon=attributes(node).get("epsilon", 1e-5), name=graph.names.of(title(node))
    )
    return Value(called(layer, value.tensor, weights=arrays), value.order)


def layer_normalization(graph: Graph, node: Node) -> Tensor:
    """Convert LayerNormalization over the last axis of ONNX."""
    own, value = attributes(node), graph.value(node.input[0])
    rank = len(value.order)
    if own.get("axis", -1) % rank != rank - 1:
        raise Refused("it normalizes more than the last axis")
    if value.order[-1] != rank - 1:
        order = tuple(range(rank))
        value = Value(aligned(graph, value, order, node), order)
    name = graph.names.of(title(node))
    normed = layer_normalized(value.tensor, own.get("epsilon", 1e-5), name, graph.names)
    gamma = graph.constant(node.input[1])
    beta = graph.constant(node.input[2]) if given(node, 2) else np.zeros_like(gamma)
    return Value(per_channel(normed, gamma, beta, graph.names.of(f"{name}.affine")), value.order)
