"""Bases of every row of the registry, small and without pretrained weights. For tests."""

from __future__ import annotations

import functools
from typing import Any

import lively
import numpy as np
import numpy.typing as npt

from edgetl.backbones import BACKBONES, ResolvedWeights, build_base
from edgetl.extras import keras

NONE = ResolvedWeights("none", None, None, "none")
SIZE = lively.SMALL
# Each takes a second or more to build, and several to convert.
LARGE = ("resnet50", "densenet121", "vgg16", "vgg19", "inception_v3", "nasnet_mobile")
MOBILE = tuple(name for name in BACKBONES if name not in LARGE)


def narrow(name: str, size: int = SIZE, weights: ResolvedWeights = NONE) -> Any:
    """Build the narrowest base of a row."""
    return build_base(name, size=size, width=BACKBONES[name].widths[0], weights=weights)


@functools.cache
def untouched(name: str) -> Any:
    """Return one base a process for all tests that only look at it, or leave its graph and shapes as they are."""
    model = lively.small(name)
    return keras().Model(model.input, model.get_layer("pool").input, name=name)


def photo(size: int = SIZE) -> npt.NDArray[np.float32]:
    """Return random pixels, float32 [1, size, size, 3]."""
    return np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.float32)
