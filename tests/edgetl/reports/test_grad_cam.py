"""Grad-CAM on a model and photos with the evidence for each class in a known corner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgetl._lib.extras import keras
from edgetl.reports.grad_cam import grad_cam
from edgetl.reports.pictures import heat_over

SIZE = 48


@pytest.fixture(scope="module")
def model() -> Any:
    """Class 0 is red, class 1 is blue, and each is negative evidence for the other."""
    layers = keras().layers
    pixels = layers.Input((SIZE, SIZE, 3), name="pixels")
    features = layers.Rescaling(1 / 255, name="scale")(pixels)
    features = layers.Conv2D(2, 1, strides=4, use_bias=False, activation="relu", name="colours")(features)
    pooled = layers.Dropout(0.2, name="dropout")(layers.GlobalAveragePooling2D(name="pool")(features))
    logits = layers.Dense(2, name="logits")(pooled)
    built = keras().Model(pixels, layers.Softmax(name="probabilities")(logits))
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, 0, 0] = kernel[0, 0, 2, 1] = 1
    built.get_layer("colours").set_weights([kernel])
    built.get_layer("logits").set_weights([np.array([[5, -5], [-5, 5]], np.float32), np.zeros(2, np.float32)])
    return built


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Red in the upper left quarter, blue in the lower right one, 40 times: more than a batch."""
    photos = np.zeros((40, SIZE, SIZE, 3), np.uint8)
    photos[:, : SIZE // 2, : SIZE // 2, 0] = 250
    photos[:, SIZE // 2 :, SIZE // 2 :, 2] = 250
    return photos


@pytest.mark.parametrize("trainable", [True, False])
def test_the_map_is_hot_where_the_class_is(model: Any, photos: np.ndarray, trainable: bool) -> None:
    model.trainable = trainable
    classes = np.arange(40) % 2
    maps = grad_cam(model, photos, classes)
    assert (maps.dtype, maps.shape) == (np.float32, (40, 12, 12))
    wanted = np.zeros((2, 12, 12))
    wanted[0, :6, :6] = wanted[1, 6:, 6:] = 1
    np.testing.assert_allclose(maps, wanted[classes], atol=1e-6)


def test_nothing_is_hot_where_nothing_speaks_for_the_class(model: Any, photos: np.ndarray) -> None:
    red = photos[:1].copy()
    red[..., 2] = 0
    assert not grad_cam(model, red, np.array([1])).any()


def test_the_overlay_is_warm_where_the_map_is_hot_and_grey_elsewhere(model: Any, photos: np.ndarray) -> None:
    (heat,) = grad_cam(model, photos[:1], np.array([1]))
    picture = np.asarray(heat_over(photos[0], heat)).astype(int)
    assert picture.shape == photos[0].shape
    warmth = picture[..., 0] - picture[..., 2]
    assert warmth[30:, 30:].min() > 40
    assert np.abs(warmth[:18, :18]).max() <= 2
