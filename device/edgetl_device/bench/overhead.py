"""Overhead of the bench: the same loop around a null runtime.

MLPerf's reference implementation has a null backend for the same purpose (``vision/classification_and_detection``,
``backend_null.py``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgetl_device._lib.documents import Milliseconds, Positive, Unknown, named
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Prediction, ranked
from edgetl_device.runtime import Probabilities, Runtime, open_runtime

from .latency import Stopwatch, summary_ms
from .percentiles import Percentiles

INFERENCES = 100


@dataclass(frozen=True)
class Cost:
    """Nearest-rank percentiles, in milliseconds.

    Attributes:
        p50_ms: The median.
        p90_ms: The 90th percentile.
    """

    p50_ms: Milliseconds = named("p50")
    p90_ms: Milliseconds = named("p90")


@dataclass(frozen=True)
class OverheadLatency:
    """Overhead by stage.

    Attributes:
        invoke: Copying the pixels in, calls, reading the clock; included in the ``invoke`` of every run.
        postprocess: Probabilities, top 5.
    """

    invoke: Cost
    postprocess: Cost


@dataclass(frozen=True)
class Overhead:
    """Overhead of the bench, measured with the null runtime. It is not subtracted from any time.

    Attributes:
        runtime: The null runtime.
        inferences: Number of measured inferences.
        latency_ms: Latency of one inference with one photo.
    """

    runtime: Literal["null"]
    inferences: Positive
    latency_ms: OverheadLatency


@dataclass(frozen=True)
class _Nothing:
    """A classifier with the bundle's preprocessing and labels around the null runtime."""

    bundle: Bundle
    runtime: Runtime

    def ranked(self, probabilities: Probabilities) -> list[Prediction]:
        return ranked(probabilities, self.bundle.labels)

    def unknown_score(self, row: int) -> None:
        """Return None: there are no features."""


def cost(bundle: Bundle, photos: Sequence[bytes], inferences: int = INFERENCES) -> Overhead:
    """Measure the overhead with the null runtime, on the bundle's photos.

    Args:
        inferences: At least the 64 that a p90 needs.
    """
    fields = {"shape": bundle.preprocess.size.shape, "classes": len(bundle.labels)}
    watch = Stopwatch(_Nothing(bundle, open_runtime(json.dumps(fields).encode(), "null")), photos)
    watch.warm_up()
    watch.measure(0, min_inferences=inferences)
    found = summary_ms(watch.samples)
    return Overhead("null", inferences, OverheadLatency(_cost(found.invoke), _cost(found.postprocess)))


def _cost(found: Percentiles) -> Cost:
    if isinstance(found.p50_ms, Unknown) or isinstance(found.p90_ms, Unknown):
        raise ValueError("too few inferences to measure the overhead")
    return Cost(found.p50_ms, found.p90_ms)
