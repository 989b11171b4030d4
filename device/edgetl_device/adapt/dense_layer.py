"""The last dense layer of a TFLite classifier: read it, and change or add one row, in the finished file.

No converter is needed. Integers of all other rows stay as they are. The scale of the logits is widened only if the new
row needs it. Fields and codes are those of TensorFlow's ``schema.fbs``.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl_device._lib.zips import add_member
from edgetl_device.errors import InputError

from .flatbuffer import Buffer, Table, damaged

Floats = npt.NDArray[np.float32]

_MAGIC = b"TFL3"
# BuiltinOperator.
_DEQUANTIZE, _FULLY_CONNECTED, _SOFTMAX, _QUANTIZE = 6, 9, 25, 114
# TensorType, of which the layer's tensors have these.
_FLOAT32, _INT32, _UINT8, _INT8 = 0, 2, 3, 9
# Field ids, in the order of the schema.
_OPERATOR_CODES, _SUBGRAPHS, _BUFFERS = 1, 2, 4
_DEPRECATED_CODE, _CODE = 0, 3
_TENSORS, _OUTPUTS, _OPERATORS = 0, 2, 3
_OP_CODE, _OP_INPUTS, _OP_OUTPUTS, _OP_OPTIONS = 0, 1, 2, 4
_ACTIVATION, _WEIGHTS_FORMAT = 0, 1
_SHAPE, _TYPE, _BUFFER, _QUANTIZATION, _SIGNATURE = 0, 1, 2, 4, 7
_SCALE, _ZERO_POINT, _AXIS, _QUANTIZATION_SLOTS = 2, 3, 6, 7
_DATA, _OUTSIDE = 0, 1

_LABELS = "labels.txt"
_MAX_LABELS_BYTES = 4 << 20
_INT8_LEVELS = 255


@dataclass(frozen=True, eq=False)
class Dense:
    """The last dense layer, dequantized.

    Attributes:
        weights: float32 [classes, features].
        bias: float32 [classes].
    """

    weights: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        """Return the logits, float32 [n, classes], of inputs, float32 [n, features]."""
        return np.asarray(features @ self.weights.T + self.bias, np.float32)

    def with_row(self, index: int, weights: Floats, bias: float) -> Dense:
        """Return the layer with another row, or with one more if ``index`` is the number of classes."""
        kept = np.arange(len(self.bias)) != index
        place = min(index, int(kept.sum()))
        return Dense(
            np.insert(self.weights[kept], place, weights, axis=0), np.insert(self.bias[kept], place, np.float32(bias))
        )


def read_dense(model: bytes) -> Dense:
    """Return the last dense layer of a classifier.

    Raises:
        InputError: The file is damaged, or does not end in a dense layer and a softmax in float32 or int8.
    """
    found = _File(model)
    return Dense(found.weights.real(), found.bias.real())


def change_row(
    model: bytes, index: int, weights: Floats, bias: float, *, highest: float, labels: Sequence[str]
) -> bytes:
    """Return a classifier with another row in its last dense layer, or one more.

    Args:
        model: A TFLite file, with or without the zip of the standard metadata after it.
        index: The row, or the number of classes for a new one.
        weights: float32 [features].
        bias: Its bias.
        highest: Largest value of the new logit to expect, which the logits of an int8 file will hold. Low values may
            saturate: a softmax makes nothing of them.
        labels: All classes, for the metadata's list of labels, if the file has one.

    Raises:
        InputError: As :func:`read_dense`, or the row does not fit the layer.
    """
    found = _File(model)
    classes, features = found.weights.shape
    if weights.shape != (features,) or not 0 <= index <= classes or not np.isfinite([*weights, bias]).all():
        raise InputError(
            f"a row of {weights.size} weights at {index}", why=f"the layer has {classes} of {features}, all finite"
        )
    added = index == classes
    _change_constants(found, index, weights, float(bias))
    if found.logits.type == _INT8:
        _widen(found.logits, highest)
    for tensor in found.outputs:
        if added:
            tensor.set_shape((*tensor.shape[:-1], classes + 1))
    return _with_labels(found, labels)


class _Tensor:
    """A tensor of a file, with the buffer that holds its values."""

    def __init__(self, table: Table, buffers: Sequence[Table]) -> None:
        self.table = table
        self.buffer = buffers[_index(table.scalar(_BUFFER, "<I"), buffers)]
        self.type = table.scalar(_TYPE, "<b")
        self.shape = tuple(table.numbers(_SHAPE, "<i"))
        quantization = table.table(_QUANTIZATION)
        scales = (quantization.values(_SCALE, 4) if quantization else None) or b""
        self.scales = np.frombuffer(scales, "<f4")
        self.zero_points = np.array(quantization.numbers(_ZERO_POINT, "<q") if quantization else [], np.int64)

    def integers(self) -> npt.NDArray[Any]:
        """Return the stored values in their own type.

        Raises:
            InputError: They are not in the file, or do not have the tensor's shape.
        """
        data = self.buffer.values(_DATA, 1)
        dtype = np.dtype({_FLOAT32: "<f4", _INT32: "<i4", _INT8: "i1"}[self.type])
        if data is None or self.buffer.scalar(_OUTSIDE, "<Q") > 1 or len(data) != dtype.itemsize * _size(self.shape):
            raise damaged("the values of its last layer are not as large as their shape")
        return np.frombuffer(data, dtype).reshape(self.shape)

    def real(self) -> Floats:
        """Return the values as float32, with the scale of each row."""
        values = self.integers()
        if self.type == _FLOAT32:
            return values.astype(np.float32)
        scales = self.scales.astype(np.float64).reshape(-1, *[1] * (values.ndim - 1))
        return (values * scales).astype(np.float32)

    def set_values(self, values: npt.NDArray[Any]) -> None:
        """Replace the values and the shape."""
        data = values.tobytes()
        self.buffer.replace(_DATA, data, len(data))
        self.set_shape(values.shape)

    def set_shape(self, shape: tuple[int, ...]) -> None:
        """Replace the shape, also where it says which sides are dynamic."""
        self.table.replace(_SHAPE, struct.pack(f"<{len(shape)}i", *shape), len(shape))
        if dynamic := self.table.numbers(_SIGNATURE, "<i"):
            if len(dynamic) != len(shape):
                raise damaged("the shapes of its last layer contradict each other")
            sides = [side if side < 0 else new for side, new in zip(dynamic, shape, strict=True)]
            self.table.replace(_SIGNATURE, struct.pack(f"<{len(sides)}i", *sides), len(sides))

    def set_quantization(self, scales: Floats, zero_points: Sequence[int], axis: int = 0) -> None:
        """Replace scales and zero points."""
        made = self.table.buffer.append_table({_SCALE: 0, _ZERO_POINT: 0, _AXIS: axis}, _QUANTIZATION_SLOTS)
        made.replace(_SCALE, np.asarray(scales, "<f4").tobytes(), len(scales))
        made.replace(_ZERO_POINT, np.asarray(zero_points, "<i8").tobytes(), len(zero_points))
        self.table.point(_QUANTIZATION, made.place)


class _File:
    """A classifier whose end is understood: a dense layer, a softmax, and at most a conversion of its result.

    Attributes:
        buffer: The flatbuffer, without what follows it.
        attached: Labels in the zip after it, None without one.
        input: The layer's input.
        weights: Its weights, [classes, features].
        bias: Its bias, [classes].
        logits: Its output.
        outputs: Every tensor from there to the end, the logits first.
    """

    def __init__(self, model: bytes) -> None:
        if model[4:8] != _MAGIC:
            raise damaged(f"the identifier {_MAGIC.decode()} is missing")
        model, self.attached = _without_zip(model)
        self.buffer = Buffer(model)
        root = self.buffer.root()
        graphs, buffers = root.tables(_SUBGRAPHS), root.tables(_BUFFERS)
        if len(graphs) != 1:
            raise _foreign(f"it has {len(graphs)} graphs")
        codes = [
            max(code.scalar(_DEPRECATED_CODE, "<b"), code.scalar(_CODE, "<i")) for code in root.tables(_OPERATOR_CODES)
        ]
        tables, operators = graphs[0].tables(_TENSORS), graphs[0].tables(_OPERATORS)
        makers = {output: operator for operator in operators for output in operator.numbers(_OP_OUTPUTS, "<i")}
        at, *_ = graphs[0].numbers(_OUTPUTS, "<i") or [-1]
        chain, ends = [at], []
        while (operator := makers.pop(at, None)) is not None:
            ends.append(codes[_index(operator.scalar(_OP_CODE, "<I"), codes)])
            inputs = operator.numbers(_OP_INPUTS, "<i")
            if ends[-1] == _FULLY_CONNECTED:
                break
            if ends[-1] not in (_SOFTMAX, _QUANTIZE, _DEQUANTIZE) or len(inputs) != 1:
                raise _foreign(f"its operator {ends[-1]} of {len(inputs)} inputs comes after the last dense layer")
            (at,) = inputs
            chain.append(at)
        if operator is None or ends.count(_SOFTMAX) != 1 or len(inputs) != 3:
            raise _foreign("it does not end in a dense layer with a bias and one softmax")
        options = operator.table(_OP_OPTIONS)
        if options and (options.scalar(_ACTIVATION, "<b") or options.scalar(_WEIGHTS_FORMAT, "<b")):
            raise _foreign("its last dense layer has an activation, or weights in another order")
        made = {index: _Tensor(tables[_index(index, tables)], buffers) for index in {*inputs, *chain}}
        self.input, self.weights, self.bias = (made[index] for index in inputs)
        self.outputs = [made[index] for index in reversed(chain)]
        self.logits = self.outputs[0]
        self._check()
        used = [table.scalar(_BUFFER, "<I") for table in tables]
        readers = [index for one in operators for index in one.numbers(_OP_INPUTS, "<i")]
        for index in inputs[1:]:
            if used.count(tables[index].scalar(_BUFFER, "<I")) != 1 or readers.count(index) != 1:
                raise _foreign("other layers use the weights of its last dense layer")

    def _check(self) -> None:
        types = (self.input.type, self.weights.type, self.bias.type, self.logits.type)
        if types not in ((_FLOAT32,) * 4, (_INT8, _INT8, _INT32, _INT8)):
            raise _foreign("the types of its last dense layer are neither float32 nor those of int8")
        classes = self.weights.shape[0] if len(self.weights.shape) == 2 else 0
        if not classes or self.bias.shape != (classes,) or any(one.shape[-1:] != (classes,) for one in self.outputs):
            raise damaged("the shapes of its last layer contradict each other")
        if self.logits.type == _INT8:
            if len(self.input.scales) != 1 or len(self.logits.scales) != 1 or len(self.logits.zero_points) != 1:
                raise damaged("its last layer lacks a scale")
            if len(self.weights.scales) not in (1, classes) or len(self.bias.scales) != len(self.weights.scales):
                raise damaged("its last layer lacks scales of weights")
            if self.weights.zero_points.any() or not (self.weights.scales > 0).all():
                raise _foreign("the weights of its last layer have zero points")


def _change_constants(found: _File, index: int, weights: Floats, bias: float) -> None:
    rows, biases = found.weights.integers(), found.bias.integers()
    if found.weights.type == _FLOAT32:
        found.weights.set_values(_put(rows, index, weights.astype("<f4")))
        found.bias.set_values(_put(biases, index, np.float32(bias)))
        return
    scale = max(float(np.abs(weights).max()) / 127, 1e-9)
    input_scale = float(found.input.scales[0])
    if len(found.weights.scales) > 1:
        scales = _put(found.weights.scales, index, np.float32(scale))
        kept, kept_biases = rows, biases
    else:
        # One scale for all rows: if it has to grow, the other rows are rounded once more.
        old = float(found.weights.scales[0])
        scales = np.array([max(old, scale)], np.float32)
        grown = float(scales[0]) / old
        kept = np.round(rows / grown).astype(np.int8)
        kept_biases = np.round(biases / grown).astype(np.int32)
    own = float(scales[index if len(scales) > 1 else 0])
    bound = np.iinfo(np.int32)
    integer = np.clip(np.round(bias / (own * input_scale)), bound.min, bound.max)
    row = np.clip(np.round(weights / own), -127, 127).astype(np.int8)
    found.weights.set_values(_put(kept, index, row))
    found.bias.set_values(_put(kept_biases, index, np.int32(integer)).astype("<i4"))
    zeros = [0] * len(scales)
    found.weights.set_quantization(scales, zeros)
    found.bias.set_quantization(scales * np.float32(input_scale), zeros)


def _widen(tensor: _Tensor, highest: float) -> None:
    """Give int8 logits a scale that holds the values that they could have before, and a higher one."""
    scale, zero_point = float(tensor.scales[0]), int(tensor.zero_points[0])
    low, high = scale * (-128 - zero_point), scale * (127 - zero_point)
    if highest > high:
        scale = (highest - low) / _INT8_LEVELS
        tensor.set_quantization(np.array([scale], np.float32), [round(-128 - low / scale)])


def _put(rows: npt.NDArray[Any], index: int, row: Any) -> npt.NDArray[Any]:
    """Return an array with another row, or one more at the end."""
    return np.concatenate([rows[:index], np.asarray(row, rows.dtype)[None], rows[index + 1 :]])


def _size(shape: tuple[int, ...]) -> int:
    # Python's integers, which do not overflow.
    size = 1
    for side in shape:
        size *= side
    return size


def _index(index: int, among: Sequence[Any]) -> int:
    if not 0 <= index < len(among):
        raise damaged("an index leads out of a list")
    return index


def _without_zip(model: bytes) -> tuple[bytes, bool]:
    """Return a file without the zip of labels that may follow it, and whether there was one.

    Raises:
        InputError: There is something else in the zip.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, OSError):
        return model, False
    if [member.filename for member in members] != [_LABELS] or members[0].file_size > _MAX_LABELS_BYTES:
        raise _foreign("its metadata has files other than a list of labels")
    bare = model[: members[0].header_offset]
    if zipfile.is_zipfile(io.BytesIO(bare)):
        raise damaged("the zip after it contradicts itself")
    return bare, True


def _with_labels(found: _File, labels: Sequence[str]) -> bytes:
    model = found.buffer.content()
    if not found.attached:
        return model
    stream = io.BytesIO(model)
    # Mode "a" appends a zip to other data, with offsets from the start of the file.
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        add_member(archive, _LABELS, "".join(f"{label}\n" for label in labels).encode())
    return stream.getvalue()


def _foreign(why: str) -> InputError:
    return InputError(
        "the model cannot be taught on a device",
        why=why,
        hint="Train it again with the new photos: edgetl train.",
    )
