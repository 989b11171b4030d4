"""Grad-CAM: which parts of a photo support a class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import keras, tensorflow
from edgetl._lib.progress import track
from edgetl_device.errors import InputError

_BATCH = 32


def grad_cam(model: Any, pixels: npt.NDArray[np.uint8], classes: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return heat maps over the last feature map, the one that is pooled.

    Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
    arXiv:1610.02391, equations 1 and 2: the sum of the feature map's channels, each weighted by the mean gradient of
    the class's logit with respect to it; negative evidence is set to 0 (ReLU).

    Args:
        model: keras.Model with the layers ``pool`` and ``logits``.
        pixels: uint8 [n, H, W, C], raw RGB.
        classes: int64 [n], the class to explain in each photo.

    Returns:
        float32 [n, h, w], each scaled to a maximum of 1; all zeros without evidence for the class.

    Raises:
        InputError: The model was imported and has no layer ``pool``.
    """
    if not any(layer.name == "pool" for layer in model.layers):
        raise InputError(
            "Grad-CAM needs a feature map that is pooled, and this model has none",
            why="it was imported, and its last feature map is flattened",
            hint="Write the report without --grad-cam.",
        )
    tf, last = tensorflow(), model.get_layer("pool").input
    to_features = keras().Model(model.input, last)
    to_logits = keras().Model(last, model.get_layer("logits").output)
    maps = []
    with track("Grad-CAM", len(pixels)) as advance:
        for start in range(0, len(pixels), _BATCH):
            features = to_features(tf.constant(pixels[start : start + _BATCH].astype(np.float32)), training=False)
            wanted = tf.constant(classes[start : start + _BATCH])
            with tf.GradientTape() as tape:
                tape.watch(features)
                scores = tf.gather(to_logits(features, training=False), wanted, axis=1, batch_dims=1)
            weights = tf.reduce_mean(tape.gradient(scores, features), axis=(1, 2), keepdims=True)
            maps.append(tf.nn.relu(tf.reduce_sum(weights * features, axis=-1)).numpy())
            advance(len(wanted))
    heat = np.concatenate(maps)
    highest = heat.max(axis=(1, 2), keepdims=True)
    return np.asarray(heat / np.where(highest > 0, highest, 1))
