"""Give an exported model a second output: the pooled features, which its last layer turns into scores.

It changes the finished file, so probabilities stay as they were measured.
"""

from __future__ import annotations

from typing import Any, Literal

from edgetl._lib import extras
from edgetl.inspection.tflite.file import describe
from edgetl.inspection.tflite.tree import pack_tree, read_tree
from edgetl_device.errors import InputError
from edgetl_device.unknown import MAX_FEATURES

# Operators between the last layer and the output of a classifier.
_TFLITE_ENDS = ("SOFTMAX", "LOGISTIC", "QUANTIZE", "DEQUANTIZE", "RESHAPE", "ADD")
_ONNX_ENDS = ("Softmax", "Sigmoid", "QuantizeLinear", "DequantizeLinear", "Reshape", "Squeeze", "Flatten", "Add")


def with_features(model: bytes, format: Literal["tflite", "onnx"]) -> bytes:
    """Return a classifier whose second output is the input of its last dense layer, [1, features].

    The first output stays the probabilities. In int8 TFLite the features are int8 with a scale, in ONNX float32.

    Args:
        model: A TFLite or ONNX file with one output. Data after a TFLite flatbuffer is dropped.
        format: ``tflite`` or ``onnx``.

    Raises:
        InputError: Its last layer is not dense, so that it has no pooled features.
    """
    return _tflite(model) if format == "tflite" else _onnx(model)


def _tflite(model: bytes) -> bytes:
    found = describe(model)
    makers = {output: operator for operator in found.operators for output in operator.outputs}
    (at,) = found.outputs
    while (operator := makers.get(at)) is not None and operator.name in _TFLITE_ENDS:
        at = operator.inputs[0]
    if operator is None or operator.name != "FULLY_CONNECTED":
        raise _no_features("nothing" if operator is None else operator.name)
    tensor = found.tensors[operator.inputs[0]]
    # A dynamic batch is -1.
    if (
        tensor.shape[-1] > MAX_FEATURES
        or tensor.constant
        or any(abs(side) != 1 for side in tensor.shape[:-1])
        or operator.inputs[0] in found.inputs
    ):
        raise _no_features(f"{operator.name} of {list(tensor.shape)}")
    tree = read_tree(model)
    (graph,) = tree.subgraphs
    graph.outputs = [*found.outputs, operator.inputs[0]]
    # A signature lists outputs by name; LiteRT needs none, and one without the new output would hide it.
    tree.signatureDefs = []
    return pack_tree(tree)


def _onnx(model: bytes) -> bytes:
    onnx = extras.require("onnx")
    proto = onnx.load_from_string(model)
    graph = proto.graph
    makers = {output: node for node in graph.node for output in node.output}
    (output,) = graph.output
    at = output.name
    while (node := makers.get(at)) is not None and node.op_type in _ONNX_ENDS:
        at = node.input[0]
    if node is None or node.op_type not in ("MatMul", "Gemm"):
        raise _no_features("nothing" if node is None else node.op_type)
    features = node.input[0]
    shape = _shape(onnx.shape_inference.infer_shapes(proto).graph, features)
    # A dynamic batch is 0.
    if shape and shape[-1] > MAX_FEATURES:
        raise _no_features(f"{node.op_type} of {shape}")
    if features in {one.name for one in graph.input} or len(shape) != 2 or shape[0] not in (0, 1):
        raise _no_features(f"{node.op_type} of {shape}")
    graph.output.append(onnx.helper.make_tensor_value_info(features, onnx.TensorProto.FLOAT, [1, shape[1]]))
    onnx.checker.check_model(proto, full_check=True)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _shape(graph: Any, name: str) -> list[int]:
    for value in (*graph.value_info, *graph.input, *graph.output):
        if value.name == name:
            return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    return []


def _no_features(found: str) -> InputError:
    return InputError(
        "the model has no pooled features that could tell unknown photos",
        why=f"its probabilities come from {found}, not from a dense layer on one vector a photo",
        hint="Leave out {unknown}.",
        options={"unknown": True},
    )
