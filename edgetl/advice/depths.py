"""Where a base can be truncated, and the cost of the remaining network: parameters, multiply-adds, bytes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from edgetl._lib.extras import keras
from edgetl.backbones import blocks
from edgetl.backbones.cost import int8_bytes_estimate, multiply_adds


@dataclass(frozen=True)
class Depth:
    """A base truncated at one of its layers.

    Attributes:
        block: Name of the last kept block, as ``--truncate`` takes it; None for the whole base.
        blocks: Number of kept blocks.
        layer: The layer whose output is pooled.
        channels: Width of the pooled features.
        parameters: Number of weights up to there, including BatchNorm statistics and the head.
        multiply_adds: Multiply-adds per photo, including the head.
        int8_bytes: Estimated size of its int8 TFLite file, with the head.
    """

    block: str | None
    blocks: int
    layer: str
    channels: int
    parameters: int
    multiply_adds: int
    int8_bytes: int


def depths_of(name: str, base: Any, *, classes: int, kept: Collection[int] | None = None) -> tuple[Depth, ...]:
    """Return all depths at which a base can be truncated, from input to output; the last is the whole base.

    Args:
        name: Name of the backbone.
        base: From :func:`~edgetl.backbones.build_base`.
        classes: Number of classes of the head.
        kept: Only truncations that keep so many blocks, and the whole base; None for all.
    """
    found = blocks(name, base)
    ends: list[tuple[str | None, int, str]] = [(one.name, place, one.last_layer) for place, one in enumerate(found, 1)]
    last = base.output._keras_history.operation.name
    # The last block may be followed by one more convolution.
    if ends and ends[-1][2] == last:
        ends.pop()
    ends.append((None, len(found), last))
    return tuple(
        _depth(base, block, count, layer, classes)
        for block, count, layer in ends
        if block is None or kept is None or count in kept
    )


def _depth(base: Any, block: str | None, kept: int, layer: str, classes: int) -> Depth:
    cut = keras().Model(base.input, base.get_layer(layer).output)
    channels = int(cut.output.shape[-1])
    return Depth(
        block=block,
        blocks=kept,
        layer=layer,
        channels=channels,
        parameters=int(cut.count_params()) + (channels + 1) * classes,
        multiply_adds=multiply_adds(cut) + channels * classes,
        int8_bytes=int8_bytes_estimate(cut, classes=classes),
    )
