"""SavedModels of TensorFlow 2: their graph with the weights inside, and the same as ONNX.

A graph can read and write files, call the network and run Python, so only operators of a fixed list run; whatever
loading would run is refused before it. In the child process of :mod:`edgetl.importing.scan`.
"""

from __future__ import annotations

import math
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from edgetl._lib import extras
from edgetl._lib.quiet import quietly
from edgetl_device.errors import InputError
from edgetl_device.input_size import InputSize
from edgetl_device.text import shown

from . import with_tf2onnx

# Each computes its output from its inputs alone.
KNOWN = frozenset((
    "Abs", "Add", "AddN", "AddV2", "AvgPool", "BatchMatMulV2", "BatchToSpaceND", "BiasAdd", "Cast", "ClipByValue",
    "ConcatV2", "Const", "Conv2D", "DepthwiseConv2dNative", "Elu", "EnsureShape", "Erf", "Erfc", "Exp", "ExpandDims",
    "Fill", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "GatherV2", "Identity", "IdentityN", "LeakyRelu",
    "LogSoftmax", "MatMul", "Max", "MaxPool", "Maximum", "Mean", "Min", "Minimum", "Mul", "Neg", "NoOp", "Pack", "Pad",
    "PadV2", "PartitionedCall", "Placeholder", "Pow", "Prod", "ReadVariableOp", "RealDiv", "Reciprocal", "Relu",
    "Relu6", "Reshape", "ResizeBilinear", "ResizeNearestNeighbor", "Rsqrt", "Selu", "Shape", "Sigmoid", "Slice",
    "Softmax", "Softplus", "SpaceToBatchND", "Split", "SplitV", "Sqrt", "Square", "SquaredDifference", "Squeeze",
    "StatefulPartitionedCall", "StopGradient", "StridedSlice", "Sub", "Sum", "Tanh", "Transpose", "Unpack",
))  # fmt: skip
_SIGNATURE = "serving_default"
_MOST_TIMES, _MOST_MORE = 8, 1 << 26
_AS_ONNX = "Convert it where it was made: python -m tf2onnx.convert --saved-model FOLDER --opset 17 --output model.onnx"


@dataclass(frozen=True, eq=False)
class SavedModel:
    """The graph of a signature.

    Attributes:
        graph: A GraphDef with the weights as constants.
        pixels: Name of its input tensor.
        scores: Name of its output tensor.
        producer: TensorFlow, with its version.
    """

    graph: bytes
    pixels: str
    scores: str
    producer: str


def read(data: bytes) -> SavedModel:
    """Read a SavedModel, a zip of its files as made by :mod:`edgetl.importing.source`.

    Raises:
        InputError: It is damaged, was written by TensorFlow 1, has several inputs or outputs, or an operator or object
            that is not known; it is named.
    """
    tf = extras.tensorflow()
    with zipfile.ZipFile(BytesIO(data)) as archive:
        meta = _checked(archive.read("saved_model.pb"), len(data))
        with tempfile.TemporaryDirectory(prefix="edgetl-") as folder, quietly():
            archive.extractall(folder)
            try:
                loaded = tf.saved_model.load(folder)
            except Exception as error:  # what it raises has no base class
                raise _not_read(error) from None
            function = _signature(loaded)
            _check_operators(function.graph.as_graph_def())
            convert: Any = extras.require("tensorflow.python.framework.convert_to_constants")
            frozen = convert.convert_variables_to_constants_v2(function)
    definition = frozen.graph.as_graph_def()
    _check_operators(definition)
    (pixels,), (scores,) = frozen.inputs, frozen.outputs
    graph = definition.SerializeToString()
    if len(graph) > len(data) * _MOST_TIMES + _MOST_MORE:
        raise InputError(f"its constants take {len(graph) / 1e6:,.0f} MB, and the file {len(data) / 1e6:,.0f} MB")
    return SavedModel(graph, pixels.name, scores.name, f"tensorflow {meta.tensorflow_version}")


def _not_read(error: Exception) -> InputError:
    return InputError("TensorFlow cannot load it", why=" ".join(str(error).split())[:250], hint=_AS_ONNX)


def _checked(data: bytes, size: int) -> Any:
    """Refuse what loading would run, and variables that are not in the file; return what wrote it."""
    parser: Any = extras.require("tensorflow.core.protobuf.saved_model_pb2")
    try:
        graphs = parser.SavedModel.FromString(data).meta_graphs
    except Exception as error:  # of protobuf, whose class differs between versions
        raise _not_read(error) from None
    if not graphs:
        raise InputError("it has no graph", hint="It is damaged; copy it again.")
    # What TensorFlow itself goes by; of others it runs the initializers.
    if len(graphs) != 1 or not graphs[0].HasField("object_graph_def"):
        raise InputError("it was written by TensorFlow 1", hint=_AS_ONNX)
    variables = 0
    for node in graphs[0].object_graph_def.nodes:
        if node.WhichOneof("kind") == "resource" or node.saveable_objects or node.registered_saver:
            raise InputError("it has a lookup table or another resource", hint="Build the model without it.")
        if node.WhichOneof("kind") == "variable":
            variables += 4 * math.prod(max(dim.size, 0) for dim in node.variable.shape.dim)
    if variables > size * _MOST_TIMES + _MOST_MORE:
        raise InputError(f"its variables take {variables / 1e6:,.0f} MB, and its files {size / 1e6:,.0f} MB")
    return graphs[0].meta_info_def


def _signature(loaded: Any) -> Any:
    """Return the function of the one signature to serve."""
    signatures = getattr(loaded, "signatures", {})
    names = [_SIGNATURE] if _SIGNATURE in signatures else sorted(signatures)
    if len(names) != 1:
        raise InputError(
            f"it has the signatures {', '.join(map(shown, names))}" if names else "it has no signature",
            hint=f"Save it with signatures={{{_SIGNATURE!r}: function}}, or with Keras: model.export(FOLDER).",
        )
    function = signatures[names[0]]
    inputs, outputs = function.structured_input_signature[1], function.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"it has {len(inputs)} inputs and {len(outputs)} outputs; an image classifier has one of each",
            hint="Detectors are not supported. Save a signature with the scores of the classes as its only output.",
        )
    return function


def _check_operators(definition: Any) -> None:
    unknown = sorted({node.op for node in _nodes(definition)} - KNOWN)
    if unknown:
        raise InputError(
            f"it has operators that cannot be imported: {', '.join(map(shown, unknown))}",
            hint="Build the model without them.",
        )


def _nodes(definition: Any) -> Iterator[Any]:
    """Yield the nodes of a GraphDef and of the functions that they call, of which it has others: gradients."""
    functions = {one.signature.name: one for one in definition.library.function}
    waiting = list(definition.node)
    while waiting:
        node = waiting.pop()
        yield node
        for value in node.attr.values():
            for called in (value.func, *value.list.func):
                function = functions.pop(called.name, None)
                waiting.extend(function.node_def if function else ())


def to_onnx(found: SavedModel, size: InputSize | None) -> bytes:
    """Return a graph as ONNX, with its input as it is, [n, H, W, C]; ``size`` is H and W where any are taken.

    Raises:
        InputError: An operator has no equivalent; it is named.
    """
    graph = extras.tensorflow().compat.v1.GraphDef.FromString(found.graph)
    override = {found.pixels: [1, size.height, size.width, _channels(graph, found.pixels)]} if size else None
    names = {"input_names": [found.pixels], "output_names": [found.scores]}
    return with_tf2onnx.to_onnx("from_graph_def", graph, shape_override=override, **names)


def _channels(graph: Any, pixels: str) -> int:
    """Return the last axis of a graph's input."""
    (node,) = (one for one in graph.node if one.name == pixels.partition(":")[0])
    dims = node.attr["shape"].shape.dim
    return 1 if dims and dims[-1].size == 1 else 3


def run_once(found: SavedModel, shape: Sequence[int]) -> None:
    """Run a graph on a photo of zeros: what crashes TensorFlow ends this process.

    Raises:
        InputError: TensorFlow cannot run it.
    """
    function, tf = function_of(found.graph, found.pixels, found.scores), extras.tensorflow()
    try:
        function(tf.zeros(shape))
    except tf.errors.OpError as error:
        raise InputError("TensorFlow cannot run it", why=" ".join(str(error).split())[:250]) from None


def function_of(graph: bytes, pixels: str, scores: str) -> Any:
    """Return a GraphDef as a function of its input."""
    tf = extras.tensorflow()
    definition = tf.compat.v1.GraphDef.FromString(graph)
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(definition, name=""), [])
    return wrapped.prune(pixels, scores)
