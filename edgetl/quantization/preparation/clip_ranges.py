"""Clip the ranges of linear streams: saturating rare outliers gives all other values finer steps.

A linear bottleneck has no bound such as ReLU6's. In MobileNetV2 the largest value over a hundred photos is five to
fourteen standard deviations from the mean, and a min-max range wastes resolution on it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl.quantization.preparation.equalization import linear_streams
from edgetl.quantization.preparation.graph import Keras, steps, walk

Range = tuple[float, float]

_SHARES = np.arange(1.0, 0.45, -0.05)
_BINS = 4096
_BATCH = 16
_STEPS = 255
_KEPT_BYTES = 512 << 20


def clip_ranges(model: Keras, pixels: npt.NDArray[np.uint8]) -> dict[str, Range]:
    """Return the clipped range (min, max) of every operation that writes into a linear stream.

    Candidates are fractions 1, 0.95 .. 0.5 of the min-max range; the one with the least mean squared error is taken.
    The error of a value is step ** 2 / 12 inside the range, and the squared distance to its limit outside. After Nagel
    et al. 2021, "A White Paper on Neural Network Quantization" (arXiv:2106.08295), section 3.1.

    Args:
        model: A flat functional model without BatchNormalization.
        pixels: Calibration photos, uint8 [n, H, W, C].
    """
    names = {name for stream in linear_streams(model) for name in stream.names}
    ranges = dict.fromkeys(names, (0.0, 0.0))
    counts = {name: np.zeros(_BINS, np.int64) for name in names}

    def widen(name: str, values: npt.NDArray[np.float32]) -> None:
        low, high = ranges[name]
        ranges[name] = min(low, float(values.min())), max(high, float(values.max()))

    def count(name: str, values: npt.NDArray[np.float32]) -> None:
        counts[name] += np.histogram(values, _BINS, ranges[name])[0]

    # Running the model takes most of the time: once, if what is to be counted fits into memory.
    kept: list[tuple[str, npt.NDArray[np.float32]]] = []
    bytes_each = sum(4 * math.prod(node.outputs[0].shape[1:]) for node in steps(model) if node.operation.name in names)
    keep = bytes_each * len(pixels) <= _KEPT_BYTES

    for look in (widen,) if keep else (widen, count):

        def compute(operation: Keras, args: tuple[Any, ...], kwargs: dict[str, Any], look: Any = look) -> Any:
            output = operation(*args, **kwargs)
            if operation.name in names:
                values = np.asarray(output)
                look(operation.name, values)
                if keep:
                    kept.append((operation.name, values))
            return output

        for start in range(0, len(pixels) if names else 0, _BATCH):
            walk(model, pixels[start : start + _BATCH].astype(np.float32), compute)
    for name, values in kept:
        count(name, values)
    return {name: _least_error(ranges[name], counts[name]) for name in sorted(names)}


def _least_error(whole: Range, counts: npt.NDArray[np.int64]) -> Range:
    edges = np.linspace(*whole, _BINS + 1)
    values = (edges[1:] + edges[:-1]) / 2

    def error(share: float) -> float:
        low, high = whole[0] * share, whole[1] * share
        outside = np.maximum(values - high, 0) + np.maximum(low - values, 0)
        squares = np.where(outside > 0, outside**2, ((high - low) / _STEPS) ** 2 / 12)
        return float(counts @ squares)

    best = min(_SHARES, key=error)
    return float(whole[0] * best), float(whole[1] * best)
