"""A TFLite file as objects that can be edited and packed again, and its constants as arrays.

Read untrusted files with ``edgetl.inspection.tflite.file`` first, which checks them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib import extras
from edgetl_device.errors import InputError

from .file import MAGIC, Tensor, reading

_LARGEST_BUFFER_ALIGNMENT = 16


def read_tree(model: bytes) -> Any:
    """Return a TFLite file as a ``ModelT`` of the generated schema: fields are attributes, lists are lists.

    Raises:
        InputError: The file is damaged.
        Unavailable: ``ai-edge-litert``, which contains the schema, is not installed.
    """
    schema = extras.require("ai_edge_litert.schema_py_generated")
    with reading():
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))


def pack_tree(tree: Any) -> bytes:
    """Pack a ``ModelT`` with each buffer aligned to 16 bytes. The tree's buffers are replaced.

    Data after the flatbuffer, such as the zip of the standard metadata, is dropped.
    """
    tree.buffers = [
        buffer if isinstance(buffer, Buffer) else Buffer(None if buffer.data is None else bytes(buffer.data))
        for buffer in tree.buffers
    ]
    stored_bytes = sum(len(buffer.data or b"") for buffer in tree.buffers)
    builder = extras.require("flatbuffers").Builder(stored_bytes + 1024)
    builder.Finish(tree.Pack(builder), MAGIC)
    return bytes(builder.Output())


class Buffer:
    """Pack like ``BufferT`` of the generated schema, but align the values."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data

    def Pack(self, builder: Any) -> int:
        """Write the buffer and return its offset, as the generated classes do."""
        schema = extras.require("ai_edge_litert.schema_py_generated")
        values = None
        if self.data is not None:
            builder.StartVector(1, len(self.data), _LARGEST_BUFFER_ALIGNMENT)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
            values = builder.EndVector()
        schema.BufferStart(builder)
        if values is not None:
            schema.BufferAddData(builder, values)
        packed: int = schema.BufferEnd(builder)
        return packed


def constant(tree: Any, index: int, tensor: Tensor) -> npt.NDArray[Any] | None:
    """Return the stored values of tensor ``index`` in their own type and shape, or None if it has none.

    Args:
        tree: The file from :func:`read_tree`.
        index: Index of the tensor.
        tensor: The same tensor from :func:`edgetl.inspection.tflite.file.describe`.

    Raises:
        InputError: NumPy has no such type (4 bit, strings).
    """
    data = tree.buffers[tree.subgraphs[0].tensors[index].buffer].data
    if data is None or not len(data):
        return None
    if tensor.dtype == "bfloat16" or not hasattr(np, tensor.dtype):
        raise InputError(f"tensor {tensor.name!r} is {tensor.dtype}", why="NumPy has no such type")
    return np.frombuffer(bytes(data), np.dtype(tensor.dtype)).reshape(tensor.shape)


def to_real(values: npt.NDArray[Any], tensor: Tensor) -> npt.NDArray[np.float32]:
    """Dequantize a tensor's integers to float32: ``scale * (q - zero_point)``, same shape.

    Per channel if the tensor has several scales (TFLite 8-bit quantization specification). Unquantized values are only
    converted.
    """
    if not tensor.scales:
        return values.astype(np.float32)
    scales, zero_points = (np.array(part, np.float64) for part in (tensor.scales, tensor.zero_points or (0,)))
    shape = [1] * values.ndim
    if len(scales) > 1:
        shape[tensor.axis] = len(scales)
    scales = scales.reshape(shape)
    zero_points = zero_points.reshape(shape if len(zero_points) > 1 else [1] * values.ndim)
    # In float64, because an int32 bias does not fit into float32.
    return ((values - zero_points) * scales).astype(np.float32)
