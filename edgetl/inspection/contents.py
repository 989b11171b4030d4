"""What is in a model file or a bundle: operators, tensors, types, sizes, labels.

Not for: whether it is right (``edgetl verify``) or fast (``edgetl bench``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypedDict

from edgetl._lib import extras
from edgetl.inspection.tflite.file import MAGIC, Tensor, describe
from edgetl.inspection.tflite.metadata import Metadata, read_metadata
from edgetl_device.bundle import Bundle
from edgetl_device.documents import Json, Unknown, optional, to_json
from edgetl_device.errors import InputError
from edgetl_device.files import check_regular
from edgetl_device.preprocess import Preprocess
from edgetl_device.scores import Accuracy, Agreement


class Grid(TypedDict, total=False):
    """The integer grid of a tensor: ``scale`` and ``zero_point``, or how many ``scales`` there are along ``axis``."""

    scale: float
    zero_point: int
    scales: int
    axis: int


@dataclass(frozen=True, kw_only=True)
class TensorDescription:
    """One tensor of a model.

    Attributes:
        name: In the file.
        dtype: NumPy's name, or TFLite's of types that NumPy lacks.
        shape: -1, a name or null for a dimension that is not fixed.
        scale: As in :class:`Grid`.
        zero_point: As in :class:`Grid`.
        scales: As in :class:`Grid`.
        axis: As in :class:`Grid`.
        bytes: Of its stored values, 0 for activations; absent of inputs and outputs.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]
    scale: float | None = optional()
    zero_point: int | None = optional()
    scales: int | None = optional()
    axis: int | None = optional()
    bytes: int | None = optional()


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What is in a model.

    Attributes:
        bytes: Size of the file.
        parameter_bytes: Of stored weights, biases and constants.
        operators: How many there are of each type, most first.
        tensor_types: How many tensors there are of each dtype, most first.
        inputs: In the order of the file.
        outputs: In the order of the file.
    """

    bytes: int
    parameter_bytes: int
    operators: dict[str, int]
    tensor_types: dict[str, int]
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]


@dataclass(frozen=True, kw_only=True)
class TFLiteDescription(ModelDescription):
    """What is in a TFLite model.

    Attributes:
        metadata: Names of its metadata entries.
        about: Its standard metadata, or None.
        tensors: All of them, where they were asked for.
    """

    FORMAT: ClassVar[Literal["tflite"]] = "tflite"

    metadata: tuple[str, ...]
    about: Metadata | None
    tensors: tuple[TensorDescription, ...] | None = optional()


@dataclass(frozen=True, kw_only=True)
class ONNXDescription(ModelDescription):
    """What is in an ONNX model.

    Attributes:
        opset: Version of ONNX's operators.
        tensors: All of them, where they were asked for.
    """

    FORMAT: ClassVar[Literal["onnx"]] = "onnx"

    opset: int
    tensors: tuple[TensorDescription, ...] | None = optional()


@dataclass(frozen=True)
class FileContents:
    """A model file.

    Attributes:
        path: Of the file.
        model: What is in it.
    """

    path: str
    model: TFLiteDescription | ONNXDescription

    def to_json(self) -> Json:
        """Return the fields of the model after ``path`` and ``kind``, its format."""
        return {"path": self.path, "kind": self.model.FORMAT} | to_json(self.model)


@dataclass(frozen=True)
class VariantContents:
    """A variant of a bundle.

    Attributes:
        name: Of the variant.
        model: What is in its file.
        accuracy: Of the variant, when the bundle was made.
        agreement: With the reference, then.
    """

    name: str
    model: TFLiteDescription | ONNXDescription
    accuracy: Accuracy | None
    agreement: Agreement | Unknown | None

    def to_json(self) -> Json:
        """Return the fields of the model between ``name`` and ``format`` and what was measured."""
        measured = {"accuracy": to_json(self.accuracy), "agreement": to_json(self.agreement)}
        return {"name": self.name, "format": self.model.FORMAT} | to_json(self.model) | measured


@dataclass(frozen=True)
class BundleContents:
    """A bundle.

    Attributes:
        path: Its folder or file.
        digest: Of its bundle.json.
        labels: Class names, in the order of the models' output.
        preprocess: How a photo becomes the models' input.
        variants: The models.
    """

    path: str
    digest: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    variants: tuple[VariantContents, ...]

    def to_json(self) -> Json:
        """Return all of it, with ``kind`` after ``path``."""
        return {
            "path": self.path,
            "kind": "bundle",
            "digest": self.digest,
            "labels": list(self.labels),
            "preprocess": to_json(self.preprocess),
            "variants": [variant.to_json() for variant in self.variants],
        }


def inspect_path(path: Path, *, tensors: bool = False) -> FileContents | BundleContents:
    """Describe a ``.tflite`` or ``.onnx`` file, a bundle folder, a run folder or an ``.edgetl`` file.

    Args:
        path: What to open.
        tensors: Also list every tensor of each model.

    Raises:
        InputError: It is absent, damaged, or none of these.
        Unavailable: The package that reads this kind of file is not installed.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder", hint="Give a .tflite or .onnx file, or a bundle.")
    if path.is_dir() or path.suffix == ".edgetl":
        return _bundle(path, tensors)
    check_regular(path)
    data = path.read_bytes()
    if data[4:8] == MAGIC or path.suffix == ".tflite":
        format = "tflite"
    elif path.suffix == ".onnx":
        format = "onnx"
    else:
        raise InputError(f"{path}: not a model or bundle", hint="Give a .tflite or .onnx file, or a bundle.")
    return FileContents(str(path), _model(data, format, name=str(path), tensors=tensors))


def grid_of(tensor: Tensor) -> Grid:
    """Return the integer grid of a tensor; nothing of one without."""
    if len(tensor.scales) == 1:
        return {"scale": tensor.scales[0], "zero_point": tensor.zero_points[0] if tensor.zero_points else 0}
    return {"scales": len(tensor.scales), "axis": tensor.axis} if tensor.scales else {}


def _model(data: bytes, format: str, *, name: str, tensors: bool) -> TFLiteDescription | ONNXDescription:
    """Describe the bytes of one model; error messages use ``name``."""
    try:
        return _tflite(data, tensors) if format == "tflite" else _onnx(data, tensors)
    except InputError as error:
        raise InputError(f"{name}: {error.what}", why=error.why, hint=error.hint) from None


def _bundle(path: Path, tensors: bool) -> BundleContents:
    bundle = Bundle.open(path)
    variants = []
    for variant in bundle.variants:
        name = f"{bundle.path}: {variant.file}"
        model = _model(bundle.read(variant.file), variant.format, name=name, tensors=tensors)
        variants.append(VariantContents(variant.name, model, variant.accuracy, variant.agreement))
    return BundleContents(str(bundle.path), bundle.digest, bundle.labels, bundle.preprocess, tuple(variants))


def _tflite(data: bytes, tensors: bool) -> TFLiteDescription:
    model = describe(data)
    used = {index for operator in model.operators for index in operator.inputs + operator.outputs}
    return TFLiteDescription(
        bytes=model.bytes,
        parameter_bytes=sum(tensor.bytes for tensor in model.tensors),
        operators=_counted(operator.name for operator in model.operators),
        tensor_types=_counted(model.tensors[index].dtype for index in used if index >= 0),
        inputs=tuple(_tflite_tensor(model.tensors[index]) for index in model.inputs),
        outputs=tuple(_tflite_tensor(model.tensors[index]) for index in model.outputs),
        metadata=model.metadata,
        about=read_metadata(data),
        tensors=tuple(_tflite_tensor(tensor, tensor.bytes) for tensor in model.tensors) if tensors else None,
    )


def _tflite_tensor(tensor: Tensor, stored_bytes: int | None = None) -> TensorDescription:
    return TensorDescription(
        name=tensor.name, dtype=tensor.dtype, shape=tensor.shape, bytes=stored_bytes, **grid_of(tensor)
    )


def _onnx(data: bytes, tensors: bool) -> ONNXDescription:
    onnx = extras.require("onnx")
    decode_error = extras.require("google.protobuf.message").DecodeError
    try:
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model)
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (decode_error, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InputError("not a valid ONNX file", why=str(error)[:300], hint="It is truncated or edited.") from None
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
        operators=_counted(node.op_type for node in graph.node),
        tensor_types=_counted(tensor.dtype for tensor in [*activations, *stored]),
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


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))
