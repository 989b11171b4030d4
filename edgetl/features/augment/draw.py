"""Draw augmented views of photos with Keras' preprocessing layers: uint8 pixels in, uint8 pixels out.

``edgetl.features.frozen_base`` decides which photos are drawn, how often and in which order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import keras, tensorflow
from edgetl._lib.interrupts import uninterrupted
from edgetl_device.input_size import InputSize
from edgetl_device.preprocess import LUMA

from .geometry import MOVES, compose_moves
from .presets import MIXING, PRESETS, Step, check_preset, mixes

Pixels = npt.NDArray[np.uint8]
Shares = npt.NDArray[np.float32]

_RANGED = frozenset(
    {
        "RandomBrightness",
        "RandomContrast",
        "RandomSaturation",
        "RandomColorJitter",
        "RandomColorDegeneration",
        "RandomSharpness",
        "RandomPosterization",
        "RandomErasing",
        "AutoContrast",
        "Equalization",
    }
)
_SEEDLESS = frozenset({"AutoContrast", "Equalization"})


@uninterrupted()
def augmenter(preset: str, *, size: InputSize, seed: int) -> Callable[[Pixels], Pixels]:
    """Return a function that draws one view of each photo of a batch.

    The views depend on the seed and on the number of photos drawn before, so the same photos in the same batches give
    the same views. Presets that mix photos mix those within a batch; :func:`share_mixer` mixes the labels alike.

    Args:
        preset: A name in :data:`PRESETS`.
        size: Height, width and channels of the photos.
        seed: Seed of the random numbers.

    Returns:
        A function from uint8 [n, H, W, C] to the same type and shape.
    """
    check_preset(preset)
    tf = tensorflow()
    steps = _steps(preset, size, seed)
    mix = _mixer(preset, seed)
    luma = tf.reshape(tf.constant(LUMA, tf.float32), (3, 1))

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, *size.shape), tf.uint8)])
    def draw(photos: Any) -> Any:
        pictures = tf.cast(photos, tf.float32)
        if size.channels == 1:
            # Layers that change colours take RGB only.
            pictures = tf.repeat(pictures, 3, axis=-1)
        for step in steps:
            pictures = step(pictures)
        pictures, _ = mix(pictures, tf.zeros((tf.shape(photos)[0], 1)))
        if size.channels == 1:
            pictures = tf.tensordot(pictures, luma, 1)
        return tf.cast(tf.round(tf.clip_by_value(pictures, 0.0, 255.0)), tf.uint8)

    return lambda photos: np.asarray(draw(tf.constant(photos)))


def share_mixer(preset: str, *, size: InputSize, seed: int) -> Callable[[Shares], Shares]:
    """Return a function that mixes labels as :func:`augmenter` with the same arguments mixes pixels.

    Call it for the same batches in the same order; it draws no images.

    Args:
        preset: A name in :data:`PRESETS`; a preset that does not mix photos leaves shares unchanged.
        size: Height, width and channels of the photos.
        seed: Seed of the random numbers.

    Returns:
        A function from float32 [n, classes], rows that sum to 1, to the same type and shape.
    """
    check_preset(preset)
    if not mixes(preset):
        return lambda shares: shares
    tf = tensorflow()
    mix = _mixer(preset, seed)

    # Keras draws the same numbers for photos of the same shape, whatever their content.
    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, None), tf.float32)])
    def draw(shares: Any) -> Any:
        return mix(tf.zeros((tf.shape(shares)[0], size.height, size.width, 3)), shares)[1]

    return lambda shares: np.asarray(draw(tf.constant(shares)))


def _seed(seed: int, index: int) -> int:
    return (seed * 100 + index) % 2**31


def _steps(preset: str, size: InputSize, seed: int) -> list[Callable[[Any], Any]]:
    """Return the functions that a preset applies to a batch, in order; consecutive geometric layers are one of them."""
    numbered = [(step, _seed(seed, index)) for index, step in enumerate(PRESETS[preset]) if step[0] not in MIXING]
    found: list[Callable[[Any], Any]] = []
    for moving, group in groupby(numbered, key=lambda one: one[0][0] in MOVES):
        layers = [_step(step, own_seed) for step, own_seed in group]
        found += [compose_moves(layers, size=size)] if moving else layers
    return found


def _step(step: Step, seed: int) -> Any:
    name, arguments = step
    if name == "SomeOf":
        return _some_of(arguments["operations"], arguments["count"], seed)
    options: dict[str, Any] = {} if name in _SEEDLESS else {"seed": seed}
    if name in _RANGED:
        options["value_range"] = (0, 255)
    return getattr(keras().layers, name)(**arguments, **options)


def _some_of(operations: tuple[Step, ...], count: int, seed: int) -> Callable[[Any], Any]:
    """Return a function that applies ``count`` random operations to each photo, with independent magnitudes."""
    tf, random = tensorflow(), keras().random
    layers = [_step(operation, (seed * 100 + index) % 2**31) for index, operation in enumerate(operations)]
    generator = random.SeedGenerator(seed)

    def one(photo: Any) -> Any:
        shape = photo.shape
        for pick in tf.unstack(random.randint((count,), 0, len(layers), seed=generator)):
            # Only the branch that is taken is computed.
            photo = tf.ensure_shape(tf.switch_case(pick, [partial(layer, photo) for layer in layers]), shape)
        return photo

    return lambda pictures: tf.map_fn(one, pictures)


def _mixer(preset: str, seed: int) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Return a function that mixes images and labels; without a mixing layer it changes neither."""
    for index, (name, arguments) in enumerate(PRESETS[preset]):
        if name in MIXING:
            layer = getattr(keras().layers, name)(**arguments, seed=_seed(seed, index))

            def mix(pictures: Any, shares: Any, layer: Any = layer) -> tuple[Any, Any]:
                mixed = layer({"images": pictures, "labels": shares}, training=True)
                return mixed["images"], mixed["labels"]

            return mix
    return lambda pictures, shares: (pictures, shares)
