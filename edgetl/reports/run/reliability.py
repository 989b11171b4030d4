"""The reliability curve of a run as a chart. Not for: its numbers (``edgetl.runs.calibration_error``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgetl.reports.charts import Scale, Tick
from edgetl_device.bench.accuracy import wilson95

Document = dict[str, Any]


@dataclass(frozen=True)
class Bin:
    """One bin of the reliability curve; positions in percent from the left and from the bottom."""

    left: float
    width: float
    height: float
    stated: float
    low: float
    high: float
    photos: int


@dataclass(frozen=True)
class Calibration:
    """The reliability curve with its error, and whether the model says too much or too little."""

    ece: float
    ece_by_chance: float
    confidence: float
    accuracy: float
    ci95: tuple[float, float]
    bins: tuple[Bin, ...]
    ticks: list[Tick]

    @property
    def verdict(self) -> str:
        """What the curve says, in one sentence."""
        if self.ece <= 1.5 * self.ece_by_chance:
            return "No more error than chance gives with so few photos: these probabilities can be believed."
        side = "More sure than it is right" if self.confidence > self.accuracy else "Less sure than it is right"
        low, high = (100 * bound for bound in self.ci95)
        return (
            f"{side}: on average it states {self.confidence:.0%} and has {self.accuracy:.0%} right "
            f"(95% interval {low:.0f} to {high:.0f}%)."
        )


def calibration(measured: Document, accuracy: Document) -> Calibration:
    """Return the reliability curve for the page.

    Args:
        measured: As :func:`edgetl.runs.calibration_error.reliability` returns it.
        accuracy: Of the same photos, with ``top1`` and ``ci95``.
    """
    bins = []
    for one in measured["bins"]:
        low, high = wilson95(one["correct"], one["photos"])
        bins.append(
            Bin(
                left=100 * one["low"],
                width=100 * (one["high"] - one["low"]),
                height=100 * one["correct"] / one["photos"],
                stated=100 * one["confidence"],
                low=100 * low,
                high=100 * high,
                photos=one["photos"],
            )
        )
    scale = Scale(0, 100)
    ticks = [Tick(scale.at(value), str(value)) for value in (0, 20, 40, 60, 80, 100)]
    return Calibration(
        ece=measured["ece"],
        ece_by_chance=measured["ece_by_chance"],
        confidence=measured["confidence"],
        accuracy=accuracy["top1"],
        ci95=tuple(accuracy["ci95"]),
        bins=tuple(bins),
        ticks=ticks,
    )
