"""Positions in charts, in percent of width and height.

Charts scale with the page: shapes are stretched SVG paths, and text is positioned HTML, so that it stays readable on a
phone and on paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

# Beyond this ratio of the ends, a linear axis would squeeze the fast runs into a corner.
_LOG_FROM = 12.0
# A text beyond this would reach over the edge of a phone: it ends at its tick.
LAST_PERCENT = 90.0
_BINS = 200
_TIME_BINS = 80
# Bins on the whole axis of a distribution: the page can be zoomed until each of 200 drawn bins is one of these.
_FINE_BINS = 4000
# Width of the narrowest axis, on a phone, and of the text on it: digits of 13 px, with a gap.
_AXIS_PX, _DIGIT_PX, _GAP_PX = 310, 7.6, 9


@dataclass(frozen=True)
class Tick:
    """A tick on an axis: position, text and value."""

    percent: float
    text: str
    value: float


@dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high``, linear or logarithmic."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, values: Sequence[float], *, margin: float = 0.06, log: bool | None = None) -> Scale:
        """Return an axis for all values with some space at both ends.

        Args:
            values: At least one.
            margin: Space at each end, as a share of the axis.
            log: Whether it is logarithmic; None decides by the ratio of the largest to the smallest value.
        """
        low, high = min(values), max(values)
        if log is None:
            log = low > 0 and high / low > _LOG_FROM
        if log:
            space = (high / low) ** margin
            return cls(low / space, high * space, True)
        space = (high - low) * margin or abs(high) * margin or 1.0
        return cls(low - space, high + space)

    def at(self, value: float) -> float:
        """Return the position of a value in percent of the axis, 0..100."""
        low, high, value = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        return min(100.0, max(0.0, 100 * (value - low) / (high - low)))

    def ticks(self, *, about: int = 7) -> list[Tick]:
        """Return at most about ``about`` round numbers on the axis; none at the ends, where text has no room."""
        values = self._log_ticks() if self.log else []
        if len(values) < 3:
            values = self._linear_ticks(about)
        values = [value for value in values if 1 <= self.at(value) <= 99]
        digits = max(0, *(_decimals(value) for value in values)) if values else 0
        return [
            Tick(self.at(value), f"{value:.{_decimals(value) if self.log else digits}f}", value) for value in values
        ]

    def x_ticks(self) -> list[Tick]:
        """Return ticks whose texts do not touch on a horizontal axis of a phone."""
        for about in (7, 5, 4, 3, 2):
            found = self.ticks(about=about)
            if not touching(found) or (self.log and len(self._log_ticks()) >= 3):
                break
        # On a logarithmic axis, where all ticks are given, leave out those that touch the one before.
        return apart(found)

    def _linear_ticks(self, about: int) -> list[float]:
        rough = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= 0.8 * rough)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]

    def _log_ticks(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        values = [nice * 10.0**power for power in range(first, last + 1) for nice in (1, 2, 5)]
        return [value for value in values if self.low <= value <= self.high]


def apart(ticks: Sequence[Tick]) -> list[Tick]:
    """Return ticks without those whose text would touch that of the tick before, on a horizontal axis of a phone."""
    kept: list[Tick] = []
    for tick in ticks:
        if not kept or not touching([kept[-1], tick]):
            kept.append(tick)
    return kept


def touching(ticks: Sequence[Tick]) -> bool:
    """Return whether two neighbouring texts touch on a horizontal axis of a phone."""
    ends = [_extent_px(tick) for tick in ticks]
    return any(right[0] - left[1] < _GAP_PX for left, right in pairwise(ends))


def _extent_px(tick: Tick) -> tuple[float, float]:
    """Return where the text of a tick begins and ends: centred, but right-aligned near the end, as style.css has it."""
    x, width = tick.percent * _AXIS_PX / 100, _DIGIT_PX * len(tick.text)
    return (x - width, x) if tick.percent > LAST_PERCENT else (x - width / 2, x + width / 2)


@dataclass(frozen=True)
class Counts:
    """Samples of a run in fine bins, for the page's script: to zoom, and to say how many are at or below a value.

    Attributes:
        sparse: Pairs of a bin's number and its samples, of 4000 bins on the axis, as text.
        below: Number of samples below the axis.
        total: Number of all samples.
    """

    sparse: str
    below: int
    total: int


def fine_counts(samples: Values, scale: Scale) -> Counts:
    """Return the samples in fine bins on an axis; those above it are only in the total."""
    inside = np.array([scale.at(value) for value in samples if scale.low <= value <= scale.high])
    counts, _ = np.histogram(inside, bins=_FINE_BINS, range=(0, 100))
    pairs = " ".join(f"{place} {counts[place]}" for place in np.flatnonzero(counts))
    return Counts(pairs, int((samples < scale.low).sum()), len(samples))


def density_path(samples: Values, scale: Scale) -> str:
    """Return the outline of the samples' distribution as an SVG path in a box of 100 x 100, its peak at the top.

    A histogram of 200 bins on the axis, smoothed with a narrow Gaussian; samples beyond the ends are left out.
    """
    positions = np.array([scale.at(value) for value in samples if scale.low <= value <= scale.high])
    counts, _ = np.histogram(positions, bins=_BINS, range=(0, 100))
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)
    heights = np.convolve(counts, kernel, mode="same")
    heights = heights / (heights.max() or 1.0)
    middles = (np.arange(_BINS) + 0.5) * 100 / _BINS
    points = " ".join(f"L{x:g},{100 - 96 * y:.1f}" for x, y in zip(middles, heights, strict=True))
    return f"M0,100 {points} L100,100 Z"


@dataclass(frozen=True)
class Course:
    """Samples in the order they were taken, as SVG paths in a box of 100 x 100.

    Attributes:
        band: The 10th to 90th percentile of each interval.
        line: The median of each interval.
        scale: The vertical axis.
    """

    band: str
    line: str
    scale: Scale


def course(samples: Values, scale: Scale) -> Course:
    """Return the course of samples over time, in at most 80 intervals."""
    parts = np.array_split(samples, min(_TIME_BINS, len(samples)))
    xs = [100 * index / max(1, len(parts) - 1) for index in range(len(parts))]
    low, middle, high = (
        [f"{x:.2f},{100 - scale.at(float(np.percentile(part, rank))):.2f}" for x, part in zip(xs, parts, strict=True)]
        for rank in (10, 50, 90)
    )
    return Course(f"M{' L'.join([*high, *reversed(low)])} Z", f"M{' L'.join(middle)}", scale)


def line_path(points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> str:
    """Return a line through points as an SVG path in a box of 100 x 100."""
    return "M" + " L".join(f"{x.at(one):.2f},{100 - y.at(other):.2f}" for one, other in points)


@dataclass(frozen=True)
class Line:
    """One line of a plot; ``colour`` is an index from 0, ``last`` is its last value."""

    name: str
    colour: int
    path: str
    last: float


@dataclass(frozen=True)
class Plot:
    """Lines over a common axis; ``mark_percent`` is the position of a mark on it, None without one."""

    name: str
    lines: tuple[Line, ...]
    x: Scale
    y: Scale
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    mark_percent: float | None = None


def lines_of(series: Mapping[str, Sequence[tuple[float, float]]], x: Scale, y: Scale) -> tuple[Line, ...]:
    """Return the lines through points, by name; each has at least one."""
    return tuple(
        Line(name, place, line_path(points, x, y), points[-1][1]) for place, (name, points) in enumerate(series.items())
    )


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the Pareto front of points (cost, gain), by rising cost."""
    best, found = -math.inf, []
    for index in sorted(range(len(points)), key=lambda one: (points[one][0], -points[one][1])):
        if points[index][1] > best:
            best = points[index][1]
            found.append(index)
    return found


@dataclass(frozen=True)
class Place:
    """Position of a label: left or right of its point, and its offset in rows (negative: above)."""

    left: bool
    row: int


def place_labels(points: Sequence[tuple[float, float]], *, width: float, height: float) -> list[Place]:
    """Place labels so that they overlap neither each other nor other points, as far as possible.

    Args:
        points: Percent from the left and from the top.
        width: Width of a label in percent.
        height: Height of a label in percent.
    """
    taken: list[tuple[float, float, float]] = []
    places = []
    for index, (x, y) in enumerate(points):
        dots = [(left - 2, left + 2, top) for other, (left, top) in enumerate(points) if other != index]
        candidates = [Place(left, row) for row in (0, 1, -1, 2, -2, 3, -3) for left in (x > 60, x <= 60)]

        def crowded(place: Place, x: float = x, y: float = y, dots: list[tuple[float, float, float]] = dots) -> float:
            start, end = (x - width, x) if place.left else (x, x + width)
            middle = y + place.row * height
            met = sum(
                start < right and left < end and abs(middle - other) < height for left, right, other in [*taken, *dots]
            )
            return met + 10 * (start < -4 or end > 104 or not 2 < middle < 98)

        best = min(candidates, key=crowded)
        taken.append((x - width, x, y + best.row * height) if best.left else (x, x + width, y + best.row * height))
        places.append(best)
    return places


def _decimals(value: float) -> int:
    """Return the number of decimals that a tick needs: 2 for 0.25."""
    text = f"{value:.6f}".rstrip("0")
    return len(text) - text.index(".") - 1
