"""Models whose input is a rectangle, or has one channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import foreign
import numpy as np
import onnx
import pytest
from foreign import Onnx

import edgetl
from edgetl._lib import extras
from edgetl.export.conversion import float32_tflite
from edgetl.importing.inputs import candidates, feed
from edgetl.importing.options import ImportOptions
from edgetl_device.errors import OptionError
from edgetl_device.input_size import InputSize

WIDE, GREY = InputSize(24, 40), InputSize(24, 40, 1)
SIZES = pytest.mark.parametrize("size", [WIDE, GREY], ids=["rgb", "grey"])


def _keras(shape: tuple[int | None, ...], classes: int = 3) -> Any:
    keras = extras.keras()
    k = keras.layers
    pixels = k.Input(shape)
    x = k.Conv2D(6, 3, strides=2, activation="relu")(pixels)
    x = k.Dense(classes, activation="softmax")(k.GlobalAveragePooling2D()(x))
    return foreign.randomized(keras.Model(pixels, x))


def _onnx(size: InputSize, layout: str = "nchw") -> onnx.ModelProto:
    model = Onnx(layout=layout, size=size.height, width=size.width, channels=size.channels)
    source = "pixels" if layout == "nchw" else model.add("Transpose", "pixels", perm=[0, 3, 1, 2])
    return model.model(model.head(model.conv(source, size.channels, 5), 5, classes=3))


@SIZES
def test_keras(size: InputSize) -> None:
    assert foreign.import_keras(_keras(size.shape)).model.input_shape == (None, *size.shape)


def test_keras_that_takes_any_size_is_given_one() -> None:
    made = foreign.import_keras(_keras((None, None, 1)), size=InputSize(24, 40))
    assert made.model.input_shape == (None, 24, 40, 1)
    with pytest.raises(OptionError, match="not size='40x24'"):
        foreign.import_keras(_keras(GREY.shape), size=InputSize(40, 24))


@SIZES
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_onnx(size: InputSize, layout: str) -> None:
    model = _onnx(size, layout)
    scan = foreign.scan_onnx(model).scan
    assert (scan.size, scan.layout) == (size, layout)
    assert foreign.import_onnx(model).model.input_shape == (None, *size.shape)


def test_tflite_and_saved_model(tmp_path: Path) -> None:
    model = _keras(GREY.shape)
    (tmp_path / "theirs.tflite").write_bytes(float32_tflite(model))
    model.export(tmp_path / "theirs", verbose=False)
    for name in ("theirs.tflite", "theirs"):
        assert foreign.import_file(tmp_path / name).model.input_shape == (None, *GREY.shape)


def test_grey_has_the_scalings_of_one_channel() -> None:
    scalings, _ = candidates(ImportOptions(), scales_pixels="", fit="", channels=1)
    assert list(scalings) == ["raw", "0..1", "-1..1"]
    (scaling,) = candidates(ImportOptions(mean=("0.2",), std=("0.5",)), scales_pixels="", fit="", channels=1)[
        0
    ].values()
    np.testing.assert_allclose(feed(np.full((1, 1, 1, 1), 255, np.uint8), scaling), 1.6, atol=1e-6)
    for asked in (
        {"input": "imagenet"},
        {"input": "caffe"},
        {"mean": ("0.5",), "std": ("0.5",), "bgr": True},
        {"mean": ("0.5",) * 3, "std": ("0.5",) * 3},
    ):
        with pytest.raises(OptionError, match="the model has one channel"):
            candidates(ImportOptions(**asked), scales_pixels="", fit="", channels=1)  # type: ignore[arg-type]


def test_a_grey_rectangle_becomes_a_run(tiny_photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    onnx.save(_onnx(GREY), path)
    run = edgetl.import_model(path, tiny_photos, out=tmp_path / "run")
    assert run.preprocess.size == GREY
    record = run.document.imported
    assert record is not None
    assert {one.input for one in record.input.tried} == {"raw", "0..1", "-1..1"}
    assert record.agreement.max_abs < 1e-4
    assert run.document.config.size == "24x40"
