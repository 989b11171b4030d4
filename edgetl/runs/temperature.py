"""Temperature scaling: one number that makes probabilities mean what they say.

Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599, section 4.2: logits are divided by the
temperature that minimizes the negative log-likelihood of validation photos. The predicted class stays the same.

Few photos allow many temperatures. The one of the least loss is used only if it is inside the range that is searched,
and if the likelihood-ratio test tells it from 1 at the 5% level (Wilks 1938, "The Large-Sample Distribution of the
Likelihood Ratio for Testing Composite Hypotheses", Annals of Mathematical Statistics 9, page 60).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from edgetl.data import Split
from edgetl_device._lib.documents import Count, Is

from .calibration_error import CalibrationError, calibration_error
from .float_model import softmax

# Too few of either say little about confidence: with no mistake, the best temperature would be 0.
FEWEST_PHOTOS = 20
FEWEST_MISTAKES = 3
# Of the inverse: far beyond what networks need.
_INVERSE = (0.05, 20.0)
_BISECTIONS = 60
# Nearer to an end of the range than this share, the loss falls beyond it.
_AT_BOUND = 1e-6
_LEVEL = 0.05


@dataclass(frozen=True)
class Reliability:
    """How far probabilities can be relied on.

    Attributes:
        brier: Mean squared distance between the probabilities of all classes and the truth, 0..2.
        nll: Mean negative log-likelihood of the true class, in nats.
        calibration: Calibration error, with what chance alone would show.
    """

    brier: Annotated[float, Is(low=0, high=2)]
    nll: Annotated[float, Is(low=0)]
    calibration: CalibrationError


@dataclass(frozen=True)
class Temperature:
    """The temperature that the model's logits were divided by, and what it changed.

    Attributes:
        value: The temperature; above 1 the network was overconfident.
        photos: Number of validation photos that it was fitted on.
        mistakes: Number of them that the model gets wrong; null if they are too few.
        why_unchanged: Why the temperature was left at 1; null if it was fitted.
        before: Reliability without it, by split.
        after: Reliability with it, by split.
    """

    value: Annotated[float, Is(low=0)]
    photos: Count
    mistakes: Count | None
    why_unchanged: str | None
    before: dict[Split, Reliability]
    after: dict[Split, Reliability]


@dataclass(frozen=True)
class FittedTemperature:
    """A temperature before its effect is measured; fields as in :class:`Temperature`."""

    value: float
    photos: int
    mistakes: int | None
    why_unchanged: str | None

    def described(
        self, logits: dict[Split, npt.NDArray[np.float32]], targets: dict[Split, npt.NDArray[np.int64]]
    ) -> Temperature:
        """Return it with the reliability before and after.

        Args:
            logits: Logits of the held-out photos divided by the temperature, by split, float32 [n, classes].
            targets: Their classes, int64 [n].
        """
        scale = np.float32(self.value)
        return Temperature(
            self.value,
            self.photos,
            self.mistakes,
            self.why_unchanged,
            before={split: reliability(softmax(one * scale), targets[split]) for split, one in logits.items()},
            after={split: reliability(softmax(one), targets[split]) for split, one in logits.items()},
        )


def fold(model: Any, fitted: FittedTemperature) -> None:
    """Divide kernel and bias of the dense layer ``logits`` of a keras.Model by a fitted temperature, in place."""
    if fitted.why_unchanged is None:
        layer = model.get_layer("logits")
        layer.set_weights([weight / np.float32(fitted.value) for weight in layer.get_weights()])


def fit_temperature(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> FittedTemperature:
    """Fit the temperature on validation photos; leave it at 1 where they are too few to tell it from 1.

    Args:
        logits: float32 [n, classes].
        targets: Class indices, int64 [n].
    """
    photos = len(targets)
    if photos < FEWEST_PHOTOS:
        return left_at_1(photos)
    mistakes = int((logits.argmax(axis=1) != targets).sum())
    if mistakes < FEWEST_MISTAKES:
        why = f"a temperature needs {FEWEST_MISTAKES} mistakes among validation photos, and there are {mistakes}"
        return FittedTemperature(1.0, photos, mistakes, why)
    wide = logits.astype(np.float64)
    inverse = best_inverse(wide, targets)
    if min(abs(inverse / bound - 1) for bound in _INVERSE) < _AT_BOUND:
        low, high = (1 / bound for bound in reversed(_INVERSE))
        why = f"the loss of {photos} validation photos has no minimum between {low:g} and {high:g}"
        return FittedTemperature(1.0, photos, mistakes, why)
    probability = _by_chance(_loss(wide, targets) - _loss(wide * inverse, targets))
    if probability > _LEVEL:
        why = (
            f"{photos} validation photos do not tell {1 / inverse:.2f}, the best for them, from 1"
            f" (likelihood-ratio test, p = {probability:.2f})"
        )
        return FittedTemperature(1.0, photos, mistakes, why)
    return FittedTemperature(1 / inverse, photos, mistakes, None)


def left_at_1(photos: int) -> FittedTemperature:
    """Return the temperature of a model with too few validation photos."""
    why = f"a temperature needs {FEWEST_PHOTOS} validation photos, and there are {photos}"
    return FittedTemperature(1.0, photos, None, why)


def best_inverse(
    logits: npt.NDArray[np.float64], targets: npt.NDArray[np.int64], *, bisections: int = _BISECTIONS
) -> float:
    """Return the inverse temperature with the least negative log-likelihood, by bisection of its slope.

    The likelihood is concave in the inverse, so the slope changes its sign once.

    Args:
        logits: float64 [n, classes].
        targets: Class indices, int64 [n].
        bisections: How often the range, 0.05 to 20, is halved.
    """
    own = logits[np.arange(len(targets)), targets].mean()

    def slope(inverse: float) -> float:
        scaled = logits * inverse
        weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return float((weights * logits).sum(axis=1).mean() - own)

    low, high = _INVERSE
    for _ in range(bisections):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2


def reliability(probabilities: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> Reliability:
    """Return Brier score, negative log-likelihood and calibration error of predictions on at least one photo.

    Args:
        probabilities: float32 [n, classes].
        targets: Class indices, int64 [n].
    """
    wide = probabilities.astype(np.float64)
    truth = np.zeros_like(wide)
    truth[np.arange(len(targets)), targets] = 1
    stated = np.maximum(wide[np.arange(len(targets)), targets], np.finfo(np.float32).tiny)
    return Reliability(
        brier=float(((wide - truth) ** 2).sum(axis=1).mean()),
        nll=max(0.0, float(-np.log(stated).mean())),
        calibration=calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets),
    )


def _by_chance(gain: float) -> float:
    """Return the probability that a temperature of 1 shows at least this gain in log-likelihood, in nats, by chance.

    Twice the gain has a chi-squared distribution of one degree of freedom.
    """
    return math.erfc(math.sqrt(max(0.0, gain)))


def _loss(logits: npt.NDArray[np.float64], targets: npt.NDArray[np.int64]) -> float:
    """Return the negative log-likelihood of all photos together, in nats."""
    largest = logits.max(axis=1, keepdims=True)
    scaled = logits - largest
    return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(targets)), targets]).sum())
