"""Latency of one photo, stage by stage, in raw nanoseconds.

Batches run one after another (MLPerf's SingleStream, where a batch is one photo). Each sample runs all stages on one
batch of photos, so that the CPU caches are as in an application: decode (bytes in memory to an upright RGB image), fit
(to the model's size), invoke (copy the pixels in, run the model), postprocess (probabilities, top 5, unknown score).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgetl_device._lib.documents import Count
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Prediction
from edgetl_device.preprocess import decode, fit
from edgetl_device.runtime import Probabilities, Runtime

from . import percentiles
from .percentiles import PercentileIntervals, Percentiles

STAGES = ("decode", "fit", "invoke", "postprocess")
# MLPerf Inference required this many SingleStream queries, whose metric is p90, before it had early stopping.
MIN_INFERENCES = 1024

# Warm-up: blocks of this many inferences until the medians of two consecutive ones are this close; at most this long.
_BLOCK = 10
_STEADY = 0.03
_WARMUP_LIMIT_S = 10.0

_NS_PER_S = 1_000_000_000

Clock = Callable[[], int]


class Timed(Protocol):
    """What :class:`Stopwatch` measures: a classifier, or the null classifier for the overhead."""

    @property
    def bundle(self) -> Bundle:
        """The bundle, whose preprocessing is used."""

    @property
    def runtime(self) -> Runtime:
        """The model."""

    def ranked(self, probabilities: Probabilities) -> list[Prediction]:
        """Return the likeliest classes."""

    def unknown_score(self, row: int) -> float | None:
        """Return the unknown score of a row after the last run; None if there is none."""


@dataclass
class Samples:
    """Raw times of one classifier, appended to while measuring.

    Attributes:
        stages_ns: Times of all inferences by stage, in order, each for the whole batch; all of the same length.
        first_inference_ns: The first inference after loading, all stages.
        warmup_inferences: Inferences before the first sample, including the first one.
        steady: Whether the running median settled during warm-up.
    """

    stages_ns: dict[str, list[int]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    first_inference_ns: int = 0
    warmup_inferences: int = 0
    steady: bool = False

    def total_ns(self) -> list[int]:
        """Return the time of every inference, all stages together."""
        return [sum(parts) for parts in zip(*self.stages_ns.values(), strict=True)]


@dataclass(frozen=True)
class StageSamples:
    """Raw nanoseconds of every inference after warm-up, in order; all stages have the same length.

    Attributes:
        decode: A file's bytes to an upright RGB image.
        fit: To the model's size.
        invoke: Copy the pixels in, run the model.
        postprocess: Probabilities, top 5, unknown score if the bundle has one.
    """

    decode: tuple[Count, ...]
    fit: tuple[Count, ...]
    invoke: tuple[Count, ...]
    postprocess: tuple[Count, ...]

    def total(self) -> list[int]:
        """Return the time of every inference, all stages together."""
        return [sum(parts) for parts in zip(self.decode, self.fit, self.invoke, self.postprocess, strict=True)]


@dataclass(frozen=True)
class StageLatency:
    """Percentiles of each stage.

    Attributes:
        decode: A file's bytes to an upright RGB image.
        fit: To the model's size.
        invoke: Copy the pixels in, run the model.
        postprocess: Probabilities, top 5, unknown score if the bundle has one.
        total: All of it: from a file's bytes to a label.
    """

    decode: Percentiles
    fit: Percentiles
    invoke: Percentiles
    postprocess: Percentiles
    total: Percentiles


@dataclass(frozen=True)
class LatencyIntervals:
    """Intervals of p50 and p90.

    Attributes:
        invoke: Intervals of the model's time.
        total: Intervals of the time from a file's bytes to a label.
    """

    invoke: PercentileIntervals
    total: PercentileIntervals


class Stopwatch:
    """Runs one classifier over photos and records the time of each stage.

    Args:
        classifier: Loaded, and not used elsewhere during the bench.
        photos: Image files as bytes, used cyclically.
        clock: Monotonic nanoseconds.
    """

    def __init__(self, classifier: Timed, photos: Sequence[bytes], *, clock: Clock = time.perf_counter_ns) -> None:
        """Start with the first photo."""
        if not photos:
            raise ValueError("no photos to measure with")
        self.samples = Samples()
        self._classifier, self._photos, self._clock = classifier, photos, clock
        self._next = 0

    def warm_up(self) -> None:
        """Run until the median of invoke is steady, at most 10 s; the first inference is recorded separately."""
        self.samples.first_inference_ns = sum(self._once())
        self.samples.warmup_inferences = 1
        started, previous = self._clock(), math.inf
        while True:
            median = statistics.median(self._once()[2] for _ in range(_BLOCK))
            self.samples.warmup_inferences += _BLOCK
            if abs(median - previous) <= _STEADY * median:
                self.samples.steady = True
                return
            if self._clock() - started > _WARMUP_LIMIT_S * _NS_PER_S:
                return
            previous = median

    def measure(self, duration_s: float, *, min_inferences: int = 1) -> None:
        """Add samples for at least ``duration_s`` and at least ``min_inferences``."""
        columns = [self.samples.stages_ns[stage] for stage in STAGES]
        started, count = self._clock(), 0
        while count < min_inferences or self._clock() - started < duration_s * _NS_PER_S:
            for column, value in zip(columns, self._once(), strict=True):
                column.append(value)
            count += 1

    def _once(self) -> tuple[int, int, int, int]:
        classifier, clock = self._classifier, self._clock
        runtime, spec = classifier.runtime, classifier.bundle.preprocess
        batch = runtime.input.shape[0]
        photos = [self._photos[(self._next + row) % len(self._photos)] for row in range(batch)]
        self._next = (self._next + batch) % len(self._photos)
        pixels, decode_ns, fit_ns, at = [], 0, 0, clock()
        for photo in photos:
            image = decode(photo, spec)
            decoded = clock()
            pixels.append(fit(image, spec))
            fitted = clock()
            decode_ns, fit_ns, at = decode_ns + decoded - at, fit_ns + fitted - decoded, fitted
        for row, one in enumerate(pixels):
            runtime.set_input(one, row)
        runtime.invoke()
        invoked = clock()
        for row in range(batch):
            classifier.ranked(runtime.probabilities(row))
            classifier.unknown_score(row)
        return decode_ns, fit_ns, invoked - at, clock() - invoked


def summary_ms(samples: Samples) -> StageLatency:
    """Return p50, p90, p95 and p99 (nearest rank) in milliseconds, by stage and in total."""
    return StageLatency(*(percentiles.summary(column) for column in (*samples.stages_ns.values(), samples.total_ns())))


def intervals_ms(samples: Samples) -> LatencyIntervals:
    """Return the 95% intervals (low, high) of p50 and p90 in milliseconds, for the model and in total."""
    return LatencyIntervals(
        percentiles.intervals(samples.stages_ns["invoke"]), percentiles.intervals(samples.total_ns())
    )


def throughput_per_s(samples: Samples, batch: int = 1) -> float:
    """Return photos per second, one batch after another, over all samples."""
    total = samples.total_ns()
    return batch * len(total) / (sum(total) / _NS_PER_S)
