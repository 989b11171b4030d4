"""The contents of a model file or a bundle: operators, tensors, types, sizes, labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgetl.inspection.tflite.file import MAGIC, Tensor, describe
from edgetl.inspection.tflite.metadata import read_metadata
from edgetl_device._lib.documents import Unknown, optional
from edgetl_device._lib.files import check_regular
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError
from edgetl_device.preprocess import Preprocess
from edgetl_device.scores import Accuracy, Agreement
from edgetl_device.truth import Truth

from . import onnx_file
from .description import Grid, ONNXDescription, TensorDescription, TFLiteDescription, counted


@dataclass(frozen=True)
class FileContents:
    """A model file.

    Attributes:
        path: Path of the file.
        model: Its contents.
    """

    SCHEMA: ClassVar[str] = "edgetl.inspection.model/1"

    path: str
    model: TFLiteDescription | ONNXDescription


@dataclass(frozen=True)
class VariantContents:
    """A variant of a bundle.

    Attributes:
        name: Name of the variant.
        model: Contents of its file.
        accuracy: Accuracy when the bundle was made.
        agreement: Agreement with the reference when the bundle was made.
    """

    name: str
    model: TFLiteDescription | ONNXDescription
    accuracy: Accuracy | None
    agreement: Agreement | Unknown | None


@dataclass(frozen=True)
class BundleContents:
    """A bundle.

    Attributes:
        path: Folder or file of the bundle.
        digest: Digest of its bundle.json.
        labels: Class names, in the order of the models' output.
        preprocess: Preprocessing of photos.
        variants: The variants.
        truth: What its photos are held against: their ``labels``, or, for pictures that edgetl drew, the answers of the
            original ``model``. Then accuracy is agreement with the original.
    """

    SCHEMA: ClassVar[str] = "edgetl.inspection.bundle/1"

    path: str
    digest: str
    labels: tuple[str, ...]
    preprocess: Preprocess
    variants: tuple[VariantContents, ...]
    truth: Truth = optional("labels")


def inspect_path(path: Path, *, tensors: bool = False) -> FileContents | BundleContents:
    """Describe a ``.tflite`` or ``.onnx`` file, a bundle folder, a run folder or an ``.edgetl`` file.

    Args:
        path: The file or folder.
        tensors: Also list all tensors of each model.

    Raises:
        InputError: The path does not exist, is damaged, or is none of these.
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
    """Return the quantization of a tensor; empty if it has none."""
    if len(tensor.scales) == 1:
        return {"scale": tensor.scales[0], "zero_point": tensor.zero_points[0] if tensor.zero_points else 0}
    return {"scales": len(tensor.scales), "axis": tensor.axis} if tensor.scales else {}


def _model(data: bytes, format: str, *, name: str, tensors: bool) -> TFLiteDescription | ONNXDescription:
    """Describe a model from its bytes; ``name`` is for error messages."""
    try:
        return _tflite(data, tensors) if format == "tflite" else onnx_file.describe(data, tensors=tensors)
    except InputError as error:
        raise InputError(f"{name}: {error.what}", why=error.why, hint=error.hint) from None


def _bundle(path: Path, tensors: bool) -> BundleContents:
    bundle = Bundle.open(path)
    variants = []
    for variant in bundle.variants:
        name = f"{bundle.path}: {variant.file}"
        model = _model(bundle.read(variant.file), variant.format, name=name, tensors=tensors)
        variants.append(VariantContents(variant.name, model, variant.accuracy, variant.agreement))
    return BundleContents(
        str(bundle.path), bundle.digest, bundle.labels, bundle.preprocess, tuple(variants), bundle.truth
    )


def _tflite(data: bytes, tensors: bool) -> TFLiteDescription:
    model = describe(data)
    used = {index for operator in model.operators for index in operator.inputs + operator.outputs}
    return TFLiteDescription(
        bytes=model.bytes,
        parameter_bytes=sum(tensor.bytes for tensor in model.tensors),
        operators=counted(operator.name for operator in model.operators),
        tensor_types=counted(model.tensors[index].dtype for index in used if index >= 0),
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
