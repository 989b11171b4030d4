"""Comparing two TFLite files: all differences are found, with their size, and nothing else."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import lively
import numpy as np
import pytest
from typer.testing import CliRunner

from edgetl.cli import app
from edgetl.export import conversion
from edgetl.inspection.difference import (
    OperatorCount,
    OperatorDifference,
    TensorDifference,
    TensorType,
    ValueDifference,
    compare_files,
)
from edgetl.inspection.sqnr import sqnr_db
from edgetl.inspection.tflite.file import describe
from edgetl.inspection.tflite.tree import constant, pack_tree, read_tree, to_real
from edgetl.quantization.conversion.tflite import int8_tflite
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl_device.errors import InputError


@cache
def _float() -> bytes:
    return conversion.float32_tflite(fold_batch_norm(lively.build("mobilenet_v1")))


@cache
def _int8() -> bytes:
    return int8_tflite(fold_batch_norm(lively.build("mobilenet_v1")), lively.photos(2))


def _constants_have_names() -> bool:
    """Whether TensorFlow's converter names constants after layers; 2.18's numbers them."""
    model = describe(_int8())
    dense = next(operator for operator in model.operators if operator.name == "FULLY_CONNECTED")
    return "logits" in model.tensors[dense.inputs[1]].name


@pytest.fixture
def named() -> None:
    """Tensors of two files are paired by their names."""
    if not _constants_have_names():
        pytest.skip("this TensorFlow's converter numbers constants instead of naming them")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "float.tflite").write_bytes(_float())
    (folder / "unfolded.tflite").write_bytes(conversion.float32_tflite(lively.build("mobilenet_v1")))
    (folder / "int8.tflite").write_bytes(_int8())
    (folder / "edited.tflite").write_bytes(_with_one_other_weight(_int8()))
    (folder / "cut.tflite").write_bytes(_int8()[:4000])
    (folder / "text.onnx").write_text("not a TFLite file")
    return folder


def _with_one_other_weight(data: bytes) -> bytes:
    """Return the file with weight 7 of the dense layer changed by three steps."""
    dense = next(operator for operator in describe(data).operators if operator.name == "FULLY_CONNECTED")
    tree = read_tree(data)
    buffer = tree.buffers[tree.subgraphs[0].tensors[dense.inputs[1]].buffer]
    values = np.frombuffer(bytes(buffer.data), np.int8).copy()
    values[7] += 3 if values[7] < 100 else -3
    buffer.data = values.tobytes()
    return pack_tree(tree)


def test_a_file_equals_itself(files: Path) -> None:
    difference = compare_files(files / "int8.tflite", files / "int8.tflite")
    model = describe(_int8())
    used = {index for operator in model.operators for index in operator.inputs + operator.outputs}
    assert difference.tensors == TensorDifference(len(used), (), (), ())
    assert difference.operators == OperatorDifference((), ())


def test_one_edited_weight_is_the_one_difference(named: None, files: Path) -> None:
    difference = compare_files(files / "int8.tflite", files / "edited.tflite")
    (row,) = difference.tensors.changed
    assert "logits" in row.name
    assert row.differs == ("values",)
    model = describe(_int8())
    index = next(place for place, tensor in enumerate(model.tensors) if tensor.name == row.name)
    tensor = model.tensors[index]
    scale = tensor.scales[7 // tensor.shape[1]] if len(tensor.scales) > 1 else tensor.scales[0]
    assert isinstance(row.difference, ValueDifference)
    assert row.difference.max_abs == pytest.approx(3 * scale, rel=1e-5)


def test_float_against_int8(named: None, files: Path) -> None:
    difference = compare_files(files / "float.tflite", files / "int8.tflite")
    assert difference.operators.counts == (OperatorCount("QUANTIZE", 0, 2),)
    assert [change.second.operators for change in difference.operators.changes] == [("QUANTIZE",)] * 2
    assert difference.tensors.only_first == ()
    assert len(difference.tensors.only_second) == 2
    rows = {(row.name, tuple(row.shape)): row for row in difference.tensors.changed}
    trees = {data: (describe(data), read_tree(data)) for data in (_float(), _int8())}
    (name, shape) = next(key for key in rows if "conv_pw_3" in key[0] and len(key[1]) == 4 and key[1][1:3] == (1, 1))
    real = []
    for model, tree in trees.values():
        index = next(place for place, one in enumerate(model.tensors) if one.name == name and one.shape == shape)
        values = constant(tree, index, model.tensors[index])
        assert values is not None
        real.append(to_real(values, model.tensors[index]))
    row = rows[name, shape]
    assert row.first == TensorType(dtype="float32")
    assert row.second == TensorType(dtype="int8", scales=shape[0], axis=0)
    assert isinstance(row.difference, ValueDifference)
    assert row.difference.sqnr_db == pytest.approx(sqnr_db(*real), abs=1e-3)
    assert row.difference.max_abs == pytest.approx(np.abs(real[0] - real[1]).max())
    assert row.differs == ("dtype", "quantization", "values")


def test_files_with_batch_norm_folded_by_whom_is_no_matter(named: None, files: Path) -> None:
    difference = compare_files(files / "unfolded.tflite", files / "float.tflite")
    assert difference.tensors.only_first == difference.tensors.only_second == ()
    assert difference.operators == OperatorDifference((), ())
    for row in difference.tensors.changed:
        if isinstance(row.difference, ValueDifference) and isinstance(row.difference.sqnr_db, float):
            assert row.difference.sqnr_db > 100


def test_files_of_two_models_share_little(files: Path) -> None:
    other = files / "other.tflite"
    other.write_bytes(conversion.float32_tflite(lively.build("mobilenet_v2")))
    difference = compare_files(files / "float.tflite", other)
    assert len(difference.tensors.only_second) > 50
    assert OperatorCount("ADD", 1, 11) in difference.operators.counts


def test_the_command(named: None, files: Path) -> None:
    run: Any = CliRunner().invoke(app, ["inspect", str(files / "int8.tflite"), str(files / "edited.tflite")])
    assert run.exit_code == 0, run.output
    assert "the same, in the same order" in run.output
    assert "1 differ (0 in dtype, 0 in quantization, 1 in values)" in run.output
    assert "logits/MatMul" in run.output.replace("_1/", "/")
    arguments = ["inspect", str(files / "float.tflite"), str(files / "int8.tflite"), "--json"]
    document = json.loads(CliRunner().invoke(app, arguments).output)
    assert document["schema"] == "edgetl.inspection.difference/1"
    assert document["files"][0]["bytes"] == len(_float())


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("cut.tflite", "damaged"),
        ("text.onnx", "not a TFLite file"),
        ("absent.tflite", "no such file"),
        (".", "is a folder"),
    ],
)
def test_what_cannot_be_compared_is_named(files: Path, second: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        compare_files(files / "int8.tflite", files / second)
    assert str(files / second) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3
