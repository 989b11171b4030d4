"""Reading model files: their content, and a plain error for damaged ones."""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path

import lively
import numpy as np
import pytest
from drawing import draw_photo
from typer.testing import CliRunner

from edgetl.cli import app
from edgetl.export import conversion
from edgetl.inspection.contents import inspect_path
from edgetl.inspection.tflite.file import TFLiteModel, describe
from edgetl.quantization.conversion.tflite import int8_tflite
from edgetl_device.errors import EdgetlError, InputError
from edgetl_device.input_size import square


@cache
def _int8() -> bytes:
    return int8_tflite(lively.build("mobilenet_v1"), lively.photos(2))


@cache
def _float_onnx() -> bytes:
    return conversion.float32_onnx(lively.build("mobilenet_v1"))


def test_describe_reads_operators_tensors_and_sizes() -> None:
    data = _int8()
    model = describe(data)
    assert model.bytes == len(data)
    names = [operator.name for operator in model.operators]
    assert names.count("DEPTHWISE_CONV_2D") == 13
    assert names[0] == "QUANTIZE"
    assert names[-2:] == ["SOFTMAX", "QUANTIZE"]
    assert not any(operator.custom for operator in model.operators)
    first = next(operator for operator in model.operators if operator.name == "CONV_2D")
    weights = model.tensors[first.inputs[1]]
    assert (weights.dtype, weights.shape, weights.axis, weights.bytes) == ("int8", (8, 3, 3, 3), 0, 216)
    assert len(weights.scales) == len(weights.zero_points) == 8
    assert weights.constant
    assert not model.tensors[model.inputs[0]].constant
    assert "min_runtime_version" in model.metadata


def test_published_models_are_read(shared_data: Path) -> None:
    files = sorted((shared_data / "coral").rglob("*.tflite"))
    assert files
    read = [describe(file.read_bytes()) for file in files]
    compiled = [model for file, model in zip(files, read, strict=True) if "edgetpu" in file.name]
    assert compiled
    assert all(any(op.name == "edgetpu-custom-op" and op.custom for op in model.operators) for model in compiled)


def test_a_truncated_file_is_an_input_error_at_every_length() -> None:
    data = _int8()
    for length in [*range(0, 64), *np.linspace(64, len(data) - 1, 150).astype(int)]:
        with pytest.raises(InputError):
            describe(data[:length])


def test_flipped_bytes_never_crash_or_hang() -> None:
    data = _int8()
    random = np.random.default_rng(0)
    outcomes = set()
    # The structure of a flatbuffer is at both ends of the file, the weights in between.
    edge = 40_000
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(6):
            place = int(random.integers(8, edge))
            damaged[place if random.random() < 0.5 else len(data) - place] = int(random.integers(256))
        started = time.perf_counter()
        try:
            outcomes.add(type(describe(bytes(damaged))))
        except InputError as error:
            outcomes.add(type(error))
        assert time.perf_counter() - started < 5
    assert outcomes == {TFLiteModel, InputError}


@pytest.mark.parametrize(
    "data", [b"", b"TFL3", b"hello, this is a text file", b"\x00\x00\x00\x00TFL3", b"\xff" * 4 + b"TFL3"]
)
def test_what_is_not_a_model_is_an_input_error(data: bytes) -> None:
    with pytest.raises(InputError, match="TFLite file"):
        describe(data)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "int8.tflite").write_bytes(_int8())
    (tmp_path / "float.onnx").write_bytes(_float_onnx())
    (tmp_path / "cut.tflite").write_bytes(_int8()[:5000])
    (tmp_path / "cut.onnx").write_bytes(_float_onnx()[:5000])
    (tmp_path / "text.tflite").write_text("hello, this is a text file")
    (tmp_path / "text.onnx").write_text("hello, this is a text file")
    (tmp_path / "notes.txt").write_text("hello, this is a text file")
    return tmp_path


def test_command_prints_a_tflite_file(models: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(models / "int8.tflite")])
    assert result.exit_code == 0
    assert "14 CONV_2D, 13 DEPTHWISE_CONV_2D" in result.output
    assert "pixels uint8 [1, 96, 96, 3] scale 1 zero point 0" in result.output


def test_command_lists_tensors_as_json(models: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(models / "float.onnx"), "--json", "--tensors"])
    document = json.loads(result.output)["model"]
    assert document["format"] == "onnx"
    assert document["operators"]["Conv"] == 27
    assert document["inputs"] == [{"name": "pixels", "dtype": "float32", "shape": [1, 96, 96, 3]}]
    assert document["bytes"] > document["parameter_bytes"] > 0.8 * document["bytes"]
    assert sum(tensor["bytes"] for tensor in document["tensors"]) == document["parameter_bytes"]


@pytest.mark.parametrize("name", ["cut.tflite", "cut.onnx", "text.tflite", "text.onnx", "notes.txt", "absent.tflite"])
def test_bad_files_are_named(models: Path, name: str) -> None:
    with pytest.raises(EdgetlError) as error:
        inspect_path(models / name)
    assert error.value.exit_code == 2
    assert name in str(error.value)
    assert len(str(error.value).splitlines()) <= 3


def test_a_bundle_shows_labels_and_variants(tmp_path: Path) -> None:
    from edgetl.export.bundle import PhotoFile, VariantFile, write_bundle
    from edgetl_device._lib.files import sha256_file
    from edgetl_device.bundle import ReferenceArrays
    from edgetl_device.preprocess import Preprocess

    photo = tmp_path / "photo.png"
    draw_photo(1).save(photo)
    uniform = np.full((1, lively.CLASSES), 1 / lively.CLASSES, np.float32)
    labels = [f"class {number}" for number in range(lively.CLASSES)]
    write_bundle(
        tmp_path / "bundle",
        labels=labels,
        preprocess=Preprocess(square(lively.SIZE)),
        variants=[
            VariantFile("int8", "tflite", "int8", _int8()),
            VariantFile("float32-onnx", "onnx", "float32", _float_onnx()),
        ],
        evalset=[PhotoFile(photo, "class 0", sha256_file(photo))],
        reference=ReferenceArrays(uniform, uniform),
        provenance={},
    )
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "bundle"), "--json"])
    document = json.loads(result.output)
    assert document["schema"] == "edgetl.inspection.bundle/1"
    assert document["labels"] == labels
    assert document["preprocess"]["size"] == lively.SIZE
    assert [(variant["name"], variant["model"]["format"]) for variant in document["variants"]] == [
        ("int8", "tflite"),
        ("float32-onnx", "onnx"),
    ]
    assert document["variants"][0]["model"]["tensor_types"]["int8"] > 50
    text = CliRunner().invoke(app, ["inspect", str(tmp_path / "bundle")]).output
    assert "5 labels: class 0, class 1" in text
    assert "float32-onnx (onnx)" in text
