"""The ratio of two medians from raw samples, with an interval from a bootstrap. Not for: accuracy (``paired``).

Samples of one run follow each other: a clock or another program slows many in a row. Drawing them one by one would take
them for independent and give an interval that is far too narrow, so whole stretches are drawn: the circular block
bootstrap of D. N. Politis and J. P. Romano, "A circular block-resampling procedure for stationary data", in Exploring
the Limits of Bootstrap (1992). A stretch is a tenth of the run, half of one of the bench's five rounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
BLOCKS = 10
SEED = 20
# Of longer runs every k-th sample is resampled. Neighbours say nearly the same, so the interval hardly widens.
_MOST = 20_000

Samples = Sequence[int] | npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians.

    Attributes:
        value: The median of the one over the median of the other.
        ci95: Its 95% interval (low, high) by percentiles of the resampled ratios.
    """

    value: float
    ci95: tuple[float, float]


def ratio_of_medians(samples: Samples, baseline: Samples) -> Ratio:
    """Return median(samples) / median(baseline); the same input gives the same interval.

    The median is the nearest rank, as in the bench: always one of the samples.

    Args:
        samples: Times above 0 in the order they were taken, at least one.
        baseline: The same of what they are compared with.
    """
    rng = np.random.default_rng(SEED)
    new, old = np.asarray(samples, np.int64), np.asarray(baseline, np.int64)
    ratios = _resampled_medians(new, rng) / _resampled_medians(old, rng)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return Ratio(float(_median(new) / _median(old)), (float(low), float(high)))


def _resampled_medians(samples: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return the median of each resample, int64 [RESAMPLES]."""
    samples = samples[:: math.ceil(len(samples) / _MOST)]
    n = len(samples)
    length = math.ceil(n / BLOCKS)
    # The end is followed by the beginning, so that every sample is in equally many stretches.
    circle = np.concatenate([samples, samples[:length]])
    within = np.arange(length)
    medians = np.empty(RESAMPLES, np.int64)
    for index, starts in enumerate(rng.integers(0, n, (RESAMPLES, math.ceil(n / length), 1))):
        medians[index] = _median(circle[starts + within].ravel()[:n])
    return medians


def _median(samples: npt.NDArray[np.int64]) -> np.int64:
    rank = (len(samples) - 1) // 2
    return np.int64(np.partition(samples, rank)[rank])
