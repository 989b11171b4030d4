"""Percentiles of latency, if there are enough samples, and their 95% intervals.

The required number follows the early stopping rule of MLPerf Inference's LoadGen (``loadgen/early_stopping.cc`` and
``mlperf_inference_rules``): the smallest n for which, if at most one of n samples exceeds a bound, the percentile is
within the bound at 99% confidence.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgetl_device._lib.documents import Interval, Milliseconds, Unknown, named

PERCENTILES = (50, 90, 95, 99)
CONFIDENCE = 0.99

# Percentiles that get an interval.
INTERVALS = (50, 90)
RESAMPLES = 2000
BLOCKS = 10
SEED = 20
# Longer runs use only every k-th sample. Neighbours are correlated, so the interval hardly widens.
_MOST = 20_000


@dataclass(frozen=True)
class Percentiles:
    """Nearest-rank percentiles, in milliseconds: always one of the samples. Unknown with fewer than 11 samples for p50,
    64 for p90, 130 for p95, 662 for p99.

    Attributes:
        p50_ms: The median.
        p90_ms: The 90th percentile.
        p95_ms: The 95th percentile.
        p99_ms: The 99th percentile.
    """

    p50_ms: Milliseconds | Unknown = named("p50")
    p90_ms: Milliseconds | Unknown = named("p90")
    p95_ms: Milliseconds | Unknown = named("p95")
    p99_ms: Milliseconds | Unknown = named("p99")

    def of(self, percent: int) -> float | Unknown:
        """Return one of :data:`PERCENTILES`."""
        found: float | Unknown = getattr(self, f"p{percent}_ms")
        return found


@dataclass(frozen=True)
class PercentileIntervals:
    """95% intervals of percentiles in milliseconds: circular block bootstrap, 2000 resamples, seeded.

    Attributes:
        p50_ms: Interval of the median.
        p90_ms: Interval of the 90th percentile.
    """

    p50_ms: Interval | Unknown = named("p50")
    p90_ms: Interval | Unknown = named("p90")


@functools.cache
def least_samples(percent: int, confidence: float = CONFIDENCE) -> int:
    """Return the number of samples that a percentile needs: 11 for p50, 64 for p90, 130 for p95, 662 for p99.

    The smallest n with P(X <= 1) <= 1 - confidence, where X is binomial with n trials and p = 1 - percent / 100.
    """
    if not 0 < percent < 100 or not 0 < confidence < 1:
        raise ValueError(f"percentile {percent} at confidence {confidence}")
    within = percent / 100
    n = 2
    while within**n + n * (1 - within) * within ** (n - 1) > 1 - confidence:
        n += 1
    return n


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: the smallest sample that at least ``percent`` of the samples do not exceed.

    Always one of the samples, never interpolated.
    """
    if not samples or not 0 < percent <= 100:
        raise ValueError(f"percentile {percent} of {len(samples)} samples")
    return sorted(samples)[_rank(len(samples), percent)]


def summary(samples_ns: Sequence[int]) -> Percentiles:
    """Return p50, p90, p95 and p99 of times in nanoseconds; unknown where there are too few samples."""
    if not samples_ns:
        raise ValueError("no samples")
    ordered, count = sorted(samples_ns), len(samples_ns)
    return Percentiles(*(too_few(count, percent) or ordered[_rank(count, percent)] / 1e6 for percent in PERCENTILES))


def too_few(count: int, percent: int) -> Unknown | None:
    """Return why ``count`` samples are too few for a percentile, or None."""
    needed = least_samples(percent)
    return Unknown(f"not enough samples: {count} of {needed}") if count < needed else None


def intervals(samples_ns: Sequence[int]) -> PercentileIntervals:
    """Return the 95% intervals (low, high) of p50 and p90 of times in nanoseconds.

    From the percentiles of :func:`resampled`; the same samples give the same interval.
    """
    drawn = resampled(np.asarray(samples_ns, np.int64), INTERVALS, np.random.default_rng(SEED))
    bounds = np.percentile(drawn, (2.5, 97.5), axis=0)
    return PercentileIntervals(
        *(
            too_few(len(samples_ns), percent) or (float(low) / 1e6, float(high) / 1e6)
            for percent, (low, high) in zip(INTERVALS, bounds.T, strict=True)
        )
    )


def resampled(
    samples: npt.NDArray[np.int64], percents: Sequence[int], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return percentiles of resamples, int64 [RESAMPLES, len(percents)].

    Samples of one run are correlated: a lower clock or another program slows many in a row. Drawing them one by one
    would treat them as independent and give a far too narrow interval, so blocks are drawn: the circular block
    bootstrap of D. N. Politis and J. P. Romano, "A circular block-resampling procedure for stationary data", in
    Exploring the Limits of Bootstrap (1992). A block is a tenth of the run, half of one of the bench's five rounds.

    Args:
        samples: In the order they were taken, at least one.
        percents: Each above 0 and at most 100.
        rng: Draws the starts of blocks.
    """
    samples = samples[:: math.ceil(len(samples) / _MOST)]
    n = len(samples)
    length = math.ceil(n / BLOCKS)
    # Blocks wrap around, so that every sample is equally likely.
    circle = np.concatenate([samples, samples[:length]])
    within = np.arange(length)
    ranks = [_rank(n, percent) for percent in percents]
    found = np.empty((RESAMPLES, len(ranks)), np.int64)
    for index, starts in enumerate(rng.integers(0, n, (RESAMPLES, math.ceil(n / length), 1))):
        found[index] = np.partition(circle[starts + within].ravel()[:n], ranks)[ranks]
    return found


def _rank(count: int, percent: float) -> int:
    return math.ceil(percent / 100 * count) - 1
