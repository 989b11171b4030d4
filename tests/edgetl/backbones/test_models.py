"""``edgetl models``: its table matches the backbones, and printing it loads nothing heavy."""

from __future__ import annotations

import json
from pathlib import Path

import bases
import numpy as np
import pytest
from bases import load_script
from small import edgetl, python, refused
from typer.testing import CliRunner

from edgetl.backbones import BACKBONES, facts
from edgetl.backbones.weights import models_dir
from edgetl.cli import app
from edgetl_device._lib.documents import to_json
from edgetl_device._lib.jsonfile import read_json
from edgetl_device.errors import InputError
from edgetl_device.input_size import square

ROWS = read_json(facts.FACTS_FILE, facts.SCHEMA)["rows"]


def test_the_table_has_every_backbone_at_every_width() -> None:
    every = [(name, width) for name, row in BACKBONES.items() for width in row.widths]
    assert [(row["name"], row["width"]) for row in ROWS] == every
    assert all(row["size"] == BACKBONES[row["name"]].default_size for row in ROWS)


@pytest.mark.parametrize(("name", "width"), [("simple_cnn", 1.0), ("mobilenet_v3_small_minimalistic", 1.0)])
def test_a_row_is_what_measuring_again_gives(name: str, width: float) -> None:
    again = to_json(load_script(models_dir() / "backbone_facts.py").facts_of(name, width))
    (row,) = [row for row in ROWS if (row["name"], row["width"]) == (name, width)]
    # Another version of the converter may lay the file out differently.
    assert again.pop("int8_bytes") == pytest.approx(row["int8_bytes"], rel=0.02)
    assert again == {key: value for key, value in row.items() if key != "int8_bytes"}, "run models/backbone_facts.py"


@pytest.mark.parametrize("name", BACKBONES)
def test_sizes_are_those_of_the_base(name: str) -> None:
    base = bases.untouched(name)
    row = facts.facts_of(name, BACKBONES[name].widths[0])
    assert row.parameters == base.count_params()
    assert row.features == base.output.shape[-1]
    assert row.blocks == BACKBONES[name].block_count
    # One byte per weight, plus overhead of the file.
    assert 1.0 < row.int8_bytes / row.parameters < 1.7


def test_multiply_adds_are_those_of_the_papers() -> None:
    # At 224 px, in millions: tables 4 of Howard et al. 2017 and 3 of Sandler et al. 2018; 15.3 G of VGG16's
    # convolutions follow from table 1 of Simonyan & Zisserman 2014.
    for name, published in (("mobilenet_v1", 569), ("mobilenet_v2", 300), ("vgg16", 15_347)):
        at_224 = facts.facts_of(name).multiply_adds * (224 / 160) ** 2 / 1e6
        assert at_224 == pytest.approx(published, rel=0.01)
        assert facts.facts_of(name).imagenet_multiply_adds == pytest.approx(published * 1e6, rel=0.01)
    # At 224, 240 and 260 px, with the classifier's 1.28 M: d-li14/efficientnet-lite.pytorch, a reproduction.
    for name, published in (("lite0", 385), ("lite1", 600), ("lite2", 860)):
        at_its_own = facts.facts_of(f"efficientnet_{name}").imagenet_multiply_adds
        assert at_its_own is not None
        assert at_its_own + 1_280_000 == pytest.approx(published * 1e6, rel=0.002)


def test_one_layer_of_each_kind_is_counted() -> None:
    from edgetl._lib.extras import keras

    layers = keras().layers
    pixels = keras().Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(pixels)  # 16 places x 3 x 3 x 3 x 4
    x = layers.DepthwiseConv2D(5, padding="same", depth_multiplier=2)(x)  # 16 x 5 x 5 x 4 x 2
    x = layers.SeparableConv2D(6, 3, padding="same")(x)  # 16 x (3 x 3 x 8 + 8 x 6)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(7)(layers.Flatten()(x))  # 96 x 7
    script = load_script(models_dir() / "backbone_facts.py")
    expected = 16 * 27 * 4 + 16 * 25 * 8 + 16 * (72 + 48) + 96 * 7
    assert script.multiply_adds(keras().Model(pixels, x)) == expected


def test_concerns_are_words_with_numbers() -> None:
    said = {name: " / ".join(facts.concerns(facts.facts_of(name))) for name in BACKBONES}
    assert said["mobilenet_v2"] == said["efficientnet_lite0"] == said["efficientnet_lite1"] == ""
    assert "51 times the multiply-adds of mobilenet_v2 (7,830 M, not 153 M)" in said["vgg16"]
    assert "do not fit an Edge TPU's 8 MiB" in said["resnet50"]
    assert "runs 4 of its 110 operators" in said["mobilenet_v3_small"]
    assert "18 HARD_SWISH" in said["mobilenet_v3_small"]
    assert "no pretrained weights" in said["simple_cnn"]
    assert "569 operators" in said["nasnet_mobile"]


def test_where_weights_would_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert facts.weights_here("mobilenet_v2", 1.0) == facts.WeightsHere("embedded", "weights.npz")
    assert facts.weights_here("simple_cnn", 1.0) == facts.WeightsHere("none", None)
    name = BACKBONES["mobilenet_v2"].keras_file(square(160), 0.5).name
    assert facts.weights_here("mobilenet_v2", 0.5) == facts.WeightsHere("keras-download", name)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / name).write_bytes(b"")
    assert facts.weights_here("mobilenet_v2", 0.5) == facts.WeightsHere("keras-cache", name)


def test_an_unknown_width_is_refused() -> None:
    with pytest.raises(InputError, match=r"resnet50 has no width 0\.5"):
        facts.facts_of("resnet50", 0.5)


# The command


def test_the_command_loads_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['edgetl', 'models']\n"
        "from edgetl.cli import main\n"
        "try: main()\n"
        "finally: print({'numpy', 'tensorflow', 'keras', 'h5py'} & set(sys.modules), file=sys.stderr)"
    )
    done = python(script)
    assert done.stderr.strip().splitlines()[-1] == "set()"
    assert all(name in done.stdout for name in BACKBONES)
    assert "estimated" in done.stdout
    assert "not measured" in done.stdout


def test_json_has_what_the_table_has() -> None:
    document = json.loads(edgetl("models", "--json").stdout)
    assert document["schema"] == "edgetl.models/1"
    assert [row["name"] for row in document["backbones"]] == list(BACKBONES)
    row = document["backbones"][list(BACKBONES).index("efficientnet_lite0")]
    assert row["weights_here"] == {"source": "embedded", "file": "weights.npz"}
    assert row["int8_bytes_estimate"] == facts.facts_of("efficientnet_lite0").int8_bytes
    assert row["licence"] == BACKBONES["efficientnet_lite0"].licence
    widths = json.loads(edgetl("models", "mobilenet_v1", "--json").stdout)["backbones"]
    assert [row["width"] for row in widths] == [0.25, 0.5, 0.75, 1.0]


def test_a_weights_file_is_matched_layer_by_layer(tmp_path: Path) -> None:
    arrays = {variable.path: np.asarray(variable) for variable in bases.untouched("simple_cnn").weights}
    del arrays["block_4_conv/kernel"]
    arrays |= {"block_2_conv/kernel": np.zeros((3, 3, 8, 9)), "mine/kernel": np.zeros((2, 2))}
    np.savez(tmp_path / "mine.npz", **arrays)
    command = ["models", "simple_cnn", "--weights", str(tmp_path / "mine.npz")]
    done = CliRunner().invoke(app, [*command, "--json"])
    layers = {row["layer"]: row for row in json.loads(done.stdout)["layers"]}
    assert {name: row["status"] for name, row in layers.items()} == {
        "block_1_conv": "set", "block_1_bn": "set", "block_2_conv": "other shape", "block_2_bn": "set",
        "block_3_conv": "set", "block_3_bn": "set", "block_4_conv": "missing", "block_4_bn": "set", "mine": "unused",
    }  # fmt: skip
    assert (layers["block_2_conv"]["wanted"], layers["block_2_conv"]["found"]) == ("3x3x8x16", "3x3x8x9")
    table = CliRunner().invoke(app, command).stdout
    assert table.splitlines()[-1].endswith("mine.npz: 6 set, 1 other shape, 1 missing, 1 unused")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["mobilenet_v9"], "unknown backbone"),
        (["--weights", "x.h5"], "--weights needs a backbone"),
        (["mobilenet_v2", "--weights", "x.h5"], "no such file"),
        (["mobilenet_v2", "--weights", "none"], "no file to match"),
        (["resnet50", "--weights", "x.h5", "--width", "0.5"], "no width 0.5"),
    ],
)
def test_what_it_cannot_show_is_refused(arguments: list[str], what: str, tmp_path: Path) -> None:
    assert what in refused(edgetl("models", *arguments, cwd=tmp_path))
