"""Metadata in TFLite files: it reads back, replaces earlier metadata, and leaves the model unchanged."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import flatbuffers
import lively
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from typer.testing import CliRunner

from edgetl.cli import app
from edgetl.export import conversion
from edgetl.inspection.tflite.file import describe
from edgetl.inspection.tflite.metadata import Metadata, read_metadata, with_metadata
from edgetl.inspection.tflite.tree import pack_tree, read_tree
from edgetl.quantization.conversion.tflite import int8_tflite
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError

LABELS = ("hex nut", "große Mutter", "ナット", "Müller, Söhne & Co. 🔩", " spaced ")


@cache
def _model(kind: str) -> bytes:
    if kind == "int8":
        return int8_tflite(lively.build("mobilenet_v2"), lively.photos(2))
    make: Callable[[Any], bytes] = {"float32": conversion.float32_tflite, "float16": conversion.float16_tflite}[kind]
    return make(lively.build("mobilenet_v2"))


KINDS = pytest.mark.parametrize("kind", ["float32", "float16", "int8"])


def _buffers(model: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the content of each buffer and its offset in the file."""
    root = schema.Model.GetRootAs(model, 0)
    for index in range(root.BuffersLength()):
        buffer = root.Buffers(index)
        place = buffer._tab.Vector(buffer._tab.Offset(4)) if buffer.DataLength() else 0
        yield model[place : place + buffer.DataLength()], place


def _tree(value: Any) -> Any:
    """Return an unpacked schema object as plain values."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [_tree(item) for item in value]
    return {key: _tree(item) for key, item in vars(value).items()} if hasattr(value, "__dict__") else value


def _edited(model: bytes, edit: Callable[[Any], None]) -> bytes:
    """Return a model after a change to its unpacked form."""
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    edit(tree)
    builder = flatbuffers.Builder(len(model))
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@KINDS
def test_what_went_in_comes_out(kind: str) -> None:
    assert read_metadata(_model(kind)) is None
    labelled = with_metadata(_model(kind), name="Schraubenzähler", labels=LABELS, description="counts screws")
    assert read_metadata(labelled) == Metadata("Schraubenzähler", "counts screws", "1.0.0", LABELS)
    with zipfile.ZipFile(io.BytesIO(labelled)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode() == "".join(f"{label}\n" for label in LABELS)
    # Compare with the file as packed by the same code: converters lay out tables more tightly.
    assert 0 < len(labelled) - len(pack_tree(read_tree(_model(kind)))) < 2000


@KINDS
def test_the_model_stays_the_same_model(kind: str) -> None:
    before, after = _model(kind), with_metadata(_model(kind), name="x", labels=LABELS)
    trees = [_tree(schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))) for data in (before, after)]
    added, number = trees[1]["buffers"].pop(), len(trees[0]["buffers"])
    assert bytes(added["data"])[4:8] == b"M001"
    assert trees[1]["metadata"].pop() == {"name": b"TFLITE_METADATA", "buffer": number}
    assert trees[0] == trees[1]
    assert [data for data, _ in _buffers(before)] == [data for data, _ in _buffers(after)][:-1]
    assert sum(len(data) for data, _ in _buffers(after)) > 100_000
    photos = lively.photos(4)
    predictions = lively.run(before, "tflite", photos)
    np.testing.assert_array_equal(lively.run(after, "tflite", photos), predictions)
    assert np.ptp(predictions, axis=0).max() > 0.01, "a model that answers the same to every photo proves nothing"


@KINDS
def test_every_buffer_is_aligned(kind: str) -> None:
    labelled = with_metadata(_model(kind), name="x", labels=LABELS)
    places = [place for data, place in _buffers(labelled) if data]
    assert len(places) > 20
    assert {place % 16 for place in places} == {0}


def test_a_second_call_replaces_the_first() -> None:
    model = _model("int8")
    once = with_metadata(model, name="b", labels=LABELS, description="second")
    other = tuple(f"{label} of earlier" for label in LABELS)
    twice = with_metadata(with_metadata(model, name="a", labels=other), name="b", labels=LABELS, description="second")
    assert twice == once
    assert b"of earlier" not in twice
    assert describe(once).metadata.count("TFLITE_METADATA") == 1


def test_the_tables_are_those_of_the_public_schema() -> None:
    """Field ids and values, counted by hand in metadata_schema.fbs; a union is two fields, its type first."""
    for kind, top in (("float32", 1.0), ("int8", 255.0)):
        labelled = with_metadata(_model(kind), name="x", labels=LABELS)
        (data,) = (data for data, _ in _buffers(labelled) if data[4:8] == b"M001")
        model = flatbuffers.table.Table(data, struct.unpack_from("<I", data)[0])
        (graph,) = _vector(model, 3)
        (image,), (scores,) = _vector(graph, 2), _vector(graph, 3)
        content = _child(image, 3)
        assert (_byte(content, 0), _byte(_child(content, 1), 0)) == (2, 1), "ImageProperties, RGB"
        (unit,) = _vector(image, 4)
        assert _byte(unit, 0) == 1, "NormalizationOptions"
        assert (_floats(_child(unit, 1), 0), _floats(_child(unit, 1), 1)) == ([0.0], [1.0]), "mean, std"
        assert (_floats(_child(image, 5), 0), _floats(_child(image, 5), 1)) == ([255.0], [0.0]), "max, min"
        assert _byte(_child(scores, 3), 0) == 1, "FeatureProperties"
        assert (_floats(_child(scores, 5), 0), _floats(_child(scores, 5), 1)) == ([top], [0.0])
        (file,) = _vector(scores, 6)
        assert file.String(file.Offset(4) + file.Pos) == b"labels.txt"
        assert _byte(file, 2) == 2, "TENSOR_AXIS_LABELS"
        assert model.String(model.Offset(4 + 2 * 7) + model.Pos) == b"1.0.0", "min_parser_version"


def _child(table: Any, field: int) -> Any:
    return flatbuffers.table.Table(table.Bytes, table.Indirect(table.Offset(4 + 2 * field) + table.Pos))


def _vector(table: Any, field: int) -> list[Any]:
    offset = table.Offset(4 + 2 * field)
    places = (table.Indirect(table.Vector(offset) + 4 * index) for index in range(table.VectorLen(offset)))
    return [flatbuffers.table.Table(table.Bytes, place) for place in places]


def _byte(table: Any, field: int) -> int:
    return int(table.Bytes[table.Offset(4 + 2 * field) + table.Pos])


def _floats(table: Any, field: int) -> list[float]:
    offset = table.Offset(4 + 2 * field)
    return list(struct.unpack_from(f"<{table.VectorLen(offset)}f", table.Bytes, table.Vector(offset)))


def test_published_metadata_is_read_and_replaced(shared_data: Path) -> None:
    model = (shared_data / "coral" / "mobilenet_v1_0.25_128_quant.tflite").read_bytes()
    found = read_metadata(model)
    assert found is not None
    assert (found.name, len(found.labels)) == ("ImageClassifier", 1001)
    assert (found.labels[0], found.labels[-1]) == ("background", "toilet tissue, toilet paper, bathroom tissue")
    labels = [f"class {index}" for index in range(1001)]
    replaced = read_metadata(with_metadata(model, name="x", labels=labels))
    assert replaced is not None
    assert replaced.labels == tuple(labels)


@pytest.mark.parametrize("label", ["", "a\nb", "a\n", "a\rb", "a\u2028b", "\udc80"])
def test_a_label_that_is_no_line_of_text_is_refused(label: str) -> None:
    with pytest.raises(InputError, match="label"):
        with_metadata(_model("int8"), name="x", labels=(*LABELS[:-1], label))


def test_labels_must_be_as_many_as_the_classes() -> None:
    with pytest.raises(InputError, match=r"4 labels\n.*\[1, 5\]"):
        with_metadata(_model("int8"), name="x", labels=LABELS[:-1])


def test_data_outside_the_flatbuffer_is_refused() -> None:
    model = _model("float32")

    def move_a_buffer(tree: Any) -> None:
        buffer = next(buffer for buffer in tree.buffers if buffer.data is not None and len(buffer.data) > 1000)
        buffer.offset, buffer.size, buffer.data = len(model) + 4096, len(buffer.data), None

    def move_options(tree: Any) -> None:
        tree.subgraphs[0].operators[0].largeCustomOptionsOffset = len(model) + 4096

    for edit in (move_a_buffer, move_options):
        with pytest.raises(InputError, match="outside its flatbuffer"):
            with_metadata(_edited(model, edit), name="x", labels=LABELS)


@pytest.mark.parametrize(("offset", "why"), [(0, "M001"), (1, "labels.txt")])
def test_damaged_metadata_is_an_input_error(offset: int, why: str) -> None:
    labelled = bytearray(with_metadata(_model("int8"), name="x", labels=LABELS))
    if offset == 0:
        labelled[labelled.index(b"M001")] ^= 1
    else:
        del labelled[labelled.rindex(b"PK\x03\x04") :]
    with pytest.raises(InputError, match=why):
        read_metadata(bytes(labelled))


def test_flipped_bytes_are_an_input_error_or_harmless() -> None:
    labelled = with_metadata(_model("int8"), name="x", labels=LABELS)
    random = np.random.default_rng(0)
    start, archive = labelled.index(b"M001") - 4, labelled.rindex(b"PK\x03\x04")
    refused = 0
    for _ in range(300):
        damaged = bytearray(labelled)
        damaged[start + int(random.integers(500))] = int(random.integers(256))
        damaged[int(random.integers(archive, len(labelled)))] = int(random.integers(256))
        try:
            read_metadata(bytes(damaged))
        except InputError:
            refused += 1
    assert 50 < refused < 300


def test_inspect_shows_the_labels(tmp_path: Path) -> None:
    (tmp_path / "with.tflite").write_bytes(with_metadata(_model("int8"), name="Schrauben", labels=LABELS))
    (tmp_path / "without.tflite").write_bytes(_model("int8"))
    shown = CliRunner().invoke(app, ["inspect", str(tmp_path / "with.tflite")])
    assert "metadata    Schrauben, 5 labels: hex nut, große Mutter, ナット" in shown.output
    assert "metadata    none" in CliRunner().invoke(app, ["inspect", str(tmp_path / "without.tflite")]).output
    document = json.loads(CliRunner().invoke(app, ["inspect", str(tmp_path / "with.tflite"), "--json"]).output)
    assert document["model"]["about"]["labels"] == list(LABELS)


def test_every_tflite_file_of_a_bundle_has_the_labels(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    found = {
        variant.name: read_metadata(bundle.read(variant.file))
        for variant in bundle.variants
        if variant.format == "tflite"
    }
    assert {"float32", "int8"} <= set(found)
    for about in found.values():
        assert about is not None
        assert about.labels == bundle.labels
        assert f"{bundle.preprocess.size} x {bundle.preprocess.size} pixels" in about.description
