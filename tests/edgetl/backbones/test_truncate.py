"""Truncated backbones: the same features up to the cut, fewer parameters and operations, and int8 export."""

from __future__ import annotations

from pathlib import Path

import bases
import numpy as np
import pytest
import small
from bases import MOBILE, photo, untouched

from edgetl._lib.extras import keras
from edgetl.backbones import BACKBONES, blocks
from edgetl.backbones.cost import int8_bytes_estimate, multiply_adds
from edgetl.backbones.facts import facts_of
from edgetl.backbones.truncate import find_block, truncate
from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.pipeline import quantize
from edgetl.runs.directory import Run
from edgetl.runs.document import Truncation
from edgetl.training import train
from edgetl_device._lib.jsonfile import read_json
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.errors import InputError
from edgetl_device.preprocess import preprocess

pytestmark = pytest.mark.no_cover


@pytest.mark.parametrize("name", MOBILE)
def test_it_is_the_base_up_to_there(name: str) -> None:
    base = untouched(name)
    found = blocks(name, base)
    for place in {0, len(found) // 2, len(found) - 1}:
        cut = truncate(name, base, found[place].name)
        assert blocks(name, cut) == found[: place + 1]
        assert cut.input.name == "pixels"
        assert not any(isinstance(layer, keras().Model) for layer in cut.layers)
        inside = keras().Model(base.input, base.get_layer(found[place].last_layer).output)
        np.testing.assert_array_equal(cut(photo(), training=False), inside(photo(), training=False))


def test_a_block_is_found_by_name_and_by_how_many_are_kept() -> None:
    base = untouched("efficientnet_lite0")
    found = blocks("efficientnet_lite0", base)
    assert find_block("efficientnet_lite0", base, "block4b") == found[6]
    assert find_block("efficientnet_lite0", base, "7") == found[6]
    # Keras counts MobileNetV2's blocks from 0; a number means how many blocks to keep, a name means that block.
    assert find_block("mobilenet_v2", untouched("mobilenet_v2"), "5").name == "block_4"
    for wrong in ("0", "17", "-1", "block4", "block_4b", ""):
        with pytest.raises(InputError, match="block1a") as caught:
            find_block("efficientnet_lite0", base, wrong)
        assert "1 to 16" in str(caught.value)
        assert len(str(caught.value).splitlines()) <= 3


def test_each_block_less_costs_less() -> None:
    base = untouched("mobilenet_v2")
    cuts = [truncate("mobilenet_v2", base, block.name) for block in blocks("mobilenet_v2", base)] + [base]
    for cost in (multiply_adds, lambda cut: int8_bytes_estimate(cut, classes=5), lambda cut: cut.count_params()):
        costs = [cost(cut) for cut in cuts]
        assert costs == sorted(set(costs))


@pytest.mark.parametrize("name", MOBILE)
def test_the_estimated_file_is_within_a_tenth_of_the_written_one(name: str) -> None:
    # The bytes of a file hardly depend on the input size; facts.json has those of real files.
    known = facts_of(name, BACKBONES[name].widths[0]).int8_bytes
    assert int8_bytes_estimate(untouched(name), classes=5) == pytest.approx(known, rel=0.11)


@pytest.fixture(scope="module")
def truncated(tiny_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("truncated") / "run"
    return train(tiny_photos, folder, small.options(truncate="5", trainable_blocks=2, size=64))


def test_the_run_records_the_cut_and_trains_only_the_last_blocks_of_what_is_left(truncated: Run) -> None:
    assert truncated.document.strategy.truncated == Truncation("block_4", "block_4_add", blocks=5, of_blocks=17)
    assert truncated.document.config.others["truncate"] == "block_4"
    assert truncated.document.model.cut_layer == "block_2_add"
    model = truncated.load_model()
    assert model.get_layer("pool").input.shape[1:] == (8, 8, 32)
    assert truncated.document.model.parameters == model.count_params() < 50_000
    weights = bases.narrow("mobilenet_v2")  # only for its layers' names
    assert {layer.name for layer in model.layers} - {"pool", "dropout", "logits", "probabilities"} < {
        layer.name for layer in weights.layers
    }


@pytest.mark.slow
def test_it_becomes_an_int8_bundle_like_any_other(truncated: Run) -> None:
    quantize(truncated, QuantizeOptions(int8=True, calibration=12))
    report = read_json(truncated.folder / "quantize.json", "edgetl.quantize/2")
    (int8,) = [row for row in report["variants"] if row["name"] == "int8"]
    assert int8["bytes"] < 100_000
    assert int8["agreement"]["mae"] < 0.05
    photos = [preprocess(truncated.data_root / one.path, truncated.preprocess) for one in truncated.of("test")]
    expected = truncated.load_model()(np.stack(photos).astype(np.float32), training=False)
    assert np.asarray(expected).std() > 0.05
    with Classifier(Bundle.open(truncated.folder / "bundle"), "int8") as classifier:
        np.testing.assert_allclose([classifier.run(one) for one in photos], expected, atol=0.1)


def test_a_block_that_is_not_there_leaves_no_run(tiny_photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="truncate='block_40': mobilenet_v2 has no such block"):
        train(tiny_photos, tmp_path / "run", small.options(truncate="block_40"))
    with pytest.raises(InputError, match="up to block_3 has 4 blocks"):
        train(tiny_photos, tmp_path / "run", small.options(truncate="block_3", trainable_blocks=5))
    assert list(tmp_path.iterdir()) == []
