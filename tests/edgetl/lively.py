"""Small untrained models whose predictions depend on the photo, which reveals broken conversions. For tests."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from drawing import draw_photo

from edgetl._lib import extras
from edgetl.quantization.preparation.graph import walk
from edgetl_device.input_size import square

SIZE = 96
SMALL = 64  # px, of the backbones that work at it
CLASSES = 5
BACKBONES = {"mobilenet_v1": 0.25, "mobilenet_v2": 0.35, "mobilenet_v3_small": 0.75, "mobilenet_v3_large": 0.75}
# Parameters of tests. The large model has all layers of the small one.
EACH = [pytest.param(name, marks=pytest.mark.slow if name.endswith("large") else ()) for name in BACKBONES]


def photos(count: int, *, first_seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return uint8 [count, 96, 96, 3], each photo with its own colour, brightness and texture."""
    found = []
    for seed in range(first_seed, first_seed + count):
        random = np.random.default_rng(seed)
        tint, texture = random.uniform(0, 255, 3), np.asarray(draw_photo(seed, SIZE, SIZE), np.float64)
        share = random.uniform(0.2, 0.8)
        found.append((tint * (1 - share) + texture * share).astype(np.uint8))
    return np.stack(found)


@cache
def build(name: str) -> Any:
    """Return a flat model as ``edgetl train`` makes it, at 96 px. Built once per process: do not change it."""
    keras = extras.keras()
    keras.utils.set_random_seed(1)
    layers, width = keras.layers, BACKBONES[name]
    pixels = keras.Input((SIZE, SIZE, 3), name="pixels")
    scaled = layers.Rescaling(1 / 127.5, -1.0, name="scale")(pixels)
    options = {"input_tensor": scaled, "alpha": width, "include_top": False, "weights": None}
    if name == "mobilenet_v1":
        base = keras.applications.MobileNet(**options)
    elif name == "mobilenet_v2":
        base = keras.applications.MobileNetV2(**options)
    else:
        kind = "MobileNetV3Small" if name.endswith("small") else "MobileNetV3Large"
        base = getattr(keras.applications, kind)(include_preprocessing=False, **options)
    model = _with_head(pixels, base.output)
    settle(model, photos(16, first_seed=900))
    return model


@cache
def small(name: str) -> Any:
    """Return such a model for any backbone of the registry, at its smallest width and its smallest size from 64 px on.

    Embedded weights are used if they match. Built once per process: do not change it.
    """
    from edgetl.backbones import BACKBONES as registry
    from edgetl.backbones import build_base, resolve_weights

    row = registry[name]
    extras.keras().utils.set_random_seed(1)
    size = max(SMALL, row.min_size)
    trained = row.widths == (1.0,) and row.embedded is not None
    weights = resolve_weights(name, width=row.widths[0], request="auto" if trained else "none")
    base = build_base(name, size=square(size), width=row.widths[0], weights=weights)
    model = _with_head(base.input, base.output)
    # With most ReLUs open, a deep network with random weights does not amplify rounding into other predictions.
    settle(model, photos(8, first_seed=900)[:, :size, :size], shift=1.5, head_only=trained)
    return model


def _with_head(pixels: Any, features: Any) -> Any:
    layers = extras.keras().layers
    pooled = layers.GlobalAveragePooling2D(name="pool")(features)
    logits = layers.Dense(CLASSES, name="logits")(layers.Dropout(0.2, name="dropout")(pooled))
    return extras.keras().Model(pixels, layers.Softmax(name="probabilities")(logits))


def settle(model: Any, pixels: npt.NDArray[np.uint8], *, shift: float = 0.5, head_only: bool = False) -> None:
    """Make the predictions of an untrained model depend on the photo.

    With random weights and random BatchNorm statistics, every photo would get the same prediction. Here the statistics
    are those of real activations times a random factor, as after training, and the last layer spreads the predictions.
    """
    random = np.random.default_rng(1)
    layers = extras.keras().layers

    def compute(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if operation.name == "logits":
            features = np.asarray(args[0])
            centred = features - features.mean(0)
            kernel = random.normal(size=(features.shape[1], CLASSES))
            kernel *= 2 / (centred @ kernel).std()
            operation.set_weights([kernel, -features.mean(0) @ kernel])
        elif head_only:
            pass
        elif isinstance(operation, layers.BatchNormalization):
            values = np.asarray(args[0])
            mean, variance = values.mean((0, 1, 2)), values.var((0, 1, 2)) + 1e-3
            count = len(mean)
            gamma, beta = random.uniform(0.6, 1.6, count), random.normal(shift, 0.3, count)
            scale = [gamma] if operation.scale else []
            operation.set_weights([*scale, beta, mean, variance * random.uniform(0.7, 1.4, count)])
        elif isinstance(operation, layers.DepthwiseConv2D):
            # Use smooth filters, like most trained ones: random filters are high-pass and amplify rounding noise.
            operation.set_weights([np.abs(array) for array in operation.get_weights()])
        return operation(*args, **kwargs)

    walk(model, pixels.astype(np.float32), compute)


@cache
def pretrained() -> Any:
    """Return MobileNetV2 at 96 px with the embedded weights and a random head that spreads the predictions."""
    from edgetl.backbones import build_base, resolve_weights

    layers = extras.keras().layers
    weights = resolve_weights("mobilenet_v2", width=1.0, request="auto")
    base = build_base("mobilenet_v2", size=square(SIZE), width=1.0, weights=weights)
    features = extras.keras().Model(base.input, layers.GlobalAveragePooling2D(name="pool")(base.output))
    found = predictions(features, photos(32, first_seed=900))
    kernel = np.random.default_rng(1).normal(size=(found.shape[1], CLASSES))
    kernel *= 2 / ((found - found.mean(0)) @ kernel).std()
    logits = layers.Dense(CLASSES, name="logits")
    model = extras.keras().Model(base.input, layers.Softmax(name="probabilities")(logits(features.output)))
    logits.set_weights([kernel, -found.mean(0) @ kernel])
    return model


def predictions(model: Any, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the Keras model's probabilities, float32 [n, classes]."""
    return np.asarray(model(pixels.astype(np.float32), training=False))


def run(data: bytes, format: str, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return an exported model's probabilities, float32 [n, classes], from the device package's own runtime."""
    from edgetl_device.runtime import open_runtime

    runtime = open_runtime(data, format)
    found = []
    for photo in pixels:
        runtime.set_input(photo)
        runtime.invoke()
        found.append(runtime.probabilities())
    runtime.close()
    return np.stack(found)
