"""The reliability curve of a run as a chart."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl.data import Split
from edgetl.reports.charts import Scale, Tick
from edgetl.runs.calibration_error import CalibrationError
from edgetl.runs.temperature import Temperature
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.scores import Accuracy

# Of validation photos: the error of a calibrated model by chance is then about 0.04 and more.
_FEW_PHOTOS = 100


@dataclass(frozen=True)
class DrawnBin:
    """One bin of the reliability curve; positions in percent from the left and from the bottom."""

    left: float
    width: float
    height: float
    stated: float
    low: float
    high: float
    photos: int


@dataclass(frozen=True)
class ReliabilityChart:
    """The reliability curve with its error, and whether the model is over- or underconfident."""

    ece: float
    ece_by_chance: float
    confidence: float
    accuracy: float
    ci95: tuple[float, float]
    bins: tuple[DrawnBin, ...]
    ticks: list[Tick]

    @property
    def verdict(self) -> str:
        """The conclusion from the curve, in one sentence."""
        if self.ece <= 1.5 * self.ece_by_chance:
            return "With so few photos, chance alone explains the error: the probabilities are calibrated."
        side = "Overconfident" if self.confidence > self.accuracy else "Underconfident"
        low, high = (100 * bound for bound in self.ci95)
        return (
            f"{side}: mean confidence {self.confidence:.0%}, accuracy {self.accuracy:.0%} "
            f"(95% interval {low:.0f} to {high:.0f}%)."
        )


def temperature_note(temperature: Temperature | None, split: Split) -> str:
    """Return what the temperature is and what it changed, in sentences; empty if there is none."""
    if temperature is None:
        return ""
    if temperature.why_unchanged is not None:
        return f"The temperature stayed 1: {temperature.why_unchanged}."
    before, after = temperature.before[split], temperature.after[split]
    few = ", so few that another hundred may give another one" if temperature.photos < _FEW_PHOTOS else ""
    flattered = " Both are of the photos that it was fitted on, as there are no test photos: they flatter it."
    return (
        f"Logits are divided by a temperature of {temperature.value:.2f}, fitted on {temperature.photos} validation "
        f"photos{few}. Without it the calibration error would be {before.calibration.ece:.3f} instead of "
        f"{after.calibration.ece:.3f}, and the Brier score {before.brier:.3f} instead of {after.brier:.3f}."
        f"{flattered if split == 'val' else ''}"
    )


def uncalibrated_chart(temperature: Temperature | None, split: Split, accuracy: Accuracy) -> ReliabilityChart | None:
    """Return the reliability curve without the temperature; None if it is the same."""
    if temperature is None or temperature.why_unchanged is not None:
        return None
    return reliability_chart(temperature.before[split].calibration, accuracy)


def reliability_chart(measured: CalibrationError, accuracy: Accuracy) -> ReliabilityChart:
    """Return the reliability curve for the page.

    Args:
        measured: Calibration on some photos.
        accuracy: Accuracy on the same photos.
    """
    bins = []
    for one in measured.bins:
        low, high = wilson95(one.correct, one.photos)
        bins.append(
            DrawnBin(
                left=100 * one.low,
                width=100 * (one.high - one.low),
                height=100 * one.correct / one.photos,
                stated=100 * one.confidence,
                low=100 * low,
                high=100 * high,
                photos=one.photos,
            )
        )
    scale = Scale(0, 100)
    ticks = [Tick(scale.at(value), str(value), value) for value in (0, 20, 40, 60, 80, 100)]
    return ReliabilityChart(
        ece=measured.ece,
        ece_by_chance=measured.ece_by_chance,
        confidence=measured.confidence,
        accuracy=accuracy.top1,
        ci95=accuracy.ci95,
        bins=tuple(bins),
        ticks=ticks,
    )
