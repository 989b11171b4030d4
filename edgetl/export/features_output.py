"""Give an exported model outputs of features: the pooled ones, which its last layer takes, and a feature map.

The map is where the last resolution begins, the first of the narrowest there: a bottleneck of MobileNets and
EfficientNets, whose values are less about the classes than the pooled features, and tell more of what is none of them
(docs/guides/unknown.md). The finished file is changed, so probabilities stay as they were measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from edgetl._lib import extras
from edgetl.inspection.tflite.file import TFLiteModel, describe
from edgetl.inspection.tflite.tree import pack_tree, read_tree
from edgetl_device.errors import InputError
from edgetl_device.unknown import MAX_FEATURES

_Name = TypeVar("_Name", int, str)

# Operators between the last layer and the output of a classifier.
_TFLITE_ENDS = ("SOFTMAX", "LOGISTIC", "QUANTIZE", "DEQUANTIZE", "RESHAPE", "ADD")
_ONNX_FUSED = ("BatchNormalization", "Relu", "Clip", "QuantizeLinear", "DequantizeLinear")
_MAP_RANK = 4
_ONNX_ENDS = ("Softmax", "Sigmoid", "QuantizeLinear", "DequantizeLinear", "Reshape", "Squeeze", "Flatten", "Add")


def with_features(model: bytes, format: Literal["tflite", "onnx"]) -> bytes:
    """Return a classifier with outputs of features after the probabilities.

    The second is the input of its last dense layer, [1, C]; the third, where there is one, the feature map:
    [1, H, W, C] in TFLite, averaged to [1, C] in ONNX. In int8 TFLite they are int8 with a scale, in ONNX float32.

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
    graph.outputs = [*found.outputs, operator.inputs[0], *_tflite_map(found, MAX_FEATURES - tensor.shape[-1])]
    # A signature lists outputs by name; LiteRT needs none, and one without the new output would hide it.
    tree.signatureDefs = []
    return pack_tree(tree)


def _tflite_map(model: TFLiteModel, most: int) -> list[int]:
    """Return the index of the feature map, in a list that is empty if there is none of at most so many channels."""
    made = [one.outputs[0] for one in model.operators if one.name in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    return _narrowest([(index, model.tensors[index].shape) for index in made], most)


def _narrowest(maps: Sequence[tuple[_Name, Sequence[int]]], most: int) -> list[_Name]:
    """Return the first of the narrowest feature maps at the last resolution.

    Args:
        maps: Names and shapes, [n, H, W, C], in the order of execution.
        most: Channels that it may have.
    """
    large = [(name, tuple(shape)) for name, shape in maps if len(shape) == _MAP_RANK and max(shape[1:3]) > 1]
    at_last = [(name, shape[3]) for name, shape in large if shape[1:3] == large[-1][1][1:3]]
    name, channels = min(at_last, key=lambda one: one[1], default=(None, 0))
    return [name] if name is not None and 0 < channels <= most else []


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
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    shape = _shape(inferred, features)
    # A dynamic batch is 0.
    if shape and shape[-1] > MAX_FEATURES:
        raise _no_features(f"{node.op_type} of {shape}")
    if features in {one.name for one in graph.input} or len(shape) != 2 or shape[0] not in (0, 1):
        raise _no_features(f"{node.op_type} of {shape}")
    _add_output(graph, features, shape[1])
    for name in _onnx_map(inferred, MAX_FEATURES - shape[1]):
        # Averaged here, because only here it is known that channels come first.
        mean, flat = f"{name}/edgetl_mean", f"{name}/edgetl_features"
        graph.node.append(onnx.helper.make_node("GlobalAveragePool", [name], [mean], name=mean))
        graph.node.append(onnx.helper.make_node("Flatten", [mean], [flat], name=flat))
        _add_output(graph, flat, _shape(inferred, name)[1])
    onnx.checker.check_model(proto, full_check=True)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def _add_output(graph: Any, name: str, features: int) -> None:
    onnx = extras.require("onnx")
    graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, features]))


def _onnx_map(graph: Any, most: int) -> list[str]:
    """Return the name of the feature map, in a list that is empty if there is none of at most so many channels."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    maps = []
    for node in graph.node:
        if node.op_type == "Conv":
            shape, end = _shape(graph, node.output[0]), node.output[0]
            # What a convolution of TFLite does, too.
            while len(found := readers.get(end, [])) == 1 and found[0].op_type in _ONNX_FUSED:
                end = found[0].output[0]
            if len(shape) == _MAP_RANK:
                maps.append((end, (shape[0], *shape[2:], shape[1])))
    return _narrowest(maps, most)


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
