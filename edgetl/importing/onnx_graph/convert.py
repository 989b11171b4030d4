"""The table of operators that are known, and the walk over an ONNX graph."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetl._lib import extras
from edgetl._lib.interrupts import uninterrupted
from edgetl.importing.plain import check_feature_maps
from edgetl_device.errors import InputError
from edgetl_device.input_size import InputSize

from . import convolutions, elementwise, shapes
from .values import NHWC, Array, Graph, Keras, Node, Refused, Tensor, Value, refusal, standard
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
    "Max": elementwise.variadic,
    "MaxPool": convolutions.max_pool,
    "Min": elementwise.variadic,
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
    "Sum": elementwise.variadic,
    "Tanh": elementwise.activation("tanh"),
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
    "Upsample": convolutions.upsample,
}
KNOWN = tuple(_TABLE)
_LINEAR = ("Conv", "Gemm", "MatMul")
# Of all constants that are computed: those in the file are not counted.
_MOST_COMPUTED_BYTES = 1 << 28
# Shapes and sizes, whose values shape inference needs.
_MOST_SIZES = 1024


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """An ONNX graph in Keras.

    Attributes:
        network: Flat functional keras.Model, float32 [None, H, W, C] to the output of the original.
    """

    network: Keras


@uninterrupted()
def network_of(simplified: bytes, *, nchw: bool, size: InputSize, shown: str) -> OnnxNetwork:
    """Turn a simplified ONNX graph (:mod:`edgetl.importing.scan`) into a flat Keras graph.

    Args:
        simplified: The graph for a batch of 1, with static shapes.
        nchw: Whether its input is [1, C, H, W], else [1, H, W, C].
        size: Height, width and channels of the input.
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
    opset = max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    graph = Graph(readers, [output], opset)
    for tensor in model.graph.initializer:
        graph.values[tensor.name] = onnx.numpy_helper.to_array(tensor)
    (pixels_name,) = (one.name for one in model.graph.input if one.name not in graph.values)
    pixels = graph.layers.Input(size.shape, name="input")
    graph.values[pixels_name] = Value(pixels, NHWC if nchw else (0, 1, 2, 3))
    for node in nodes:
        try:
            found = computed(graph, node) or _TABLE[node.op_type](graph, node)
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
    network = extras.keras().Model(pixels, standard(graph, scores, last))
    check_feature_maps(network, shown=shown)
    return OnnxNetwork(network)


def _check_known(nodes: list[Node], shown: str) -> None:
    for node in nodes:
        known = node.op_type in _TABLE or node.op_type in ("Constant", "Shape")
        # ONNX Runtime's Gelu is that of ONNX.
        if not known or (node.domain not in ("", "ai.onnx") and node.op_type != "Gelu"):
            domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
            raise InputError(
                f"{shown}: {domain}{node.op_type} {node.name or node.output[0]!r} is an unknown operator",
                why=f"known are {', '.join(KNOWN)}",
                hint="Export the model without it.",
            )


def computed(graph: Graph, node: Node) -> list[Tensor] | None:
    """Compute a node that depends on constants and shapes alone; None if it depends on the photo."""
    if node.op_type == "Shape" and not graph.is_constant(node.input[0]):
        own = {one.name: one.i for one in node.attribute}
        shape = np.array(graph.value(node.input[0]).shape, np.int64)
        return [shape[own.get("start", 0) : own.get("end", len(shape))]]
    names = sorted({name for name in node.input if name})
    if any(not graph.is_constant(name) for name in names):
        return None
    given = {name: graph.constant(name) for name in names}
    model = _of_one(node, given, graph.opset)
    graph.computed_bytes += _bytes_of(model) if given else 0
    if graph.computed_bytes > _MOST_COMPUTED_BYTES:
        raise Refused(f"its constants take over {_MOST_COMPUTED_BYTES >> 20} MB")
    evaluator: Any = extras.require("onnx.reference").ReferenceEvaluator(model)
    return list(evaluator.run(None, given))


def _of_one(node: Node, given: Mapping[str, Array], opset: int) -> Any:
    """Return a model of one node on constants."""
    helper = extras.require("onnx").helper
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    opsets = [helper.make_opsetid("", opset)]
    if node.domain not in ("", "ai.onnx"):
        opsets.append(helper.make_opsetid(node.domain, 1))
    model = helper.make_model(helper.make_graph([node], "constants", inputs, outputs), opset_imports=opsets)
    numpy_helper = extras.require("onnx").numpy_helper
    sizes = [numpy_helper.from_array(array, name) for name, array in given.items() if array.size <= _MOST_SIZES]
    model.graph.initializer.extend(sizes)
    return model


def _bytes_of(model: Any) -> int:
    """Return how many bytes the outputs of a model on constants take, without computing them."""
    onnx = extras.require("onnx")
    total = 0
    for output in onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output:
        kind = output.type.tensor_type
        if not kind.HasField("shape") or not all(side.HasField("dim_value") for side in kind.shape.dim):
            raise Refused("it is constant, but of no size that is known before it is computed")
        width = int(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize)
        total += width * math.prod(side.dim_value for side in kind.shape.dim)
    return total
