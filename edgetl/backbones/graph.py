"""Build a backbone as one flat Keras graph that eats raw pixels, and say where its blocks end.

Not for: heads and training.
"""

from __future__ import annotations

import re
from typing import Any

from .registry import Block, backbone
from .weights import ResolvedWeights

INPUT_LAYER = "pixels"
SCALE_LAYER = "scale"

# Keras numbers these by how many it has made in this process: re_lu_7, activation_3, add_12, multiply_4.
_NUMBERED = re.compile(r"(?:re_lu|activation|add|multiply)(?:_\d+)?")


def build_base(name: str, *, size: int, width: float, weights: ResolvedWeights) -> Any:
    """Build a backbone without top.

    The result is a flat functional ``keras.Model``: input ``pixels`` (float32 [None, size, size, 3], raw RGB 0..255),
    one Rescaling layer ``scale``, then the backbone's layers. Its output is the last feature map, float32
    [None, h, w, c]. Layer names depend on the backbone alone, not on what was built before in the same process.

    Args:
        name: A name in :data:`~edgetl.backbones.BACKBONES`.
        size: Input height and width in pixels.
        width: Width multiplier.
        weights: From :func:`~edgetl.backbones.resolve_weights`; source ``none`` leaves the random initial weights.

    Raises:
        InputError: Unknown backbone, width or size, or a weights file that does not fit it.
    """
    from edgetl.extras import keras

    row = backbone(name)
    row.check(width=width, size=size)
    layers = keras().layers
    pixels = layers.Input((size, size, 3), name=INPUT_LAYER)
    factor, offset = row.scale
    scaled = layers.Rescaling(factor, offset, name=SCALE_LAYER)(pixels)
    built = row.build(scaled, size, width)
    _name_by_place(built)
    base = keras().Model(pixels, built.output, name=name)
    if weights.source != "none":
        from .arrays import load_into

        load_into(base, weights)
    return base


def blocks(name: str, base: Any) -> tuple[Block, ...]:
    """Return the blocks of a base made by :func:`build_base`, from the input to the output.

    A block ends at the last of its layers in graph order: the residual Add where there is one, else the BatchNorm of
    its projection (V2, V3) or the ReLU of its pointwise convolution (V1). What comes before the first block (``scale``
    and the stem) belongs to no block; nor does what follows the last one (``Conv_1`` of V2, ``conv_1`` of V3): that is
    trained together with the head as soon as any block is.
    """
    pattern = backbone(name).block_pattern
    last: dict[int, str] = {}
    for operation in base.operations:
        if match := pattern.match(operation.name):
            last[int(match[1] or 0)] = operation.name
    return tuple(Block(f"block_{number}", layer) for number, layer in sorted(last.items()))


def _name_by_place(model: Any) -> None:
    """Name automatically numbered layers after the layer that feeds them (MobileNetV3 has some)."""
    for operation in model.operations:
        if _NUMBERED.fullmatch(operation.name):
            kind = re.sub(r"_\d+$", "", operation.name)
            feeding = operation.input[0] if isinstance(operation.input, list) else operation.input
            operation.name = f"{feeding._keras_history.operation.name}_{kind}"
