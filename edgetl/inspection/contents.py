"""What is in a model file or a bundle, as one JSON document: operators, tensors, types, sizes, labels.

Not for: whether it is right (``edgetl verify``) or fast (``edgetl bench``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgetl._lib import extras
from edgetl.inspection.tflite.file import MAGIC, Tensor, describe
from edgetl.inspection.tflite.metadata import read_metadata
from edgetl_device.documents import to_json
from edgetl_device.errors import InputError


def inspect_path(path: Path, *, tensors: bool = False) -> dict[str, Any]:
    """Describe a ``.tflite`` or ``.onnx`` file, a bundle folder, a run folder or an ``.edgetl`` file.

    Args:
        path: What to open.
        tensors: Also list every tensor of each model.

    Returns:
        ``kind`` is ``tflite``, ``onnx`` or ``bundle``. Models have ``bytes``, ``parameter_bytes`` (stored weights,
        biases and constants), ``operators`` (count by type), ``tensor_types`` (count by dtype), ``inputs`` and
        ``outputs``; TFLite models also ``metadata`` (the names of its entries) and ``about`` (``name``,
        ``description``, ``min_parser_version`` and ``labels`` of the standard metadata, or None); bundles have
        ``labels``, ``preprocess`` and ``variants``, each with a model's fields.

    Raises:
        InputError: It is absent, damaged, or none of these.
        Unavailable: The package that reads this kind of file is not installed.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder", hint="Give a .tflite or .onnx file, or a bundle.")
    if path.is_dir() or path.suffix == ".edgetl":
        return _bundle(path, tensors)
    data = path.read_bytes()
    if data[4:8] == MAGIC or path.suffix == ".tflite":
        format = "tflite"
    elif path.suffix == ".onnx":
        format = "onnx"
    else:
        raise InputError(f"{path}: not a model or bundle", hint="Give a .tflite or .onnx file, or a bundle.")
    return {"path": str(path), "kind": format} | inspect_model(data, format, name=str(path), tensors=tensors)


def inspect_model(data: bytes, format: str, *, name: str, tensors: bool = False) -> dict[str, Any]:
    """Describe the bytes of one model; ``name`` is what error messages call it."""
    try:
        return _tflite(data, tensors) if format == "tflite" else _onnx(data, tensors)
    except InputError as error:
        raise InputError(f"{name}: {error.what}", why=error.why, hint=error.hint) from None


def _bundle(path: Path, tensors: bool) -> dict[str, Any]:
    from edgetl_device.bundle import Bundle

    bundle = Bundle.open(path)
    variants = []
    for variant in bundle.variants:
        model = inspect_model(
            bundle.read(variant.file), variant.format, name=f"{bundle.path}: {variant.file}", tensors=tensors
        )
        measured = {"accuracy": to_json(variant.accuracy), "agreement": to_json(variant.agreement)}
        variants.append({"name": variant.name, "format": variant.format} | model | measured)
    return {
        "path": str(bundle.path),
        "kind": "bundle",
        "digest": bundle.digest,
        "labels": list(bundle.labels),
        "preprocess": bundle.preprocess.to_json(),
        "variants": variants,
    }


def _tflite(data: bytes, tensors: bool) -> dict[str, Any]:
    model = describe(data)
    about = read_metadata(data)
    used = {index for operator in model.operators for index in operator.inputs + operator.outputs}
    document: dict[str, Any] = {
        "bytes": model.bytes,
        "parameter_bytes": sum(tensor.bytes for tensor in model.tensors),
        "operators": _counted(operator.name for operator in model.operators),
        "tensor_types": _counted(model.tensors[index].dtype for index in used if index >= 0),
        "inputs": [_tflite_tensor(model.tensors[index]) for index in model.inputs],
        "outputs": [_tflite_tensor(model.tensors[index]) for index in model.outputs],
        "metadata": list(model.metadata),
        "about": None if about is None else asdict(about),
    }
    if tensors:
        document["tensors"] = [_tflite_tensor(tensor) | {"bytes": tensor.bytes} for tensor in model.tensors]
    return document


def _tflite_tensor(tensor: Tensor) -> dict[str, Any]:
    row: dict[str, Any] = {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}
    if len(tensor.scales) == 1:
        row |= {"scale": tensor.scales[0], "zero_point": tensor.zero_points[0] if tensor.zero_points else 0}
    elif tensor.scales:
        row |= {"scales": len(tensor.scales), "axis": tensor.axis}
    return row


def _onnx(data: bytes, tensors: bool) -> dict[str, Any]:
    onnx = extras.require("onnx")
    decode_error = extras.require("google.protobuf.message").DecodeError
    try:
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model)
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (decode_error, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InputError("not a valid ONNX file", why=str(error)[:300], hint="It is truncated or edited.") from None
    stored = [
        {
            "name": tensor.name,
            "dtype": onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name,
            "shape": list(tensor.dims),
            "bytes": onnx.numpy_helper.to_array(tensor).nbytes,
        }
        for tensor in graph.initializer
    ]
    inputs = [_onnx_value(value) for value in graph.input]
    outputs = [_onnx_value(value) for value in graph.output]
    activations = [*inputs, *(_onnx_value(value) for value in graph.value_info), *outputs]
    document: dict[str, Any] = {
        "bytes": len(data),
        "parameter_bytes": sum(tensor["bytes"] for tensor in stored),
        "operators": _counted(node.op_type for node in graph.node),
        "tensor_types": _counted(tensor["dtype"] for tensor in [*activations, *stored]),
        "inputs": inputs,
        "outputs": outputs,
        "opset": max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
    }
    if tensors:
        document["tensors"] = [{**tensor, "bytes": 0} for tensor in activations] + stored
    return document


def _onnx_value(value: Any) -> dict[str, Any]:
    onnx = extras.require("onnx")
    kind = value.type.tensor_type
    shape = [side.dim_value if side.HasField("dim_value") else side.dim_param or None for side in kind.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else "unknown"
    return {"name": value.name, "dtype": dtype, "shape": shape}


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))
