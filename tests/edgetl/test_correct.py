"""Bias correction: what it changes, what it leaves, and that it gets accuracy back on real weights."""

from __future__ import annotations

from typing import Any

import lively
import numpy as np
import pytest

from edgetl import extras
from edgetl.quantize.correct import correct_biases
from edgetl.quantize.fold import fold_batch_norm
from edgetl.quantize.graph import rebuild
from edgetl_device.errors import InputError


def _rounded(model: Any) -> Any:
    """``model`` with each kernel on its int8 grid: max|w| / 127 per output channel, written out the slow way."""
    weights = {}
    for layer in model.layers:
        if type(layer).__name__ not in ("Conv2D", "DepthwiseConv2D", "Dense"):
            continue
        kernel, bias = (array.copy() for array in layer.get_weights())
        depthwise = type(layer).__name__ == "DepthwiseConv2D"
        for channel in range(kernel.shape[2] if depthwise else kernel.shape[-1]):
            part = kernel[:, :, channel] if depthwise else kernel[..., channel]
            step = max(np.abs(part).max(), 1e-30) / 127
            part[...] = np.round(part / step) * step
        weights[layer.name] = (kernel, bias)
    return rebuild(model, weights)


def test_rounding_the_weights_costs_less_after_correction() -> None:
    folded = fold_batch_norm(lively.pretrained())
    photos = lively.photos(48)
    expected = lively.answers(folded, photos)
    before = np.abs(lively.answers(_rounded(folded), photos) - expected).mean()
    corrected = correct_biases(folded, lively.photos(64, first_seed=500))
    after = np.abs(lively.answers(_rounded(corrected), photos) - expected).mean()
    assert before > 0.005, "rounding costs nothing here; this test could not fail"
    assert after < 0.6 * before


def test_kernels_stay_and_biases_move() -> None:
    folded = fold_batch_norm(lively.build("mobilenet_v2"))
    kept = [array.copy() for array in folded.get_weights()]
    corrected = correct_biases(folded, lively.photos(8))
    moved = 0.0
    for layer in folded.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            new_kernel, new_bias = corrected.get_layer(layer.name).get_weights()
            np.testing.assert_array_equal(new_kernel, kernel)
            moved = max(moved, float(np.abs(new_bias - bias).max()))
    assert moved > 1e-3
    for array, old in zip(folded.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(array, old)


def test_the_mean_of_each_output_is_the_float_one() -> None:
    keras = extras.keras()
    keras.utils.set_random_seed(2)
    pixels = keras.Input((16, 16, 3), name="pixels")
    outputs = keras.layers.Conv2D(6, 3, name="conv")(pixels)
    model = keras.Model(pixels, outputs)
    photos = lively.photos(16)[:, :16, :16]
    expected = lively.answers(model, photos).mean((0, 1, 2))
    before = lively.answers(_rounded(model), photos).mean((0, 1, 2))
    after = lively.answers(_rounded(correct_biases(model, photos)), photos).mean((0, 1, 2))
    assert np.abs(before - expected).max() > 0.05
    np.testing.assert_allclose(after, expected, atol=1e-3)


def test_the_rescaling_gets_a_whole_zero_point() -> None:
    corrected = correct_biases(fold_batch_norm(lively.build("mobilenet_v2")), lively.photos(4))
    scale = corrected.get_layer("scale")
    assert -scale.offset / scale.scale == pytest.approx(128)


def test_the_same_photos_give_the_same_biases() -> None:
    folded = fold_batch_norm(lively.build("mobilenet_v2"))
    first, second = (correct_biases(folded, lively.photos(8)).get_weights() for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_with_batch_norm_is_refused() -> None:
    with pytest.raises(InputError, match="fold BatchNormalization before"):
        correct_biases(lively.build("mobilenet_v2"), lively.photos(2))


@pytest.mark.parametrize(
    "photos",
    [lively.photos(0 + 1)[:0], lively.photos(1)[:, :64], lively.photos(1).astype(np.float32), lively.photos(1)[0]],
    ids=["none", "another size", "floats", "no batch"],
)
def test_photos_that_do_not_fit_are_refused(photos: Any) -> None:
    with pytest.raises(InputError, match="calibration photos of shape"):
        correct_biases(fold_batch_norm(lively.build("mobilenet_v2")), photos)
