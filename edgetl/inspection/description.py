"""The description of a model file: operators, tensors, types, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypedDict

from edgetl.inspection.tflite.metadata import Metadata
from edgetl_device._lib.documents import optional


class Grid(TypedDict, total=False):
    """Quantization of a tensor: ``scale`` and ``zero_point``, or the number of ``scales`` along ``axis``."""

    scale: float
    zero_point: int
    scales: int
    axis: int


@dataclass(frozen=True, kw_only=True)
class TensorDescription:
    """One tensor of a model.

    Attributes:
        name: Name in the file.
        dtype: NumPy's name of the type, or TFLite's for types that NumPy lacks.
        shape: Sizes; -1, a name or null for a dynamic dimension.
        scale: Quantization scale, if there is only one.
        zero_point: Quantization zero point, if there is only one.
        scales: Number of quantization scales, if there are several.
        axis: Dimension of the scales, if there are several.
        bytes: Size of its stored values, 0 for activations; absent for inputs and outputs.
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
    """Contents of a model.

    Attributes:
        bytes: Size of the file.
        parameter_bytes: Size of stored weights, biases and constants.
        operators: Number of operators of each type, most frequent first.
        tensor_types: Number of tensors of each dtype, most frequent first.
        inputs: Inputs, in the order of the file.
        outputs: Outputs, in the order of the file.
    """

    bytes: int
    parameter_bytes: int
    operators: dict[str, int]
    tensor_types: dict[str, int]
    inputs: tuple[TensorDescription, ...]
    outputs: tuple[TensorDescription, ...]


@dataclass(frozen=True, kw_only=True)
class TFLiteDescription(ModelDescription):
    """Contents of a TFLite model.

    Attributes:
        format: The format of the file.
        metadata: Names of the metadata entries.
        about: The standard metadata, or null.
        tensors: All tensors, if requested.
    """

    format: Literal["tflite"] = "tflite"
    metadata: tuple[str, ...]
    about: Metadata | None
    tensors: tuple[TensorDescription, ...] | None = optional()


@dataclass(frozen=True, kw_only=True)
class ONNXDescription(ModelDescription):
    """Contents of an ONNX model.

    Attributes:
        format: The format of the file.
        opset: Version of ONNX's operator set.
        tensors: All tensors, if requested.
    """

    format: Literal["onnx"] = "onnx"
    opset: int
    tensors: tuple[TensorDescription, ...] | None = optional()


def counted(names: Iterable[str]) -> dict[str, int]:
    """Return how often each name occurs, the most frequent first."""
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))
