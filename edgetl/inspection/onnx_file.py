"""The contents of an ONNX file, read in a separate process: ``python -m edgetl.inspection.onnx_file``.

ONNX's checker and shape inference are native code that is not hardened against untrusted files.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any, BinaryIO

from edgetl._lib import extras, reader_process
from edgetl_device._lib.documents import of_json, to_json
from edgetl_device.errors import InputError

from .description import ONNXDescription, TensorDescription, counted

# Models of 100 MB take seconds.
_TIMEOUT_S = 120.0
_TENSORS = "tensors"


def describe(data: bytes, *, tensors: bool) -> ONNXDescription:
    """Describe an ONNX file; with ``tensors``, each of its tensors too.

    Raises:
        InputError: It is not valid, or has values in other files.
        Unavailable: ``onnx`` is not installed.
    """
    extras.check_installed("onnx")
    try:
        found = reader_process.read(
            "inspection.onnx_file", data, *([_TENSORS] if tensors else []), timeout_s=_TIMEOUT_S
        )
    except ValueError as error:
        raise InputError("not a valid ONNX file", why=str(error)[:300], hint="It is truncated or damaged.") from None
    return of_json(ONNXDescription, json.loads(found), name="the description of an ONNX file")


def describe_here(data: bytes, *, tensors: bool) -> ONNXDescription:
    """Describe the file in this process, which may crash; any exception means that the file is not valid."""
    onnx = extras.require("onnx")
    model = onnx.load_from_string(data)
    if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in model.graph.initializer):
        raise ValueError("it has values in other files")
    onnx.checker.check_model(model)
    graph = onnx.shape_inference.infer_shapes(model).graph
    stored_bytes = [onnx.numpy_helper.to_array(tensor).nbytes for tensor in graph.initializer]
    stored = [
        TensorDescription(
            name=tensor.name,
            dtype=onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name,
            shape=tuple(tensor.dims),
            bytes=size,
        )
        for tensor, size in zip(graph.initializer, stored_bytes, strict=True)
    ]
    inputs, outputs = (tuple(map(_onnx_value, values)) for values in (graph.input, graph.output))
    activations = [*inputs, *map(_onnx_value, graph.value_info), *outputs]
    return ONNXDescription(
        bytes=len(data),
        parameter_bytes=sum(stored_bytes),
        operators=counted(node.op_type for node in graph.node),
        tensor_types=counted(tensor.dtype for tensor in [*activations, *stored]),
        inputs=inputs,
        outputs=outputs,
        opset=max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        tensors=(*(replace(tensor, bytes=0) for tensor in activations), *stored) if tensors else None,
    )


def _onnx_value(value: Any) -> TensorDescription:
    onnx = extras.require("onnx")
    kind = value.type.tensor_type
    shape = tuple(side.dim_value if side.HasField("dim_value") else side.dim_param or None for side in kind.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else "unknown"
    return TensorDescription(name=value.name, dtype=dtype, shape=shape)


def _answer(data: bytes, out: BinaryIO) -> None:
    out.write(json.dumps(to_json(describe_here(data, tensors=_TENSORS in sys.argv))).encode())


if __name__ == "__main__":
    reader_process.serve(_answer)
