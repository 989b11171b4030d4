"""Calibration of probabilities: reliability curve and expected calibration error (ECE)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl_device._lib.documents import Count, Positive, Share
from edgetl_device.errors import InputError

# As in Guo et al. 2017, section 5.
BINS = 15
_DRAWS = 200


@dataclass(frozen=True)
class ReliabilityBin:
    """One confidence bin of the reliability curve.

    Attributes:
        low: Lower edge, 0..1.
        high: Upper edge, 0..1.
        photos: Number of photos.
        correct: Number of correct predictions.
        confidence: Mean probability of the predicted class.
    """

    low: Share
    high: Share
    photos: Positive
    correct: Count
    confidence: Share

    def __post_init__(self) -> None:
        if self.correct > self.photos:
            raise InputError(f"{self.correct} of {self.photos} photos right", why="more are correct than there are")


@dataclass(frozen=True)
class CalibrationError:
    """Gap between confidence and accuracy.

    Attributes:
        ece: Expected calibration error, 0..1.
        ece_by_chance: ECE that a perfectly calibrated model would show by chance.
        confidence: Mean probability of the predicted class.
        bins: Reliability curve; empty bins are left out.
    """

    ece: Share
    ece_by_chance: Share
    confidence: Share
    bins: tuple[ReliabilityBin, ...]


def calibration_error(
    confidence: npt.NDArray[np.floating[Any]], correct: npt.NDArray[np.bool_], *, bins: int = BINS
) -> CalibrationError:
    """Return the reliability curve and the expected calibration error of predictions.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, equations 2 to 5: predictions are
    grouped by confidence into bins of equal width; the ECE is the gap between accuracy and mean confidence per bin,
    averaged over photos. With few photos it is above 0 even for a perfectly calibrated model, so its expected value
    under perfect calibration is returned too (consistency resampling, Broecker & Smith 2007, Weather and Forecasting
    22, 651-661).

    Args:
        confidence: float [n], probability of the predicted class, 0..1; n is at least 1.
        correct: bool [n], whether the prediction is correct.
        bins: Number of bins.
    """
    confidence = confidence.astype(np.float64)
    edges = np.linspace(0.0, 1.0, bins + 1)
    # A confidence on an edge belongs to the lower bin, as in the paper.
    places = np.searchsorted(edges[1:-1], confidence)
    photos = np.bincount(places, minlength=bins)
    right = np.bincount(places, weights=correct, minlength=bins)
    stated = np.bincount(places, weights=confidence, minlength=bins)
    # Fixed seed: the same predictions give the same document.
    drawn = np.random.default_rng(0).random((_DRAWS, len(confidence))) < confidence
    by_chance = [np.bincount(places, weights=one, minlength=bins) for one in drawn]
    return CalibrationError(
        ece=float(np.abs(right - stated).sum() / len(confidence)),
        ece_by_chance=float(np.abs(np.array(by_chance) - stated).sum(axis=1).mean() / len(confidence)),
        confidence=min(1.0, float(confidence.mean())),
        bins=tuple(
            ReliabilityBin(
                low=float(edges[place]),
                high=float(edges[place + 1]),
                photos=int(photos[place]),
                correct=int(right[place]),
                confidence=min(1.0, float(stated[place] / photos[place])),
            )
            for place in np.flatnonzero(photos)
        ),
    )
