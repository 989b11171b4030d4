"""Read the structure of a TFLite file (operators, tensors, quantization, sizes) from the flatbuffer.

A truncated or edited file raises an error; it never crashes the process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from edgetl._lib import extras
from edgetl_device.errors import InputError

MAGIC = b"TFL3"
# Raised by flatbuffers and NumPy for an offset outside the file.
_DAMAGE = (struct.error, ValueError, IndexError, TypeError, OverflowError, AttributeError, MemoryError)
_DTYPE_BYTES = {
    "float64": 8, "int64": 8, "uint64": 8, "complex64": 8, "complex128": 16,
    "float32": 4, "int32": 4, "uint32": 4,
    "float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2,
    "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One tensor. ``bytes`` is the size of its stored values, 0 for activations; ``constant`` tells whether it has any.

    ``scales`` and ``zero_points`` are empty without quantization, else have one value per tensor, or one per index of
    dimension ``axis``. A dimension of -1 is dynamic.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    bytes: int
    constant: bool


@dataclass(frozen=True)
class Operator:
    """One operator. ``inputs`` and ``outputs`` are tensor indices, -1 for an optional input that is absent."""

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    custom: bool


@dataclass(frozen=True)
class TFLiteModel:
    """A TFLite file with one subgraph. ``inputs`` and ``outputs`` are tensor indices; ``metadata`` holds names."""

    bytes: int
    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    metadata: tuple[str, ...]


def describe(model: bytes) -> TFLiteModel:
    """Read the structure of a TFLite file.

    Raises:
        InputError: The file is not TFLite, is damaged, or has several subgraphs (control flow).
        Unavailable: ``ai-edge-litert``, which contains the schema, is not installed.
    """
    schema = extras.require("ai_edge_litert.schema_py_generated")
    check_magic(model)
    with reading():
        return _read(schema.Model.GetRootAs(model, 0), model)


def check_magic(model: bytes) -> None:
    """Check the file identifier.

    Raises:
        InputError: It is not that of a TFLite file.
    """
    if model[4:8] != MAGIC:
        raise InputError("not a TFLite file", why=f"bytes 4 to 8 are {model[4:8]!r}, not {MAGIC!r}")


@contextmanager
def reading() -> Iterator[None]:
    """Convert exceptions caused by offsets outside the file to the error for a damaged file."""
    try:
        yield
    except _DAMAGE as error:
        raise damaged(str(error) or repr(error)) from None


def damaged(why: str) -> InputError:
    """Return the error for a TFLite file that cannot be read."""
    return InputError("a damaged TFLite file", why=why, hint="It is truncated or damaged; export or copy it again.")


def _read(root: Any, data: bytes) -> TFLiteModel:
    if root.SubgraphsLength() != 1:
        raise InputError(f"a TFLite file with {root.SubgraphsLength()} subgraphs", why="only one subgraph is supported")
    graph = root.Subgraphs(0)
    builtin, types = _names("BuiltinOperator"), _names("TensorType")
    buffers = [_buffer_bytes(root.Buffers(index), len(data)) for index in _span(root.BuffersLength(), data)]
    codes = [_code(root.OperatorCodes(index), builtin) for index in _span(root.OperatorCodesLength(), data)]
    tensors = tuple(_tensor(graph.Tensors(i), types, buffers) for i in _span(graph.TensorsLength(), data))
    operators = tuple(_operator(graph.Operators(i), codes) for i in _span(graph.OperatorsLength(), data))
    found = TFLiteModel(
        bytes=len(data),
        operators=operators,
        tensors=tensors,
        inputs=_numbers(graph.InputsAsNumpy()),
        outputs=_numbers(graph.OutputsAsNumpy()),
        metadata=tuple(root.Metadata(index).Name().decode() for index in _span(root.MetadataLength(), data)),
    )
    _check_indices(found)
    return found


def _check_indices(model: TFLiteModel) -> None:
    count = len(model.tensors)
    for operator in model.operators:
        if any(not -1 <= index < count for index in operator.inputs + operator.outputs):
            raise damaged(f"operator {operator.name} points outside the {count} tensors")
    if any(not 0 <= index < count for index in model.inputs + model.outputs):
        raise damaged(f"the inputs or outputs point outside the {count} tensors")


def _tensor(tensor: Any, types: dict[int, str], buffers: list[int]) -> Tensor:
    quantization = tensor.Quantization()
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    if quantization is not None:
        scales = _numbers(quantization.ScaleAsNumpy())
        zero_points = _numbers(quantization.ZeroPointAsNumpy())
    shape = _numbers(tensor.ShapeSignatureAsNumpy()) or _numbers(tensor.ShapeAsNumpy())
    dtype = types.get(tensor.Type())
    if dtype is None:
        raise damaged(f"a tensor has the unknown type {tensor.Type()}")
    stored_bytes = buffers[tensor.Buffer()]
    expected_bytes = _DTYPE_BYTES.get(dtype, 0)
    for size in shape:
        expected_bytes *= size
    name = (tensor.Name() or b"").decode()
    if stored_bytes and expected_bytes and stored_bytes != expected_bytes:
        raise damaged(f"tensor {name!r} of {expected_bytes} bytes has {stored_bytes} stored")
    return Tensor(
        name=name,
        dtype=dtype,
        shape=shape,
        scales=scales,
        zero_points=zero_points,
        axis=int(quantization.QuantizedDimension()) if quantization is not None else 0,
        bytes=stored_bytes,
        constant=stored_bytes > 0,
    )


def _operator(operator: Any, codes: list[tuple[str, int, bool]]) -> Operator:
    name, version, custom = codes[operator.OpcodeIndex()]
    return Operator(
        name=name,
        version=version,
        inputs=_numbers(operator.InputsAsNumpy()),
        outputs=_numbers(operator.OutputsAsNumpy()),
        custom=custom,
    )


def _code(code: Any, builtin: dict[int, str]) -> tuple[str, int, bool]:
    # Codes above 126 do not fit the old one-byte field, which then holds a lower placeholder.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = builtin.get(number)
    if name is None:
        raise damaged(f"unknown operator code {number}")
    custom = name == "CUSTOM"
    return (code.CustomCode() or b"unnamed").decode() if custom else name, int(code.Version()), custom


def _buffer_bytes(buffer: Any, limit: int) -> int:
    # Files over 2 GB store values after the flatbuffer, at an offset.
    size = int(buffer.Size()) if buffer.Offset() > 1 else int(buffer.DataLength())
    if size > limit:
        raise damaged(f"a buffer of {size} bytes in a file of {limit}")
    return size


def _numbers(vector: Any) -> tuple[Any, ...]:
    """Read a whole vector at once: one by one, thousands of scales take a second. flatbuffers returns 0 if absent."""
    return () if isinstance(vector, int) else tuple(vector.tolist())


def _span(count: int, data: bytes) -> range:
    """Return the indices of a vector; refuse one with more entries than the file has bytes."""
    if not 0 <= count <= len(data):
        raise damaged(f"a list of {count} entries in a file of {len(data)} bytes")
    return range(count)


@cache
def _names(enumeration: str) -> dict[int, str]:
    schema = extras.require("ai_edge_litert.schema_py_generated")
    members = vars(getattr(schema, enumeration)).items()
    names = {value: name for name, value in members if isinstance(value, int)}
    return {value: name.lower() for value, name in names.items()} if enumeration == "TensorType" else names
