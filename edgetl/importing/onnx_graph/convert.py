"""The table of operators that are known, and the walk over an ONNX graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetl._lib import extras
from edgetl._lib.interrupts import uninterrupted
from edgetl_device.errors import InputError

from . import convolutions, elementwise, shapes
from .values import NHWC, Graph, Keras, Node, Refused, Tensor, Value, refusal, standard
from .written_out import joined

Convert = Callable[[Graph, Node], Tensor | list[Tensor]]

_TABLE: Mapping[str, Convert] = {
    "Abs": elementwise.operation("absolute"),
    "Add": elementwise.arithmetic,
    "AveragePool": convolutions.average_pool,
    "BatchNormalization": elementwise.batch_normalization,
    "Cast": elementwise.cast,
    "Clip": elementwise.clip,
    "Concat": shapes.concat,
    "Conv": convolutions.convolution,
    "Div": elementwise.arithmetic,
    "Dropout": elementwise.passed,
    "Elu": elementwise.unary(lambda graph, tensor, own: graph.layers.ELU(own.get("alpha", 1.0))(tensor)),
    "Exp": elementwise.operation("exp"),
    "Expand": shapes.expand,
    "Flatten": shapes.flatten,
    "Gather": shapes.gather,
    "Gelu": elementwise.gelu,
    "Gemm": convolutions.gemm,
    "GlobalAveragePool": convolutions.global_average_pool,
    "GlobalMaxPool": convolutions.global_max_pool,
    "HardSigmoid": elementwise.hard_sigmoid,
    "HardSwish": elementwise.activation("hard_silu"),
    "Identity": elementwise.passed,
    "LayerNormalization": elementwise.layer_normalization,
    "LeakyRelu": elementwise.unary(lambda graph, tensor, own: graph.layers.LeakyReLU(own.get("alpha", 0.01))(tensor)),
    "LogSoftmax": elementwise.softmax("log_softmax"),
    "MatMul": convolutions.matmul,
    "Max": elementwise.arithmetic,
    "MaxPool": convolutions.max_pool,
    "Min": elementwise.arithmetic,
    "Mul": elementwise.arithmetic,
    "Neg": elementwise.operation("negative"),
    "Pad": convolutions.pad,
    "Pow": elementwise.arithmetic,
    "Reciprocal": elementwise.operation("reciprocal"),
    "ReduceMax": elementwise.reduction("max"),
    "ReduceMean": elementwise.reduction("mean"),
    "ReduceSum": elementwise.reduction("sum"),
    "Relu": elementwise.unary(lambda graph, tensor, _: graph.layers.ReLU()(tensor)),
    "Reshape": shapes.reshape,
    "Resize": convolutions.upsample,
    "Sigmoid": elementwise.activation("sigmoid"),
    "Slice": shapes.slice_of,
    "Softmax": elementwise.softmax("softmax"),
    "Softplus": elementwise.activation("softplus"),
    "Split": shapes.split,
    "Sqrt": elementwise.operation("sqrt"),
    "Squeeze": shapes.squeeze,
    "Sub": elementwise.arithmetic,
    "Tanh": elementwise.activation("tanh"),
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
    "Upsample": convolutions.upsample,
}
KNOWN = tuple(_TABLE)
_LINEAR = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """An ONNX graph in Keras.

    Attributes:
        network: Flat functional keras.Model, float32 [None, size, size, 3] to the output of the original.
    """

    network: Keras


@uninterrupted()
def network_of(simplified: bytes, *, nchw: bool, size: int, shown: str) -> OnnxNetwork:
    """Turn a simplified ONNX graph (:mod:`edgetl.importing.scan`) into a flat Keras graph.

    Args:
        simplified: The graph for a batch of 1, with static shapes.
        nchw: Whether its input is [1, 3, size, size], else [1, size, size, 3].
        size: Height and width of the input.
        shown: Name of the file in messages.

    Raises:
        InputError: An operator is not known, or in a form that is not; it is named, with its place.
    """
    onnx = extras.require("onnx")
    model = onnx.load_from_string(simplified)
    nodes = joined(model.graph)
    _check_known(nodes, shown)
    readers = Counter(name for node in nodes for name in node.input)
    (output,) = (one.name for one in model.graph.output)
    graph = Graph(readers, [output])
    for tensor in model.graph.initializer:
        graph.values[tensor.name] = onnx.numpy_helper.to_array(tensor)
    (pixels_name,) = (one.name for one in model.graph.input if one.name not in graph.values)
    pixels = graph.layers.Input((size, size, 3), name="input")
    graph.values[pixels_name] = Value(pixels, NHWC if nchw else (0, 1, 2, 3))
    for node in nodes:
        try:
            found = _constants(graph, node) or _TABLE[node.op_type](graph, node)
        except Refused as error:
            raise refusal(node, str(error), shown) from None
        except InputError:
            raise
        except Exception as error:  # what Keras raises has no base class
            raise refusal(node, f"{type(error).__name__}: {error}"[:300], shown) from error
        outputs = found if isinstance(found, list) else [found]
        if node.op_type in _LINEAR and isinstance(outputs[0], Value):
            graph.linear[node.output[0]] = outputs[0].tensor._keras_history.operation
        graph.values.update(zip(node.output, outputs, strict=False))
    if graph.is_constant(output):
        raise InputError(f"{shown}: its output does not depend on the photo")
    value = graph.value(output)
    last = [node for node in nodes if output in node.output][-1]
    scores = shapes.in_order(graph, value, last)
    return OnnxNetwork(extras.keras().Model(pixels, standard(graph, scores, last)))


def _check_known(nodes: list[Node], shown: str) -> None:
    for node in nodes:
        if node.op_type not in _TABLE and node.op_type not in ("Constant", "Shape"):
            domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
            raise InputError(
                f"{shown}: {domain}{node.op_type} {node.name or node.output[0]!r} is an unknown operator",
                why=f"known are {', '.join(KNOWN)}",
                hint="Export the model without it.",
            )


def _constants(graph: Graph, node: Node) -> list[Tensor] | None:
    """Compute a node that depends on constants and shapes alone; None if it depends on the photo."""
    if node.op_type == "Shape" and not graph.is_constant(node.input[0]):
        own = {one.name: one.i for one in node.attribute}
        shape = np.array(graph.value(node.input[0]).shape, np.int64)
        return [shape[own.get("start", 0) : own.get("end", len(shape))]]
    names = [name for name in node.input if name]
    if any(not graph.is_constant(name) for name in names):
        return None
    evaluator: Any = extras.require("onnx.reference").ReferenceEvaluator(node)
    return list(evaluator.run(None, {name: graph.constant(name) for name in names}))
