"""Small bases for every row of the registry, and imports of scripts outside the package. For tests."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import lively
import numpy as np
import numpy.typing as npt
import pytest

from edgetl._lib.extras import keras
from edgetl.backbones import BACKBONES, ResolvedWeights, build_base
from edgetl_device._lib.files import sha256_file
from edgetl_device.input_size import square

NONE = ResolvedWeights("none", None, None, "none")
SIZE = lively.SMALL
# Each takes a second or more to build, and several to convert.
LARGE = (
    "efficientnet_lite1",
    "efficientnet_lite2",
    "resnet50",
    "densenet121",
    "vgg16",
    "vgg19",
    "inception_v3",
    "nasnet_mobile",
)
MOBILE = tuple(name for name in BACKBONES if name not in LARGE)


def some(*names: str) -> list[Any]:
    """Return all backbones as parameters of a test; those not named are marked slow."""
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES]


def narrow(name: str, size: int = SIZE, weights: ResolvedWeights = NONE) -> Any:
    """Build the narrowest base of a row."""
    return build_base(name, size=square(size), width=BACKBONES[name].widths[0], weights=weights)


@functools.cache
def untouched(name: str) -> Any:
    """Return a base, one per process, for tests that only read it."""
    model = lively.small(name)
    return keras().Model(model.input, model.get_layer("pool").input, name=name)


@contextmanager
def borrowed(name: str) -> Iterator[Any]:
    """Lend that base to a test that changes its weights; restore them afterwards."""
    base = untouched(name)
    before = base.get_weights()
    try:
        yield base
    finally:
        base.set_weights(before)


def photo(size: int = SIZE) -> npt.NDArray[np.float32]:
    """Return random pixels, float32 [1, size, size, 3]."""
    return np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.float32)


def load_script(path: Path) -> Any:
    """Import a script by its path."""
    # Dataclasses look up their module by name.
    name = f"{path.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def from_file(path: Path) -> ResolvedWeights:
    """Resolve a user's weights file, whatever its name."""
    return ResolvedWeights("file", path, sha256_file(path), "")


def randomize(base: Any, seed: int = 1) -> None:
    """Set every variable except the scaling to distinct values."""
    random = np.random.default_rng(seed)
    for layer in base.layers:
        if layer.weights and layer.name != "scale":
            layer.set_weights([random.uniform(0.1, 1, value.shape).astype(np.float32) for value in layer.get_weights()])


def assert_same(ours: Any, theirs: Any) -> None:
    """Check that two bases have the same weights."""
    for one, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def write_keras_2_file(path: Path, base: Any, rename: Callable[[str], str]) -> None:
    """Write ``base`` in the layout of Keras 2, under other layer names and without our scaling."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        layers = [(rename(layer.name), layer) for layer in base.layers if layer.name != "scale"]
        file.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for name, layer in layers:
            group = file.create_group(name)
            depthwise = type(layer).__name__ == "DepthwiseConv2D"
            names = [f"{name}/{'depthwise_' if depthwise else ''}{variable.name}:0" for variable in layer.weights]
            group.attrs["weight_names"] = [one.encode() for one in names]
            for one, value in zip(names, layer.get_weights(), strict=True):
                group[one] = value
