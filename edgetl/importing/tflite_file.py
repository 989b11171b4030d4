"""TFLite files with float activations: what they say of themselves, their weights in float32, and the same as ONNX.

In the child process of :mod:`edgetl.importing.scan`: converter and runtime are native code.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetl._lib import extras
from edgetl.inspection.tflite.file import Tensor, TFLiteModel, describe
from edgetl.inspection.tflite.metadata import read_metadata
from edgetl.inspection.tflite.tree import Buffer, constant, pack_tree, read_tree, to_real
from edgetl_device.errors import InputError

from . import with_tf2onnx

_INTEGERS = ("int8", "uint8", "int16")
# As those of other formats; tensors may share what is stored.
_MOST_TIMES, _MOST_MORE = 8, 1 << 26
_FLOAT_MODEL = "Import the float model that it was made of; edgetl quantize makes int8 files of that."
_MEASURE = (
    "Import the float model that it was made of, then measure this file against it: edgetl import FLOAT_MODEL --data "
    "PHOTOS --out RUN; edgetl quantize RUN --int8-file THIS_FILE"
)


@dataclass(frozen=True, eq=False)
class TFLiteFile:
    """A TFLite file.

    Attributes:
        floats: The file with all weights in float32; as it is, if they are.
        weights_type: What they are in the file: ``float32``, ``float16`` or ``int8``.
        labels: The labels in its metadata; empty if it has none.
    """

    floats: bytes
    weights_type: str
    labels: tuple[str, ...]


def read(data: bytes) -> TFLiteFile:
    """Read a file.

    Raises:
        InputError: It is damaged, quantized, or no image classifier of standard operators.
    """
    found = describe(data)
    _check(found)
    floats, kind = _with_float_weights(data, found)
    metadata = read_metadata(data)
    return TFLiteFile(floats, kind, metadata.labels if metadata else ())


def _check(found: TFLiteModel) -> None:
    if len(found.inputs) != 1 or len(found.outputs) != 1:
        raise InputError(
            f"it has {len(found.inputs)} inputs and {len(found.outputs)} outputs",
            why="an image classifier has one of each",
            hint="Detectors are not supported. Convert a model with the scores of the classes as its only output.",
        )
    quantized = [one for one in found.tensors if not one.constant and one.dtype in _INTEGERS and one.scales]
    if quantized:
        raise InputError("it is quantized", why=f"{quantized[0].name!r} is {quantized[0].dtype}", hint=_MEASURE)
    pixels = found.tensors[found.inputs[0]]
    if pixels.dtype != "float32":
        raise InputError(f"its input is {pixels.dtype}, not float32", hint=_FLOAT_MODEL)
    custom = sorted({one.name for one in found.operators if one.custom})
    if custom:
        raise InputError(
            f"it has operators that are not of TFLite: {', '.join(custom)}",
            hint="Convert it with tf.lite.OpsSet.TFLITE_BUILTINS only.",
        )
    stored = sum(one.bytes for one in found.tensors)
    if stored > found.bytes * _MOST_TIMES + _MOST_MORE:
        raise InputError(f"its weights take {stored / 1e6:,.0f} MB, and the file {found.bytes / 1e6:,.0f} MB")


def _with_float_weights(data: bytes, found: TFLiteModel) -> tuple[bytes, str]:
    """Return the file with weights of float16 or int8 in float32, and which they were."""
    narrow = {index: one for index, one in enumerate(found.tensors) if _is_narrow(one)}
    if not narrow:
        return data, "float32"
    schema, tree = extras.require("ai_edge_litert.schema_py_generated"), read_tree(data)
    graph = tree.subgraphs[0]
    for index, tensor in narrow.items():
        values = constant(tree, index, tensor)
        if values is None or graph.tensors[index].sparsity is not None:
            raise InputError(f"{tensor.name!r} has sparse weights, or its weights elsewhere", hint=_FLOAT_MODEL)
        own = graph.tensors[index]
        own.type, own.quantization, own.buffer = schema.TensorType.FLOAT32, None, len(tree.buffers)
        tree.buffers.append(Buffer(to_real(values, tensor).tobytes()))
    passed = {
        operator.outputs[0]: operator.inputs[0]
        for operator in found.operators
        if operator.name == "DEQUANTIZE" and operator.inputs[0] in narrow
    }
    graph.operators = [
        own for own, operator in zip(graph.operators, found.operators, strict=True) if operator.outputs[0] not in passed
    ]
    for operator in graph.operators:
        operator.inputs = [passed.get(index, index) for index in map(int, operator.inputs)]
    return pack_tree(tree), "float16" if any(one.dtype == "float16" for one in narrow.values()) else "int8"


def _is_narrow(tensor: Tensor) -> bool:
    return tensor.constant and (tensor.dtype == "float16" or (tensor.dtype in _INTEGERS and bool(tensor.scales)))


def run_once(data: bytes, shape: Sequence[int]) -> None:
    """Run a file on a photo of zeros: what crashes LiteRT ends this process.

    Raises:
        InputError: LiteRT cannot run it.
    """
    import numpy as np

    litert = extras.require("ai_edge_litert.interpreter")
    try:
        interpreter = litert.Interpreter(model_content=data, num_threads=1)
        place = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(place, shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(place, np.zeros(shape, np.float32))
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise InputError("LiteRT cannot run it", why=" ".join(str(error).split())[:250]) from None


def to_onnx(data: bytes) -> bytes:
    """Return a TFLite file of floats as ONNX, with its input as it is, [n, H, W, C].

    Raises:
        InputError: An operator has no equivalent; it is named.
    """
    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(data)
        return with_tf2onnx.to_onnx("from_tflite", str(path))
