"""Every backbone of the registry, from training to device: trained, folded, converted to int8, run.

Slow ones are marked ``slow``: ``make test-slow``.
"""

from __future__ import annotations

import bases
import lively
import numpy as np
import pytest

from edgetl._lib.extras import keras
from edgetl.backbones import BACKBONES
from edgetl.export import conversion
from edgetl.quantization.conversion.onnx import int8_onnx
from edgetl.quantization.conversion.tflite import int8_tflite
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl.quantization.preparation.graph import LINEAR

pytestmark = pytest.mark.no_cover

_SLOW = pytest.mark.slow
# Backbones that other test modules do not convert, one of each structure: separate BatchNorm, BGR. 2 to 6 s each.
_QUICK = ("mobilenet_v3_small_minimalistic", "efficientnet_lite0", "simple_cnn", "vgg16")


def rows(quick: tuple[str, ...], without: tuple[str, ...] = ()):
    names = [name for name in BACKBONES if name not in without]
    return pytest.mark.parametrize(
        "name", [name if name in quick else pytest.param(name, marks=_SLOW) for name in names]
    )


def photos(name: str, count: int, first_seed: int = 900) -> np.ndarray:
    """The photos that the model was settled on; on others, an untrained model may be confidently wrong."""
    size = lively.small(name).input.shape[1]
    return lively.photos(count, first_seed=first_seed)[:, :size, :size]


@rows((*_QUICK, "mobilenet_v2", "densenet121"))
def test_folding_changes_no_answer_and_leaves_linear_layers_only(name: str) -> None:
    model = lively.small(name)
    pixels = photos(name, 4)
    expected = lively.predictions(model, pixels)
    assert expected.std(axis=0).max() > 0.1, "the model answers the same to every photo; this test could not fail"
    folded = fold_batch_norm(model)
    assert {type(layer).__name__ for layer in folded.layers if layer.weights} <= set(LINEAR)
    np.testing.assert_allclose(lively.predictions(folded, pixels), expected, atol=1e-4)


@rows(("simple_cnn", "efficientnet_lite0"))
def test_one_step_of_training_moves_every_layer_but_the_scaling(name: str) -> None:
    model = lively.small(name)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    model.compile(keras().optimizers.SGD(0.1), loss="sparse_categorical_crossentropy")
    loss = model.train_on_batch(photos(name, 2).astype(np.float32), np.array([1, 3]))
    assert np.isfinite(loss)
    stayed = {
        layer.name
        for layer in model.layers
        if layer.weights and all(map(np.array_equal, layer.get_weights(), before[layer.name]))
    }
    # Behind a ReLU that is closed for all photos, a kernel has no gradient; a BatchNorm still moves its mean.
    assert "scale" in stayed or type(model.get_layer("scale")).__name__ == "Rescaling"
    assert len(stayed) <= 0.1 * len([layer for layer in model.layers if layer.weights])
    for layer in model.layers:
        layer.set_weights(before[layer.name])


# The first four are converted, with more photos, in test_int8.py.
@rows(_QUICK[:3], without=tuple(lively.BACKBONES))
@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_int8_runs_and_follows_the_photo(name: str, format: str) -> None:
    model = lively.small(name)
    pixels = photos(name, 8)
    expected = lively.predictions(model, pixels)
    convert = {"tflite": int8_tflite, "onnx": int8_onnx}[format]
    predictions = lively.run(convert(fold_batch_norm(model), pixels), format, pixels)
    # Random weights amplify 8-bit noise, so the bound is another photo's prediction, which is much further away.
    own = np.abs(predictions - expected).mean()
    others = np.mean([np.abs(predictions - np.roll(expected, shift, axis=0)).mean() for shift in range(1, len(pixels))])
    assert own < 0.5 * others


@rows(("simple_cnn", "mobilenet_v3_small_minimalistic"))
@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_float_files_give_the_same_predictions(name: str, format: str) -> None:
    model = lively.small(name)
    pixels = photos(name, 2)
    convert = {"tflite": conversion.float32_tflite, "onnx": conversion.float32_onnx}[format]
    predictions = lively.run(convert(model), format, pixels)
    np.testing.assert_allclose(predictions, lively.predictions(model, pixels), atol=2e-4)


def test_the_scaling_by_convolution_keeps_every_pixel_value_apart() -> None:
    """In int8, the 1x1 convolution that scales must not merge pixel values more than one step apart."""
    for name in ("vgg16", "densenet121"):
        base = bases.untouched(name)
        layer = base.get_layer("scale")
        kernel, offset = layer.get_weights()
        assert np.count_nonzero(kernel) == 3
        grid = np.abs(kernel).max(axis=(0, 1, 2)) / 127
        np.testing.assert_allclose(np.rint(kernel / grid) * grid, kernel, rtol=1e-6)
        ends = np.stack([offset, offset + 255 * kernel.sum(axis=(0, 1, 2))])
        step = (ends.max() - ends.min()) / 255
        assert (step / kernel.sum(axis=(0, 1, 2)) < 1.12).all()
