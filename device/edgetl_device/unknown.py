"""Tell photos of nothing that a model was taught, by how far their features are from those of training photos.

The score is the distance to the k-th nearest training photo: Y. Sun, Y. Ming, X. Zhu and Y. Li, "Out-of-distribution
detection with deep nearest neighbors", ICML 2022; here of features compressed to principal components.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from ._lib.documents import Count, Interval, Is, Positive, Share, Text, optional

# More come from a network whose last layer sees a whole feature map.
MAX_FEATURES = 20_000
# Of a feature vector of zeros, which has no direction.
_TINY = 1e-12


def unit_rows(rows: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Return rows at unit length, float32 [n, features]; rows of zeros stay so."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY), np.float32)


@dataclass(frozen=True)
class Accepted:
    """How many photos a variant takes for known.

    Attributes:
        photos: Number of photos.
        accepted: Photos that are not unknown.
        share: accepted / photos
        ci95: Wilson's score interval, 0 to 1.
    """

    photos: Positive
    accepted: Count
    share: Share
    ci95: Interval


@dataclass(frozen=True)
class UnknownVariant:
    """When a photo is unknown to one variant, and how often that is right.

    Attributes:
        name: Name of the variant.
        threshold: Photos at a greater distance are unknown. Chosen on the validation photos.
        validation: Validation photos that are accepted.
        held_out: Held-out photos of the bundle that are accepted, which should be.
        unknown: Photos given as unknown that are accepted, which should not be.
        in_bundle: Those of them that are in the bundle, as they are in the bundle.
        drawn: Held-out photos that are accepted after a distortion was drawn into them, by distortion.
    """

    name: Text
    threshold: Annotated[float, Is(above=0, high=2)]
    validation: Accepted
    held_out: Accepted
    unknown: Accepted | None
    in_bundle: Accepted | None
    drawn: dict[str, Accepted]


@dataclass(frozen=True)
class UnknownTest:
    """How variants of a bundle tell unknown photos.

    Attributes:
        file: Path of the feature bank in the bundle.
        features: Features of a photo.
        components: Principal components of the features in the bank.
        rows: Training photos in the bank.
        neighbours: The score is the distance to this one of the nearest rows.
        kept: Share of the validation photos that the thresholds keep.
        variants: The thresholds and what was measured with them. A variant that is not listed cannot tell.
        photos: Unknown photos in the bundle, by path.
    """

    file: Text
    features: Annotated[int, Is(low=1, high=MAX_FEATURES)]
    components: Annotated[int, Is(low=1, high=65_536)]
    rows: Annotated[int, Is(low=1, high=65_536)]
    neighbours: Positive
    kept: Share
    variants: tuple[UnknownVariant, ...]
    photos: tuple[str, ...] = optional(())


@dataclass(frozen=True, eq=False)
class FeatureBank:
    """Features of training photos at unit length, as their coordinates along a few principal components.

    Attributes:
        mean: Their mean, float32 [features].
        components: The principal components, orthonormal, float32 [components, features].
        rows: Coordinates of the training photos, float32 [rows, components].
        neighbours: Which of the nearest rows the distance is measured to, 1 to the number of rows.
    """

    mean: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]
    rows: npt.NDArray[np.float32]
    neighbours: int

    def distance(self, features: npt.NDArray[np.float32]) -> float:
        """Return how far a photo's features, float32 [features], at unit length, are from the k-th nearest row.

        Rows are points in the space of features; what the components cannot express of a photo adds to its distance.
        """
        offset = features / max(float(np.linalg.norm(features)), _TINY) - self.mean
        inside = self.components @ offset
        outside = max(0.0, float(offset @ offset) - float(inside @ inside))
        # |row - inside|^2, as one product of a matrix and a vector, may fall below 0 by rounding.
        squares = self._squares - 2 * (self.rows @ inside) + inside @ inside
        nearest = float(np.partition(squares, self.neighbours - 1)[self.neighbours - 1])
        return math.sqrt(outside if nearest < 0 else nearest + outside)

    @cached_property
    def _squares(self) -> npt.NDArray[np.float32]:
        return np.asarray(np.square(self.rows).sum(axis=1))


@dataclass(frozen=True, eq=False)
class UnknownScorer:
    """Scores the features of photos for one variant.

    Attributes:
        bank: Features of training photos.
        threshold: The distance from which on a photo is unknown.
    """

    bank: FeatureBank
    threshold: float

    def score(self, features: npt.NDArray[np.float32]) -> float:
        """Return the score of a photo's features, float32 [features]: above 1, the photo is unknown."""
        return self.bank.distance(features) / self.threshold


def int8_rows(rows: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return rows as int8, and the scale of each, float32."""
    scales = np.maximum(np.abs(rows).max(axis=1), _TINY).astype(np.float32) / np.float32(127)
    return np.round(rows / scales[:, None]).astype(np.int8), scales


def is_unknown(score: float | None) -> bool | None:
    """Return whether a photo with this score is unknown; None without a score. NaN is unknown."""
    return None if score is None else not score <= 1


def finite(score: float | None) -> float | None:
    """Return a score as JSON can have it: features that are not finite have none."""
    return score if score is not None and math.isfinite(score) else None
