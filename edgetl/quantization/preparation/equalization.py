"""Cross-layer equalization: channels of a residual stream, which share one int8 scale, get similar ranges.

After Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv:1906.04721),
section 4.1, with ranges of activations in place of weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgetl._lib import extras
from edgetl.quantization.preparation.graph import Keras, kind, rebuild, steps, walk

# With 1 all ranges would be equal, but the readers' weights would lose more precision than the stream gains.
_POWER = 0.75
_MAX_FACTOR = 64.0
_MAX_PHOTOS = 64
_BATCH = 16


@dataclass(frozen=True)
class Stream:
    """Tensors that share one scale per channel: outputs of 1 x 1 convolutions and their sums.

    Attributes:
        writers: Convolutions that write to the stream.
        readers: Convolutions that read from it.
        names: All operations whose output is in the stream.
    """

    writers: tuple[Keras, ...]
    readers: tuple[Keras, ...]
    names: tuple[str, ...]


def equalize_cross_layer(folded: Keras, pixels: npt.NDArray[np.uint8]) -> Keras:
    """Return an equivalent copy of ``folded`` with the channels of its linear streams scaled to similar ranges.

    A linear stream is written by convolutions without activation, summed by Add and read by convolutions only, as are
    the bottlenecks of MobileNetV2. Its channel c is multiplied by s[c] in the writers and divided by s[c] in the
    readers. s[c] is (largest range of a channel / range of c) ** 0.75, at most 64; a range is the largest absolute
    value over the photos.

    Args:
        folded: A flat functional model without BatchNormalization.
        pixels: Calibration photos, uint8 [n, H, W, C]; at most 64, evenly spaced, are used.
    """
    streams = tuple(linear_streams(folded))
    ranges = _ranges(folded, pixels, {name for stream in streams for name in stream.names})
    weights: dict[str, list[npt.NDArray[np.float32]]] = {}

    def of(layer: Keras) -> list[npt.NDArray[np.float32]]:
        return weights.setdefault(layer.name, [array.copy() for array in layer.get_weights()])

    for stream in streams:
        widest = np.max([ranges[name] for name in stream.names], axis=0)
        # Channels that are always 0 are not scaled.
        largest = widest.max() or 1.0
        ratio = largest / np.where(widest > 0, widest, largest)
        factor = np.minimum(ratio**_POWER, _MAX_FACTOR).astype(np.float32)
        for layer in stream.writers:
            for array in of(layer):
                array *= factor
        for layer in stream.readers:
            of(layer)[0][...] /= factor[:, None]
    return rebuild(folded, weights)


def linear_streams(model: Keras) -> Iterator[Stream]:
    """Yield the linear streams (see :func:`equalize_cross_layer`) of a model without BatchNorm."""
    order = steps(model)
    writer = {id(node.outputs[0]): node for node in order}
    readers: dict[int, list[Keras]] = {}
    stream_of: dict[int, set[int]] = {}
    for node in order:
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node)
        if kind(node.operation) in ("Conv2D", "Add"):
            mine = {id(node.outputs[0])}
            if kind(node.operation) == "Add":
                mine.update(*(stream_of.get(id(tensor), {id(tensor)}) for tensor in node.input_tensors))
            for tensor_id in mine:
                stream_of[tensor_id] = mine
    for stream in {id(group): group for group in stream_of.values()}.values():
        writing = [writer.get(tensor_id) for tensor_id in stream]
        reading = [node for tensor_id in stream for node in readers.get(tensor_id, []) if kind(node.operation) != "Add"]
        sources = [node for node in writing if node is not None and kind(node.operation) != "Add"]
        ends_here = any(tensor_id == id(output) for tensor_id in stream for output in model.outputs)
        if None in writing or ends_here or not reading:
            continue
        if all(_is_linear_conv(node) for node in sources) and all(_is_plain_conv(node) for node in reading):
            yield Stream(
                tuple(node.operation for node in sources),
                tuple({node.operation.name: node.operation for node in reading}.values()),
                tuple(node.operation.name for node in writing if node is not None),
            )


def _is_plain_conv(node: Keras) -> bool:
    return kind(node.operation) == "Conv2D" and node.operation.groups == 1


def _is_linear_conv(node: Keras) -> bool:
    return _is_plain_conv(node) and node.operation.activation is extras.keras().activations.linear


def _ranges(model: Keras, pixels: npt.NDArray[np.uint8], names: set[str]) -> dict[str, npt.NDArray[np.float32]]:
    """Return the largest absolute value over the photos of each output channel of the named operations."""
    found: dict[str, npt.NDArray[np.float32]] = {}

    def compute(operation: Keras, args: tuple[Keras, ...], kwargs: dict[str, Keras]) -> Keras:
        output = operation(*args, **kwargs)
        if operation.name in names:
            largest = np.abs(np.asarray(output)).max(axis=(0, 1, 2))
            found[operation.name] = np.maximum(largest, found.get(operation.name, 0))
        return output

    chosen = pixels[np.linspace(0, len(pixels) - 1, min(_MAX_PHOTOS, len(pixels))).round().astype(int)]
    for start in range(0, len(chosen), _BATCH):
        walk(model, chosen[start : start + _BATCH].astype(np.float32), compute)
    return found
