"""Build a backbone as one flat Keras graph that takes raw pixels."""

from __future__ import annotations

from typing import Any

from edgetl._lib.extras import keras
from edgetl_device.input_size import InputSize

from .registry import backbone
from .spec import NUMBERED, SCALE_LAYER, Scaling
from .weights import ResolvedWeights

INPUT_LAYER = "pixels"


def build_base(name: str, *, size: InputSize, width: float, weights: ResolvedWeights) -> Any:
    """Build a backbone without top.

    The result is a flat functional ``keras.Model``: input ``pixels`` (float32 [None, H, W, C], raw RGB or grey 0..255),
    one layer ``scale``, then the backbone's layers. Its output is the last feature map, float32 [None, h, w, c]. Layer
    names depend on the backbone alone, not on models built earlier in the process. ``scale`` is a Rescaling where
    one factor and offset serve all channels, else a 1x1 Conv2D that is not trainable.

    Args:
        name: A name in :data:`~edgetl.backbones.BACKBONES`.
        size: Height, width and channels of the input.
        width: Width multiplier.
        weights: From :func:`~edgetl.backbones.resolve_weights`; source ``none`` leaves the random initial weights.

    Raises:
        InputError: Unknown backbone, width or size, or a weights file that does not fit it.
    """
    base = _build(name, size, width, top=False)
    if weights.source != "none":
        # It loads NumPy, which the command line does not need to list names.
        from .arrays import load_into

        load_into(base, weights)
    return base


def build_classifier(name: str, *, size: InputSize, width: float, weights: ResolvedWeights) -> Any:
    """Build a backbone with its original classifier of the 1000 ImageNet classes.

    The graph is that of :func:`build_base` plus the top. Its output is probabilities, float32 [None, 1000], in Keras'
    class order, which is that of the WordNet numbers.

    Args:
        name: A name in :data:`~edgetl.backbones.BACKBONES`.
        size: Height, width and channels of the input.
        width: Width multiplier.
        weights: From ``resolve_weights(..., top=True)``.

    Raises:
        InputError: Unknown backbone, width or size, a backbone without such a classifier, or a file that does not fit
            or has no top.
    """
    from .arrays import load_into

    model = _build(name, size, width, top=True)
    load_into(model, weights, whole=True)
    return model


def _build(name: str, size: InputSize, width: float, *, top: bool) -> Any:
    row = backbone(name)
    row.check(width=width, size=size)
    pixels = keras().layers.Input(size.shape, name=INPUT_LAYER)
    built = row.build(scale_pixels(pixels, row.scale), width, top=top)
    _number_from_one(built)
    return keras().Model(pixels, built.output, name=name)


def scale_pixels(pixels: Any, scale: Scaling) -> Any:
    """Add the layer ``scale`` to raw pixels, a Keras tensor [None, H, W, C]."""
    import numpy as np

    layers = keras().layers
    if len(scale.factor) == 1 and scale.channels == "RGB":
        return layers.Rescaling(scale.factor[0], scale.offset[0], name=SCALE_LAYER)(pixels)
    # One convolution is one operation on any device, per-channel scales included; reversing channels is not. Its int8
    # weights are exact: each output channel has a scale of its own and one weight that is not zero.
    layer = layers.Conv2D(3, 1, trainable=False, name=SCALE_LAYER)
    scaled = layer(pixels)
    kernel = np.zeros((1, 1, pixels.shape[-1], 3), np.float32)
    factors, offsets = (np.broadcast_to(np.array(part, np.float32), 3) for part in (scale.factor, scale.offset))
    for place, channel in enumerate(scale.channels):
        kernel[0, 0, "RGB".index(channel) if pixels.shape[-1] == 3 else 0, place] = factors[place]
    layer.set_weights([kernel, offsets])
    return scaled


def _number_from_one(model: Any) -> None:
    """Number auto-named layers within the model, from 1: conv2d_1 is its first Conv2D."""
    made: dict[str, list[tuple[int, Any]]] = {}
    for operation in model.operations:
        if match := NUMBERED.fullmatch(operation.name):
            made.setdefault(match[1], []).append((int(match[2] or 0), operation))
    for kind, found in made.items():
        for place, (_, operation) in enumerate(sorted(found, key=lambda item: item[0]), 1):
            operation.name = f"{kind}_{place}"
