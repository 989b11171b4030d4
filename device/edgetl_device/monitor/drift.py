"""An exact test whether a window of photos looks like the photos of a reference, feature by feature.

For one feature, the photos of reference and window are sorted together. After each k of them, the number that belong to
the window is hypergeometric if both come from one distribution. The statistic is the smallest tail probability over all
k: the two-sample form of Berk and Jones, "Goodness-of-fit test statistics that dominate the Kolmogorov statistics",
Zeitschrift fuer Wahrscheinlichkeitstheorie 47 (1979). Unlike Kolmogorov and Smirnov's it sees a few outliers as well as
a shift of all photos. Its distribution depends on the two numbers of photos only, and is computed by walking over all
orders of them, so the rate of false alarms is not an approximation. Equal values can only lower it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Grid of smallest tail probabilities on which their distribution is computed.
_SMALLEST, _LARGEST, _POINTS = 1e-12, 0.5, 160
# Weight of the last window in the direction of change, and of the mean variance in that of a component.
_NEWEST, _SHRUNK = 0.5, 0.1


@dataclass(frozen=True)
class Shift:
    """How a feature differs most between window and reference.

    Attributes:
        feature: Index of the feature.
        value: The limit where the shares differ most, in the unit of the feature.
        above: Whether the window has more photos above the limit than the reference; otherwise below.
        in_window: Photos of the window beyond the limit.
        in_reference: Photos of the reference beyond it.
        p: Probability of a difference like this in any feature, if reference and window come from one distribution.
    """

    feature: int
    value: float
    above: bool
    in_window: int
    in_reference: int
    p: float


@dataclass(frozen=True, eq=False)
class WindowTest:
    """The test for windows of a fixed number of photos.

    Attributes:
        reference: Features of the reference photos, finite, float64 [photos, features].
        window: Photos in a window.
    """

    reference: Floats
    window: int

    def shifts(self, window: Floats) -> list[Shift]:
        """Return the difference of each feature between a window, float64 [window, features], and the reference.

        The smallest ``p`` of them is at most a with probability a, or less: Bonferroni's correction for the number of
        features is part of it.
        """
        known, features = self.reference.shape
        pooled = np.concatenate([self.reference, window]).T
        order = np.argsort(pooled, axis=1)
        values = np.take_along_axis(pooled, order, axis=1)
        counts = np.cumsum(order >= known, axis=1)
        # Only between two different values: photos that are equal have no order.
        tails = _tails(known, self.window)[np.arange(1, pooled.shape[1]), counts[:, :-1]]
        tails = np.where(values[:, :-1] < values[:, 1:], tails, 1)
        places = tails.argmin(axis=1)
        found = []
        for feature, place in enumerate(map(int, places)):
            below, inside = place + 1, int(counts[feature, place])
            above = inside * pooled.shape[1] < below * self.window
            found.append(
                Shift(
                    feature,
                    float(values[feature, place] + values[feature, place + 1]) / 2,
                    above,
                    self.window - inside if above else inside,
                    known - (below - inside) if above else below - inside,
                    min(1.0, features * self._probability(float(tails[feature, place]))),
                )
            )
        return found

    def same_groups_p(
        self,
        window: Floats,
        feature: int,
        groups: npt.NDArray[np.int64],
        window_groups: npt.NDArray[np.int64],
        random: np.random.Generator,
        orders: int = 999,
    ) -> float:
        """Return p of one feature when photos are exchanged within groups only, at least 1 / (orders + 1).

        It is that of a permutation test: another mix of groups alone does not make it small.

        Args:
            window: The feature in the window, float64 [window].
            feature: Index of the feature.
            groups: Group of each photo of the reference, int64 [photos].
            window_groups: Group of each photo of the window, int64 [window].
            random: Draws the exchanges.
            orders: Number of exchanges.
        """
        known = len(self.reference)
        pooled = np.concatenate([self.reference[:, feature], window])
        order = np.argsort(pooled)
        values, of_group = pooled[order], np.concatenate([groups, window_groups])[order]
        # Row 0 is what was found.
        inside = np.tile(order >= known, (orders + 1, 1))
        for group in np.unique(of_group):
            members = np.flatnonzero(of_group == group)
            inside[1:, members] = random.permuted(inside[1:, members], axis=1)
        counts = np.cumsum(inside, axis=1)[:, :-1]
        different = np.flatnonzero(values[:-1] < values[1:])
        if not len(different):
            return 1.0
        smallest = _tails(known, self.window)[different + 1, counts[:, different]].min(axis=1)
        return float((smallest <= smallest[0]).mean())

    def _probability(self, tail: float) -> float:
        """Return the probability of a smallest tail like this or smaller; rounded up to the next point of the grid."""
        grid, probabilities = distribution(len(self.reference), self.window)
        place = int(np.searchsorted(grid, tail))
        return float(probabilities[place]) if place < len(grid) else 1.0


class StreamTest:
    """Tests the windows of a stream, one after the other, with what was learned from those before.

    A change of the photos is often spread over many components, too thin in each. The windows before say in which
    direction it goes: their mean, in units of the training photos' variance (Fisher's discriminant). Neither the
    reference nor the window is involved in this direction, so the test along it is as exact as the others.

    Args:
        reference: Features of the reference photos, float64 [photos, features].
        window: Photos in a window.
        tested: The first so many features are tested each.
        components: The components begin at this feature.
        variances: Their variances among the training photos, float64 [components]; empty without a bank.
    """

    def __init__(self, reference: Floats, window: int, tested: int, components: int, variances: Floats) -> None:
        self.reference, self.window = reference, window
        self._tested, self._components = tested, components
        self._scale = variances + _SHRUNK * variances.mean() if len(variances) else variances
        self._mean: Floats | None = None
        distribution(len(reference), window)

    def next(self, window: Floats) -> tuple[WindowTest, Floats]:
        """Return the test of the next window, float64 [window, features], and what it tests; then learn from it.

        From the second window on, the last feature tested is the position along the direction of those before.
        """
        tested, reference = window[:, : self._tested], self.reference[:, : self._tested]
        if len(self._scale):
            places = window[:, self._components :]
            if self._mean is not None:
                direction = self._mean / self._scale
                tested = np.column_stack([tested, places @ direction])
                reference = np.column_stack([reference, self.reference[:, self._components :] @ direction])
            mean = places.mean(axis=0)
            self._mean = mean if self._mean is None else (1 - _NEWEST) * self._mean + _NEWEST * mean
        return WindowTest(reference, self.window), tested


@lru_cache(maxsize=2)
def distribution(known: int, window: int) -> tuple[Floats, Floats]:
    """Return a grid of smallest tails, and the probability that a walk over a random order meets one as small.

    Args:
        known: Photos of the reference.
        window: Photos of the window.
    """
    total, tails = known + window, _tails(known, window)
    grid = np.geomspace(_SMALLEST, _LARGEST, _POINTS)
    i = np.arange(window + 1)
    # The probability of each number of photos of the window so far, of the walks that have met none, by limit.
    alive = np.zeros((_POINTS, window + 1))
    alive[:, 0] = 1
    for k in range(total):
        to_window = np.clip(window - i, 0, None) / (total - k)
        to_reference = np.clip(known - (k - i), 0, None) / (total - k)
        moved = alive * to_reference
        moved[:, 1:] += (alive * to_window)[:, :-1]
        alive = np.where(tails[k + 1] > grid[:, None], moved, 0) if k + 1 < total else moved
    return grid, 1 - alive.sum(axis=1)


@lru_cache(maxsize=2)
def _tails(known: int, window: int) -> Floats:
    """Return the smaller tail probability of having i of the window among the first k, [photos + 1, window + 1].

    Impossible numbers have 0.
    """
    total = known + window
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    k, i = np.arange(total + 1)[:, None], np.arange(window + 1)[None, :]
    others = k - i
    possible = (others >= 0) & (others <= known)
    others = np.clip(others, 0, known)
    logarithms = (
        factorials[window] - factorials[i] - factorials[window - i]
        + factorials[known] - factorials[others] - factorials[known - others]
        - factorials[total] + factorials[k] + factorials[total - k]
    )  # fmt: skip
    mass = np.where(possible, np.exp(np.where(possible, logarithms, 0)), 0)
    lower, upper = np.cumsum(mass, axis=1), np.cumsum(mass[:, ::-1], axis=1)[:, ::-1]
    return np.where(possible, np.minimum(lower, upper), 0)
