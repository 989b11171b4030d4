"""Random geometric augmentation (flip, rotation, zoom, shift, shear) as one affine map, interpolated once.

Keras' layers draw the random numbers. Applied one by one, each would resample the photo, which blurs it and costs time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

from edgetl._lib.extras import keras, tensorflow
from edgetl_device.input_size import InputSize

# What a Keras layer's get_random_transformation() returns.
Drawn = dict[str, Any]
# Supported settings of the layers.
_DONE = {"mode": "horizontal", "fill_mode": "reflect", "interpolation": "bilinear"}
# a, b, c, d, e, f of x' = a x + b y + c, y' = d x + e y + f: from a pixel of the view to a place in the photo, in
# pixels. Numbers, or one for each photo.
Coefficients = tuple[Any, Any, Any, Any, Any, Any]
# Index of the last column, and of the last row.
Last = tuple[float, float]


def compose_moves(layers: Sequence[Any], *, size: InputSize) -> Callable[[Any], Any]:
    """Return a function that applies the layers in order, with a single bilinear interpolation.

    The photo is reflected at its edges.

    Args:
        layers: Keras layers of the kinds in :data:`MOVES`.
        size: Height and width of the photos; they may have any number of channels.

    Returns:
        A function from float32 [n, H, W, channels] to the same type and shape.

    Raises:
        ValueError: A layer has an unsupported setting, such as a vertical flip or black edges.
    """
    for layer in layers:
        for setting, done in _DONE.items():
            if layer.get_config().get(setting, done) != done:
                raise ValueError(f"{layer.name}: {setting} must be {done!r}")
    tf, affine_transform = tensorflow(), keras().ops.image.affine_transform
    last = size.width - 1.0, size.height - 1.0

    def matrix(layer: Any, photos: Any) -> Any:
        drawn = layer.get_random_transformation(photos, training=True)
        rows = (*MOVES[type(layer).__name__](drawn, last), 0.0, 0.0, 1.0)
        return tf.reshape(tf.stack([tf.broadcast_to(row, tf.shape(photos)[:1]) for row in rows], axis=1), (-1, 3, 3))

    def move(photos: Any) -> Any:
        # From the view back to the photo: the first layer's map is applied last.
        composed = reduce(tf.matmul, [matrix(layer, photos) for layer in layers])
        # Keras takes eight numbers: the matrix without its last 1.
        numbers = tf.reshape(composed, (-1, 9))[:, :8]
        return affine_transform(photos, numbers, interpolation="bilinear", fill_mode="reflect")

    return move


def _flip(drawn: Drawn, last: Last) -> Coefficients:
    flipped = drawn["flips"][:, 0, 0, 0]
    where = tensorflow().where
    return where(flipped, -1.0, 1.0), 0.0, where(flipped, last[0], 0.0), 0.0, 1.0, 0.0


def _rotate(drawn: Drawn, _: Last) -> Coefficients:
    a, b, c, d, e, f, *_ = tensorflow().unstack(drawn["rotation_matrix"], num=8, axis=1)
    return a, b, c, d, e, f


def _zoom(drawn: Drawn, last: Last) -> Coefficients:
    across, down = drawn["width_zoom"][:, 0], drawn["height_zoom"][:, 0]
    return across, 0.0, (1 - across) * last[0] / 2, 0.0, down, (1 - down) * last[1] / 2


def _shift(drawn: Drawn, _: Last) -> Coefficients:
    across, down = tensorflow().unstack(drawn["translations"], num=2, axis=1)
    return 1.0, 0.0, -across, 0.0, 1.0, -down


def _shear(drawn: Drawn, _: Last) -> Coefficients:
    across, down = tensorflow().unstack(drawn["shear_factor"], num=2, axis=1)
    return 1.0, across, 0.0, down, 1.0, 0.0


# Name of a Keras layer, and the function from its random numbers and the place of a photo's last pixel to
# coefficients. The layers use the same matrices internally.
MOVES: dict[str, Callable[[Drawn, Last], Coefficients]] = {
    "RandomFlip": _flip,
    "RandomRotation": _rotate,
    "RandomZoom": _zoom,
    "RandomTranslation": _shift,
    "RandomShear": _shear,
}
