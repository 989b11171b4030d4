"""Set a backbone's variables from the arrays of a weights file, and report what was set and what was not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetl._lib.progress import note
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.errors import InputError

from .blocks import blocks
from .formats import Arrays, canonical, read_arrays, read_places
from .registry import backbone
from .spec import NUMBERED, SCALE_LAYER
from .weights import ResolvedWeights

Shapes = dict[str, tuple[int, ...]]

_SHOWN = 4
_OTHER_WEIGHTS = "Give weights of the same backbone and width, or --weights none."


@dataclass(frozen=True)
class LayerMatch:
    """The arrays of a weights file for one layer of a backbone.

    Attributes:
        layer: The layer's name.
        wanted: Shapes of its variables.
        found: Shapes of the file's arrays for it; None if the file has none.
    """

    layer: str
    wanted: Shapes
    found: Shapes | None

    @property
    def status(self) -> str:
        """``set``, ``missing`` or ``other shape``."""
        if self.found is None:
            return "missing"
        return "set" if self.found == self.wanted else "other shape"


@dataclass(frozen=True)
class Matching:
    """A weights file matched with a backbone, layer by layer.

    Attributes:
        layers: Every layer of the backbone that has variables, in graph order.
        unused: Layers of the file that match no layer: its top, or layers around the backbone.
        strangers: Layers in ``unused`` that belong to blocks of this family that this backbone lacks.
    """

    layers: tuple[LayerMatch, ...]
    unused: tuple[str, ...]
    strangers: tuple[str, ...]

    def of(self, status: str) -> tuple[LayerMatch, ...]:
        """Return the layers with this status."""
        return tuple(layer for layer in self.layers if layer.status == status)


def load_into(base: Any, weights: ResolvedWeights, *, whole: bool = False) -> Matching:
    """Set the variables of ``base`` from the file, and return what was set and what was not.

    Arrays are matched by layer name. Keras' own files (``keras-cache``, ``keras-download``) are matched by the order of
    their layers, as Keras reads them, because old ones use other names. Layers of the file that belong to no block of
    this family (its top, layers around the backbone) are ignored.

    Unless ``whole`` is set, the user's file may end early: if it has every layer up to some point, at least the first
    block, and none after it, the rest keeps its random weights, and a line on stderr says so.

    Raises:
        InputError: The file changed since it was resolved, cannot be read, has arrays of other shapes, lacks layers in
            between, or has blocks that the base lacks. The base is then unchanged.
    """
    matching, values = _match(base, weights)
    _check(matching, base, weights, whole)
    for layer in base.layers:
        if layer.name in values:
            layer.set_weights(values[layer.name])
    if matching.of("missing"):
        _report_partial(matching, base, str(weights.path))
    return matching


def match(base: Any, weights: ResolvedWeights) -> Matching:
    """Return what the file has for each layer of ``base``, without changing it.

    Raises:
        InputError: The file changed since it was resolved, or cannot be read.
    """
    return _match(base, weights)[0]


def _match(base: Any, weights: ResolvedWeights) -> tuple[Matching, dict[str, list[np.ndarray]]]:
    assert weights.path is not None
    name = str(weights.path)
    data = weights.path.read_bytes()
    if sha256_bytes(data) != weights.sha256:
        raise InputError(f"{name}: changed while edgetl was reading it", hint="Run the command again.")
    arrays = read_places(data, weights.places) if weights.places else read_arrays(data, name)
    # The registry decides the scaling; the file's is ignored.
    wanted = {canonical(layer.name): layer for layer in base.layers if layer.weights and layer.name != SCALE_LAYER}
    arrays.pop(SCALE_LAYER, None)
    if weights.source.startswith("keras-") and len(wanted) == len(arrays):
        arrays = dict(zip(wanted, arrays.values(), strict=True))
    else:
        arrays = _number_from_one(arrays, wanted)
    layers = []
    values: dict[str, list[np.ndarray]] = {}
    for key, layer in wanted.items():
        shapes = {variable.name: tuple(variable.shape) for variable in layer.weights}
        if key not in arrays:
            layers.append(LayerMatch(layer.name, shapes, None))
            continue
        found = {
            variable: _for_one_channel(value, shapes.get(variable, ()))
            for variable, value in _in_order(layer, arrays[key])
        }
        values[layer.name] = list(found.values())
        layers.append(LayerMatch(layer.name, shapes, {variable: value.shape for variable, value in found.items()}))
    unused = tuple(key for key in arrays if key not in wanted)
    pattern = backbone(base.name).block_pattern
    return Matching(tuple(layers), unused, tuple(key for key in unused if pattern.match(key))), values


def _for_one_channel(value: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray:
    """Return the stem's kernel for RGB as one for a single channel, if that is wanted: the sum over its channels.

    One factor and offset scale all channels alike, so a grey photo gives what its three equal channels give, padding
    included. Where each channel has its own, the layer ``scale`` makes three of one, and the stem stays as it is.
    """
    if value.ndim == 4 and value.shape[2] == 3 and wanted == (*value.shape[:2], 1, value.shape[3]):
        return np.asarray(value.sum(axis=2, keepdims=True, dtype=np.float64), value.dtype)
    return value


def _number_from_one(arrays: Arrays, wanted: dict[str, Any]) -> Arrays:
    """Renumber the file's auto-named layers from 1, where the backbone has such layers (Inception).

    The process that wrote the file may have built other models first: its conv2d_94 to conv2d_187 become conv2d_1 to
    conv2d_94.
    """
    kinds = {found[1] for key in wanted if (found := NUMBERED.fullmatch(key))}
    numbers = {key: found for key in arrays if (found := NUMBERED.fullmatch(key)) and found[1] in kinds}
    order = sorted(numbers, key=lambda key: int(numbers[key][2] or 0))
    renamed: dict[str, str] = {}
    for kind in kinds:
        for place, key in enumerate((key for key in order if numbers[key][1] == kind), 1):
            renamed[key] = f"{kind}_{place}"
    return {renamed.get(key, key): found for key, found in arrays.items()}


def _in_order(layer: Any, found: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the file's arrays for a layer: those of its variables in their order, then any others."""
    left = dict(found)
    for index, variable in enumerate(layer.weights):
        for name in (variable.name, variable.name.removeprefix("depthwise_"), str(index)):
            if name in left:
                yield variable.name, left.pop(name)
                break
    yield from left.items()


def _check(matching: Matching, base: Any, weights: ResolvedWeights, whole: bool) -> None:
    mismatch = f"{weights.path}: does not fit this backbone"
    missing = [layer.layer for layer in matching.of("missing")]
    if missing and (whole or weights.source != "file" or not _ends_early(matching, base)):
        raise InputError(
            mismatch,
            why=f"it has no arrays for {len(missing)} of {len(matching.layers)} layers: {_some(missing)}",
            hint=_OTHER_WEIGHTS,
        )
    if matching.strangers:
        count = len(matching.strangers)
        raise InputError(
            mismatch,
            why=f"it has {count} layers of blocks that {base.name} does not have: {_some(list(matching.strangers))}",
            hint=_OTHER_WEIGHTS,
        )
    if wrong := matching.of("other shape"):
        first = wrong[0]
        assert first.found is not None
        more = f" (and {len(wrong) - 1} more layers)" if len(wrong) > 1 else ""
        raise InputError(
            mismatch, why=f"layer {first.layer}: {_difference(first.wanted, first.found)}{more}", hint=_OTHER_WEIGHTS
        )


def _ends_early(matching: Matching, base: Any) -> bool:
    """Whether the file has all layers up to some point, at least the first block, and none after it."""
    first = next(place for place, layer in enumerate(matching.layers) if layer.found is None)
    if any(layer.found is not None for layer in matching.layers[first:]):
        return False
    order = [operation.name for operation in base.operations]
    return order.index(matching.layers[first].layer) > order.index(blocks(base.name, base)[0].last_layer)


def _difference(wanted: Shapes, found: Shapes) -> str:
    for variable in [*wanted, *found]:
        if wanted.get(variable) != found.get(variable):
            return f"{variable} has shape {found.get(variable)}, expected {wanted.get(variable)}"
    raise AssertionError("the shapes agree")


def _report_partial(matching: Matching, base: Any, path: str) -> None:
    first = matching.of("missing")[0].layer
    order = [operation.name for operation in base.operations]
    ends = [order.index(block.last_layer) for block in blocks(base.name, base)]
    # Layers after the last block are trained whenever any block is.
    random_blocks = max(1, sum(end >= order.index(first) for end in ends))
    note(
        f"{path}: sets {len(matching.of('set'))} of {len(matching.layers)} layers; from {first} on weights are random: "
        f"--trainable-blocks {random_blocks} or more trains them"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def status_lines(matching: Matching) -> Iterator[tuple[str, str, str, str]]:
    """Yield layer, status, expected shapes and found shapes of every layer; unused ones come last."""
    for layer in matching.layers:
        found = "" if layer.found is None else _shapes(layer.found)
        yield layer.layer, layer.status, _shapes(layer.wanted), found
    for name in matching.unused:
        yield name, "unused", "", ""


def _shapes(shapes: Shapes) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes.values())
