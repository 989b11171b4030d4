"""The standard metadata of a TFLite file (labels, meaning of input and output), for other tools.

edgetl itself takes labels and preprocessing from the bundle's manifest. The format is the public
``metadata_schema.fbs`` of tflite-support: a flatbuffer in the model's buffer ``TFLITE_METADATA``, and the files that it
names, in a zip appended to the model. Only the few tables that an image classifier needs are implemented.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgetl._lib import extras
from edgetl_device._lib.zips import add_member
from edgetl_device.errors import InputError

from .file import Tensor, TFLiteModel, check_magic, damaged, describe, reading
from .tree import Buffer, pack_tree, read_tree

ENTRY = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"

_MAGIC = b"M001"
# The schema is at 1.5.0; all fields written here exist since its first version.
_MIN_PARSER_VERSION = "1.0.0"

# The fields of each table in the order of metadata_schema.fbs, up to the last one used here; positions are ids.
# A union takes two ids, the first for its type.
_FIELDS = {
    "ModelMetadata": (
        "name", "description", "version", "subgraph_metadata", "author", "license", "associated_files",
        "min_parser_version",
    ),
    "SubGraphMetadata": ("name", "description", "input_tensor_metadata", "output_tensor_metadata"),
    "TensorMetadata": (
        "name", "description", "dimension_names", "content", "process_units", "stats", "associated_files",
    ),
    "Content": ("content_properties_type", "content_properties"),
    "FeatureProperties": (),
    "ImageProperties": ("color_space",),
    "ProcessUnit": ("options_type", "options"),
    "NormalizationOptions": ("mean", "std"),
    "Stats": ("max", "min"),
    "AssociatedFile": ("name", "description", "type"),
}  # fmt: skip
# Enumeration fields of one byte. All others here are offsets to strings, vectors and tables.
_ENUMS = {"content_properties_type", "options_type", "color_space", "type"}
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2
_NORMALIZATION_OPTIONS = 1
_COLOR_SPACE_RGB, _COLOR_SPACE_GREY = 1, 2
_TENSOR_AXIS_LABELS = 2

_LABELS_MAX_BYTES = 4 << 20
# Names and descriptions of outputs after the first, in classifiers that tell unknown photos.
_FEATURES = (
    ("features", "pooled features, for edgetl's test of unknown photos"),
    ("feature map", "features of an earlier layer, for edgetl's test of unknown photos"),
)


@dataclass(frozen=True)
class Metadata:
    """The metadata of a file. Missing labels and texts are empty."""

    name: str
    description: str
    min_parser_version: str
    labels: tuple[str, ...]


def with_metadata(model: bytes, *, name: str, labels: Sequence[str], description: str = "") -> bytes:
    """Return a TFLite image classifier with metadata and labels, replacing any that it had.

    The input is described as an unnormalized RGB or grey image (mean 0, standard deviation 1), the output as one score
    per label. Operators, tensors and weights do not change; each buffer is aligned to 16 bytes. Data after the model,
    such as the zip of earlier metadata, is dropped.

    Args:
        model: A TFLite file with one input, uint8 or float32 [1, H, W, C] of raw RGB or grey 0..255, and one output
            [1, classes] of probabilities. Outputs of features after it are described, too.
        name: The model's name.
        labels: One per class, in the order of the output.
        description: Description of the model, in a sentence.

    Raises:
        InputError: The model is damaged, is not such a classifier, or stores weights outside its flatbuffer; or a label
            is empty or has a line break.
        Unavailable: ``ai-edge-litert``, which carries the schema of models, is not installed.
    """
    found = describe(model)
    _check_classifier(found, classes=len(labels))
    listing = _listing(labels)
    metadata = _metadata(
        found.tensors[found.inputs[0]],
        found.tensors[found.outputs[0]],
        name=name,
        description=description,
        features=len(found.outputs) - 1,
    )
    tree = read_tree(model)
    _check_self_contained(tree)
    entries = [entry for entry in tree.metadata or () if entry.name == ENTRY.encode()]
    if entries:
        tree.buffers[entries[0].buffer] = Buffer(metadata)
    else:
        schema = extras.require("ai_edge_litert.schema_py_generated")
        tree.metadata = [*(tree.metadata or ()), schema.MetadataT(name=ENTRY, buffer=len(tree.buffers))]
        tree.buffers.append(Buffer(metadata))
    return _with_file(pack_tree(tree), LABELS_FILE, listing)


def read_metadata(model: bytes) -> Metadata | None:
    """Return the metadata of a TFLite file from any tool; None if it has none.

    The labels are those of the first output.

    Raises:
        InputError: The model or its metadata is damaged, or the label file that it names is missing.
        Unavailable: ``ai-edge-litert``, which carries the schema of models, is not installed.
    """
    schema = extras.require("ai_edge_litert.schema_py_generated")
    check_magic(model)
    with reading():
        root = schema.Model.GetRootAs(model, 0)
        entries = (root.Metadata(index) for index in range(root.MetadataLength()))
        entry = next((entry for entry in entries if entry.Name() == ENTRY.encode()), None)
        if entry is None:
            return None
        data = bytes(root.Buffers(entry.Buffer()).DataAsNumpy())
        if data[4:8] != _MAGIC:
            raise damaged(f"bytes 4 to 8 of its metadata are {data[4:8]!r}, not {_MAGIC!r}")
        top = _Table.root(data)
        graphs = top.tables("subgraph_metadata", "SubGraphMetadata")
        outputs = graphs[0].tables("output_tensor_metadata", "TensorMetadata") if graphs else []
        files = outputs[0].tables("associated_files", "AssociatedFile") if outputs else []
        # The first file is the default; the others are translations.
        names = [file.text("name") for file in files if file.enum("type") == _TENSOR_AXIS_LABELS]
        return Metadata(
            name=top.text("name"),
            description=top.text("description"),
            min_parser_version=top.text("min_parser_version"),
            labels=_file_lines(model, names[0]) if names else (),
        )


@dataclass(frozen=True)
class _Table:
    """A table of the metadata's flatbuffer, read by the names of its fields."""

    table: Any
    kind: str

    @classmethod
    def root(cls, data: bytes) -> _Table:
        (position,) = struct.unpack_from("<I", data)
        return cls(extras.require("flatbuffers").table.Table(data, position), "ModelMetadata")

    def offset(self, field: str) -> int:
        """Return the offset of a field within the table; 0 if it is absent."""
        # A vtable starts with two 2-byte sizes, followed by 2 bytes per field.
        found: int = self.table.Offset(4 + 2 * _FIELDS[self.kind].index(field))
        return found

    def text(self, field: str) -> str:
        offset = self.offset(field)
        return self.table.String(offset + self.table.Pos).decode() if offset else ""

    def enum(self, field: str) -> int:
        offset = self.offset(field)
        return int(self.table.Bytes[offset + self.table.Pos]) if offset else 0

    def tables(self, field: str, kind: str) -> list[_Table]:
        offset = self.offset(field)
        if not offset:
            return []
        count, start = self.table.VectorLen(offset), self.table.Vector(offset)
        if count > len(self.table.Bytes):
            raise damaged(f"a list of {count} entries in metadata of {len(self.table.Bytes)} bytes")
        kinds = type(self.table)
        places = (self.table.Indirect(start + 4 * index) for index in range(count))
        return [_Table(kinds(self.table.Bytes, place), kind) for place in places]


def _metadata(input: Tensor, output: Tensor, *, name: str, description: str, features: int) -> bytes:
    builder = extras.require("flatbuffers").Builder(512)

    def table(kind: str, **fields: int) -> int:
        builder.StartObject(len(_FIELDS[kind]))
        for field, value in fields.items():
            add = builder.PrependUint8Slot if field in _ENUMS else builder.PrependUOffsetTRelativeSlot
            add(_FIELDS[kind].index(field), value, 0)
        made: int = builder.EndObject()
        return made

    def vector(*values: float) -> int:
        """Write floats as values, and integers as offsets to data already written."""
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            if isinstance(value, float):
                builder.PrependFloat32(value)
            else:
                builder.PrependUOffsetTRelative(value)
        made: int = builder.EndVector()
        return made

    def tensor(what: str, says: str, top: float, **fields: int) -> int:
        stats = table("Stats", max=vector(top), min=vector(0.0))
        texts = {"name": builder.CreateString(what), "description": builder.CreateString(says)}
        return table("TensorMetadata", stats=stats, **texts, **fields)

    normalization = table("NormalizationOptions", mean=vector(0.0), std=vector(1.0))
    unit = table("ProcessUnit", options_type=_NORMALIZATION_OPTIONS, options=normalization)
    grey = input.shape[3] == 1
    image = table("ImageProperties", color_space=_COLOR_SPACE_GREY if grey else _COLOR_SPACE_RGB)
    inputs = tensor(
        "image",
        f"{'grey' if grey else 'RGB'}, {input.shape[2]} x {input.shape[1]} pixels, values 0 to 255",
        255.0,
        content=table("Content", content_properties_type=_IMAGE_PROPERTIES, content_properties=image),
        process_units=vector(unit),
    )
    labels = table(
        "AssociatedFile",
        name=builder.CreateString(LABELS_FILE),
        description=builder.CreateString("one label per line, in the order of the output"),
        type=_TENSOR_AXIS_LABELS,
    )
    feature = table("FeatureProperties")
    outputs = tensor(
        "probability",
        "one value per label",
        # The range before dequantization, as other writers of this metadata give it.
        255.0 if output.dtype == "uint8" else 1.0,
        content=table("Content", content_properties_type=_FEATURE_PROPERTIES, content_properties=feature),
        associated_files=vector(labels),
    )
    more = [
        table("TensorMetadata", name=builder.CreateString(what), description=builder.CreateString(says))
        for what, says in _FEATURES[:features]
    ]
    graph = table(
        "SubGraphMetadata", input_tensor_metadata=vector(inputs), output_tensor_metadata=vector(outputs, *more)
    )
    top = table(
        "ModelMetadata",
        name=builder.CreateString(name),
        description=builder.CreateString(description),
        subgraph_metadata=vector(graph),
        min_parser_version=builder.CreateString(_MIN_PARSER_VERSION),
    )
    builder.Finish(top, _MAGIC)
    return bytes(builder.Output())


def _check_classifier(model: TFLiteModel, *, classes: int) -> None:
    inputs, outputs = ([model.tensors[index] for index in side] for side in (model.inputs, model.outputs))
    if len(outputs) <= 1 + len(_FEATURES):
        outputs = outputs[:1]
    for side, tensors in (("input", inputs), ("output", outputs)):
        if len(tensors) != 1 or tensors[0].dtype not in ("uint8", "float32"):
            found = ", ".join(f"{tensor.dtype} {list(tensor.shape)}" for tensor in tensors)
            raise InputError(f"the {side} of the model is {found}", why="an image classifier has one, uint8 or float32")
    if len(inputs[0].shape) != 4 or inputs[0].shape[3] not in (1, 3):
        why = "an RGB image is [1, H, W, 3], a grey one [1, H, W, 1]"
        raise InputError(f"the input of the model is {list(inputs[0].shape)}", why=why)
    if outputs[0].shape[-1:] != (classes,):
        raise InputError(f"{classes} labels", why=f"the output of the model is {list(outputs[0].shape)}")


def _check_self_contained(tree: Any) -> None:
    # Files over 2 GB store values after the flatbuffer, at absolute offsets, which packing would invalidate.
    outside = [f"buffer {index}" for index, buffer in enumerate(tree.buffers) if buffer.offset or buffer.size]
    operators = (operator for graph in tree.subgraphs for operator in graph.operators or ())
    outside += ["an operator's options" for operator in operators if operator.largeCustomOptionsOffset]
    outside += ["a list of external buffers"] if tree.externalBuffers else []
    if outside:
        raise InputError(
            "metadata for a TFLite file with data outside its flatbuffer", why=f"it has {outside[0]} there"
        )


def _listing(labels: Sequence[str]) -> bytes:
    for label in labels:
        if label.splitlines() != [label]:
            raise InputError(f"the label {label!r}", why="a label in a TFLite file is one line of text")
    try:
        return "".join(f"{label}\n" for label in labels).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the label {error.object.strip()!r}", why="it is not Unicode text") from None


def _with_file(model: bytes, name: str, data: bytes) -> bytes:
    stream = io.BytesIO(model)
    # Mode "a" appends a zip to other data, with offsets from the start of the file.
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        add_member(archive, name, data)
    return stream.getvalue()


def _file_lines(model: bytes, name: str) -> tuple[str, ...]:
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            size = archive.getinfo(name).file_size
            if size > _LABELS_MAX_BYTES:
                raise damaged(f"{name} in it claims {size} bytes")
            lines = archive.read(name).decode().removesuffix("\n").split("\n")
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, RuntimeError, NotImplementedError) as error:
        raise damaged(f"its metadata names {name}, which cannot be read: {error}") from None
    return tuple(line.removesuffix("\r") for line in lines)
