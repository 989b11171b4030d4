"""Seeded, augmented views of training photos, drawn by Keras' preprocessing layers: uint8 pixels in, uint8 pixels out.

Views are drawn once and cached downstream, so a photo has a fixed number of them. Not for: validation or test photos.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl.extras import keras, tensorflow
from edgetl_device.errors import InputError

Pixels = npt.NDArray[np.uint8]

# Keras layer and its arguments, in the order they are applied. Factors are fractions of the picture's side, of a full
# turn (rotation) or of the value range (brightness, contrast), as Keras defines them.
PRESETS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "none": (),
    "light": (
        ("RandomFlip", {"mode": "horizontal"}),
        ("RandomTranslation", {"height_factor": 0.05, "width_factor": 0.05}),
    ),
    "standard": (
        ("RandomFlip", {"mode": "horizontal"}),
        ("RandomRotation", {"factor": 0.06}),
        ("RandomZoom", {"height_factor": (-0.25, 0.1)}),
        ("RandomTranslation", {"height_factor": 0.1, "width_factor": 0.1}),
        ("RandomBrightness", {"factor": 0.15}),
        ("RandomContrast", {"factor": 0.2}),
    ),
    "strong": (
        ("RandomFlip", {"mode": "horizontal"}),
        ("RandomRotation", {"factor": 0.1}),
        ("RandomZoom", {"height_factor": (-0.4, 0.2)}),
        ("RandomTranslation", {"height_factor": 0.15, "width_factor": 0.15}),
        ("RandomBrightness", {"factor": 0.25}),
        ("RandomContrast", {"factor": 0.3}),
        ("RandomSaturation", {"factor": (0.3, 0.7)}),
    ),
}


def check_preset(name: str) -> None:
    """Raise InputError when there is no preset of this name."""
    if name not in PRESETS:
        raise InputError(f"unknown augmentation {name!r}", why=f"the presets are {', '.join(PRESETS)}")


def augmenter(preset: str, *, size: int, seed: int) -> Callable[[Pixels], Pixels]:
    """Return a function that draws one view of each photo of a batch.

    The views depend on the seed and on how many photos were drawn before, so a caller that goes through the same
    photos in the same batches gets the same views.

    Args:
        preset: A name in :data:`PRESETS`.
        size: Height and width of the photos in pixels.
        seed: Of the random numbers.

    Returns:
        A function from uint8 [n, size, size, 3] to the same type and shape.
    """
    check_preset(preset)
    tf, layers = tensorflow(), keras().layers
    chain = []
    for index, (name, arguments) in enumerate(PRESETS[preset]):
        options = (
            {"value_range": (0, 255)} if name in ("RandomBrightness", "RandomContrast", "RandomSaturation") else {}
        )
        chain.append(getattr(layers, name)(**arguments, **options, seed=(seed * 100 + index) % 2**31))

    @tf.function(input_signature=[tf.TensorSpec((None, size, size, 3), tf.uint8)])
    def draw(photos: Any) -> Any:
        pictures = tf.cast(photos, tf.float32)
        for layer in chain:
            pictures = layer(pictures, training=True)
        return tf.cast(tf.round(tf.clip_by_value(pictures, 0.0, 255.0)), tf.uint8)

    return lambda photos: np.asarray(draw(tf.constant(photos)))
