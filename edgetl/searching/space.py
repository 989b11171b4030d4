"""The networks of a search: backbones with weights at hand, their widths, input sizes and depths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from edgetl._lib.interrupts import uninterrupted
from edgetl.advice.depths import Depth, depths_of
from edgetl.backbones import BACKBONES, ResolvedWeights, backbone, build_base
from edgetl.backbones.facts import weights_here
from edgetl.backbones.truncate import truncate
from edgetl.training.network import build_network
from edgetl_device.errors import InputError
from edgetl_device.input_size import square

RANDOM = ResolvedWeights("none", None, None, "none")
_AT_HAND = ("embedded", "package", "keras-cache")
# Networks that end before half of their blocks have features of edges and textures only.
_SHORTEST = 0.5


@dataclass(frozen=True)
class Architecture:
    """A network, whatever its weights.

    Attributes:
        backbone: Name of the backbone.
        width: Its width multiplier.
        size: Input height and width in pixels.
        truncate: Name of the last block that is kept; None keeps the whole backbone.
        blocks: Number of blocks that are kept.
        int8_bytes: Estimated size of the int8 file.
        multiply_adds: Multiply-adds per photo.
    """

    backbone: str
    width: float
    size: int
    truncate: str | None
    blocks: int
    int8_bytes: int
    multiply_adds: int

    @property
    def name(self) -> str:
        """Its name in messages and in the store: ``mobilenet_v2 at 160 px up to block_12``."""
        width = "" if self.width == 1 else f" {self.width:g}"
        return f"{self.backbone}{width} at {self.size} px" + (f" up to {self.truncate}" if self.truncate else "")

    def network(self, *, classes: int) -> Any:
        """Return it with random weights, a keras.Model from raw pixels to probabilities."""
        return _network(self, classes)

    def within(self, other: Architecture) -> bool:
        """Whether it is a part of ``other``, with an input that is not larger: it takes no longer."""
        same = (self.backbone, self.width) == (other.backbone, other.width)
        return same and self.size <= other.size and self.blocks <= other.blocks


@uninterrupted()
def _network(architecture: Architecture, classes: int) -> Any:
    size = square(architecture.size)
    base = build_base(architecture.backbone, size=size, width=architecture.width, weights=RANDOM)
    if architecture.truncate is not None:
        base = truncate(architecture.backbone, base, architecture.truncate)
    network = build_network(base, classes=classes, dropout=0.0)
    # Biases that are all 0, as initial ones are, would share one buffer of the file, and make it some percent smaller.
    random = np.random.default_rng(0)
    for weight in network.weights:
        if len(weight.shape) == 1:
            weight.assign(weight.numpy() + random.uniform(-0.1, 0.1, weight.shape))
    return network


def networks_at_hand(names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Return the backbones and widths whose ImageNet weights are on this machine, in the order of the registry.

    Args:
        names: Only these; all if empty.

    Raises:
        InputError: A name is unknown, or the weights of a named one are not on this machine.
    """
    for name in names:
        backbone(name)
    found = tuple(
        (row.name, width)
        for row in BACKBONES.values()
        for width in row.widths
        if (not names or row.name in names) and weights_here(row.name, width).source in _AT_HAND
    )
    for name in names:
        if name not in (one for one, _ in found):
            raise InputError(
                f"the weights of {name} are not on this machine",
                why="a search downloads none",
                hint=f"edgetl models {name} says where they come from.",
            )
    return found


def architectures(
    networks: Sequence[tuple[str, float]], sizes: Sequence[int], *, depths: int, classes: int
) -> tuple[Architecture, ...]:
    """Return all networks of a space, of each backbone the cheapest first.

    Args:
        networks: Backbones and widths.
        sizes: Input sizes in pixels; those too small for a backbone are left out.
        depths: Number of shorter networks of each backbone, between half of its blocks and all.
        classes: Number of classes.

    Raises:
        InputError: No backbone takes any of the sizes.
    """
    found = []
    for (name, width), size in product(networks, sorted(sizes)):
        if size < BACKBONES[name].min_size:
            continue
        found += [
            Architecture(name, width, size, one.block, one.blocks, one.int8_bytes, one.multiply_adds)
            for one in chosen_depths(name, width, size, classes, depths)
        ]
    if not found:
        raise InputError(f"no backbone takes inputs of {', '.join(map(str, sizes))} px")
    return tuple(sorted(found, key=lambda one: (one.backbone, one.width, one.multiply_adds)))


@lru_cache(maxsize=256)
@uninterrupted()
def chosen_depths(name: str, width: float, size: int, classes: int, count: int) -> tuple[Depth, ...]:
    """Return the whole base and up to ``count`` shorter ones, evenly spaced, the shortest first."""
    total = BACKBONES[name].block_count
    kept = {round(total * (_SHORTEST + (1 - _SHORTEST) * place / (count + 1))) for place in range(1, count + 1)}
    base = build_base(name, size=square(size), width=width, weights=RANDOM)
    return depths_of(name, base, classes=classes, kept=kept)
