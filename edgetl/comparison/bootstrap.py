"""The ratio of two medians from raw samples, with a block-bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl_device.bench.percentiles import BLOCKS, RESAMPLES, SEED, percentile, resampled

__all__ = ["BLOCKS", "RESAMPLES", "SEED", "Ratio", "ratio_of_medians"]

Samples = Sequence[int] | npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians.

    Attributes:
        value: The median of the samples over the median of the baseline.
        ci95: Its 95% interval (low, high), from percentiles of the resampled ratios.
    """

    value: float
    ci95: tuple[float, float]


def ratio_of_medians(samples: Samples, baseline: Samples) -> Ratio:
    """Return median(samples) / median(baseline); the same input gives the same interval.

    The median is the nearest rank, as in the bench: always one of the samples.

    Args:
        samples: Times above 0 in the order they were taken, at least one.
        baseline: The same for the baseline.
    """
    rng = np.random.default_rng(SEED)
    new, old = np.asarray(samples, np.int64), np.asarray(baseline, np.int64)
    ratios = resampled(new, (50,), rng)[:, 0] / resampled(old, (50,), rng)[:, 0]
    low, high = np.percentile(ratios, (2.5, 97.5))
    return Ratio(float(percentile(new.tolist(), 50) / percentile(old.tolist(), 50)), (float(low), float(high)))
