"""A rectangle, and a rectangle of one channel, from photos to the device."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bases
import numpy as np
import pytest
import small
from PIL import Image

import edgetl
from edgetl.backbones import BACKBONES, build_base, resolve_weights
from edgetl.features.augment import PRESETS, augmenter, share_mixer
from edgetl.inspection.tflite.file import describe
from edgetl.inspection.tflite.metadata import read_metadata
from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.pipeline import quantize
from edgetl.quantization.targets import TARGETS
from edgetl.quantization.unknown.distortions import DISTORTIONS, drawn
from edgetl.runs.directory import Run
from edgetl.training import TrainOptions, train
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.errors import GateFailed, OptionError
from edgetl_device.input_size import InputSize, square
from edgetl_device.verify import verify

WIDE, GREY = InputSize(64, 96), InputSize(64, 96, 1)
VARIANTS = ("float32", "float32-onnx", "int8", "int8-onnx")


def _some(every: Iterable[str], *names: str) -> list[Any]:
    """Return parameters of a test; those not named are marked slow."""
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in every]


@pytest.fixture(scope="module", params=[pytest.param(False, marks=pytest.mark.slow), True], ids=["rgb", "grey"])
def run(request: pytest.FixtureRequest, tiny_photos: Path, once: Any) -> Run:
    """A run on 64 x 96 pixels with its bundle, of the first blocks."""
    grey = request.param

    def make(folder: Path) -> None:
        options = small.options(
            size="64x96", grey=grey or None, epochs=1, truncate="2", trainable_blocks=1, fit="pad" if grey else "crop"
        )
        quantize(train(tiny_photos, folder, options), QuantizeOptions(calibration=6, repair=False))

    return Run.open(once(f"rectangle-{'grey' if grey else 'rgb'}", make))


def test_it_goes_through_everything(run: Run, tiny_photos: Path) -> None:
    size = run.preprocess.size
    document = json.loads((run.folder / "run.json").read_text())
    assert (document["config"]["size"], document["config"]["grey"]) == ("64x96", size.channels == 1)
    bundle = Bundle.open(run.folder)
    assert json.loads(bundle.descriptions()["bundle.json"])["schema"] == "edgetl.bundle/2"
    assert tuple(variant.name for variant in bundle.variants) == VARIANTS
    for variant in bundle.variants:
        assert variant.input.shape == (1, *size.shape)
        if variant.name.startswith("int8"):
            assert variant.input.dtype == "uint8"
        if variant.name == "int8":
            assert (variant.input.scale, variant.input.zero_point) == (1.0, 0)
    assert bundle.reference().golden_pixels.shape[1:] == size.shape
    assert {check.status for check in verify(bundle).checks if check.name != "signature"} == {"ok"}
    photo = next(tiny_photos.rglob("*.jpg"))
    for name in VARIANTS:
        with Classifier(bundle, name) as classifier:
            from_file = classifier.probabilities(photo)
            np.testing.assert_array_equal(from_file, classifier.probabilities(classifier.pixels(photo)))
            array = np.asarray(Image.open(photo).convert("RGB"))
            assert classifier.probabilities(array).shape == (3,)
    assert (
        f"at {size.px}, " in (run.folder / "report.html").read_text() if (run.folder / "report.html").exists() else True
    )


def test_its_tflite_files_say_what_they_take(run: Run) -> None:
    bundle = Bundle.open(run.folder)
    data = bundle.read(bundle.variant("int8").file)
    about = read_metadata(data)
    assert about is not None
    grey = run.preprocess.size.channels == 1
    assert (
        "grey photos fitted to 96 x 64 pixels" if grey else "for photos fitted to 96 x 64 pixels"
    ) in about.description
    # ImageProperties.color_space is a byte: 2 is GRAYSCALE, 1 RGB.
    assert (b"grey, 96 x 64 pixels" if grey else b"RGB, 96 x 64 pixels") in data
    if grey:
        with pytest.raises(GateFailed, match="MediaPipe's image classifier takes RGB only"):
            TARGETS["mediapipe"].check(data, "int8")
    else:
        TARGETS["mediapipe"].check(data, "int8")
    assert describe(data).tensors[describe(data).inputs[0]].shape == (1, *run.preprocess.size.shape)


def test_bench_measures_it(run: Run) -> None:
    found = edgetl.bench(run.folder, variants=["int8"], quick=True, duration=0.1)
    assert found.bundle.preprocess.size == run.preprocess.size
    assert [one.variant for one in found.runs] == ["int8"]


@pytest.mark.parametrize("name", ["mobilenet_v2", pytest.param("efficientnet_lite0", marks=pytest.mark.slow)])
def test_a_grey_photo_gives_what_its_three_equal_channels_give(name: str) -> None:
    weights = resolve_weights(name, width=1.0)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *GREY.shape)).astype(np.float32)
    colour, grey = (build_base(name, size=size, width=1.0, weights=weights) for size in (WIDE, GREY))
    assert grey.count_params() < colour.count_params()
    wanted = np.asarray(colour(np.repeat(pixels, 3, axis=-1)))
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(np.asarray(grey(pixels)), wanted, atol=1e-4)


def test_where_each_channel_has_its_own_scaling_grey_becomes_three() -> None:
    """ResNet's weights expect blue, green and red less a mean each."""
    row = BACKBONES["resnet50"]
    assert len(row.scale.factor) == 3
    from edgetl._lib.extras import keras
    from edgetl.backbones.graph import scale_pixels

    pixels = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
    scaled = []
    for given in (pixels, np.repeat(pixels, 3, axis=-1)):
        source = keras().layers.Input(given.shape[1:])
        scaled.append(np.asarray(keras().Model(source, scale_pixels(source, row.scale))(given)))
    np.testing.assert_array_equal(*scaled)


@pytest.mark.parametrize("name", _some(bases.MOBILE, "mobilenet_v3_small"))
def test_every_mobile_backbone_takes_a_rectangle(name: str) -> None:
    output = build_base(name, size=GREY, width=BACKBONES[name].widths[0], weights=bases.NONE).output_shape
    assert output[1] < output[2]


@pytest.mark.parametrize("preset", _some(PRESETS, "none", "colour", "erase", "cutmix"))
def test_every_preset_draws_grey_rectangles(preset: str) -> None:
    size = InputSize(16, 24, 1)
    photos = np.random.default_rng(0).integers(0, 256, (4, *size.shape), np.uint8)
    views = augmenter(preset, size=size, seed=3)(photos)
    assert (views.shape, views.dtype) == (photos.shape, np.uint8)
    assert (views == photos).all() if preset == "none" else (views != photos).any()
    shares = share_mixer(preset, size=size, seed=3)(np.eye(4, dtype=np.float32))
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_every_distortion_is_drawn_into_them(name: str) -> None:
    for size in (WIDE, GREY):
        assert drawn(name, np.full((2, *size.shape), 128, np.uint8)).shape == (2, *size.shape)


@pytest.mark.parametrize("size", ["0x96", "96x", "8x96", "96x4000", 8, "wide"])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(OptionError, match="must be 16 to 2048, or two of these as HEIGHTxWIDTH"):
        TrainOptions(size=size)


def test_the_command_line_refuses_it(tiny_photos: Path, tmp_path: Path) -> None:
    for flag in ("0x96", "96x"):
        assert f"--size {flag}" in small.refused(
            small.edgetl("train", tiny_photos, "--out", tmp_path / "r", "--size", flag)
        )
    assert "must be 16 to 2048" in small.refused(small.edgetl("data", "check", tiny_photos, "--size", "64x"))


def test_options_keep_one_form() -> None:
    assert (TrainOptions(size="96x96").size, TrainOptions(size="96").size, TrainOptions(size=96).size) == (96, 96, 96)
    assert TrainOptions(size="64x96").size == "64x96"


def test_training_from_such_a_run_keeps_its_input(run: Run) -> None:
    from edgetl.training.start import start_of

    assert start_of(TrainOptions(from_run=str(run.folder))).preprocess == run.preprocess
    own = {"size": "64x96", "grey": run.preprocess.size.channels == 1}
    assert start_of(TrainOptions(from_run=str(run.folder), **own)).preprocess == run.preprocess
    with pytest.raises(OptionError, match="size=96 with from_run"):
        start_of(TrainOptions(from_run=str(run.folder), size=96))
    with pytest.raises(OptionError, match="grey="):
        start_of(TrainOptions(from_run=str(run.folder), grey=not own["grey"]))


def test_squares_stay_whole_numbers_in_documents(tiny_run: Run) -> None:
    document = json.loads((tiny_run.folder / "run.json").read_text())
    assert (document["config"]["size"], document["preprocess"]["size"]) == (small.SIZE, small.SIZE)
    assert tiny_run.preprocess.size == square(small.SIZE)
