"""Accuracy of a variant and its agreement with the float reference, with 95% intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl_device._lib.documents import Unknown
from edgetl_device.scores import Accuracy, Agreement, AmongAccepted, ClassScore, Coverage, Scores, Top5
from edgetl_device.unknown import Accepted, is_unknown

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]

# The 97.5% quantile of the standard normal distribution: two-sided intervals at 95%.
_Z95 = 1.959963984540054
TOP = 5
# Parts of the photos in a table of accuracy by coverage.
_COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


@dataclass(frozen=True)
class PairedDrop:
    """The accuracy drop of a variant against the reference on the same photos.

    Attributes:
        drop_pp: Reference minus variant, in percentage points; negative when the variant is better.
        ci95_pp: Its 95% interval (low, high) in percentage points.
        lost: Photos that only the reference got right.
        gained: Photos that only the variant got right.
    """

    drop_pp: float
    ci95_pp: tuple[float, float]
    lost: int
    gained: int


def wilson95(correct: int, n: int) -> tuple[float, float]:
    """Return the 95% score interval (low, high) of a proportion, both within 0..1.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"{correct} of {n} is not a proportion")
    p, z2 = correct / n, _Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At 0 of n and n of n the bound is exactly 0 or 1; rounding must not exclude the proportion.
    return (0.0 if correct == 0 else centre - half, 1.0 if correct == n else centre + half)


def accuracy_of(correct: int, photos: int) -> Accuracy:
    """Return the accuracy for ``correct`` of ``photos`` predictions; ``photos`` is at least 1."""
    return Accuracy(photos, correct, correct / photos, wilson95(correct, photos))


def accepted_of(accepted: int, photos: int) -> Accepted:
    """Return what ``accepted`` of ``photos`` say; ``photos`` is at least 1."""
    return Accepted(photos, accepted, accepted / photos, wilson95(accepted, photos))


def paired_drop(reference_correct: Bools, correct: Bools) -> PairedDrop:
    """Return the drop in accuracy from the reference to a variant on the same photos, with its 95% interval.

    The interval is the adjusted Wald interval for matched pairs: half a photo is added to each of the four cells.
    A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched proportions",
    Statistics in Medicine 24 (2005).

    Args:
        reference_correct: bool [n], whether the reference classifies photo i correctly.
        correct: bool [n], whether the variant does.
    """
    if len(reference_correct) != len(correct) or len(correct) == 0:
        raise ValueError(f"{len(reference_correct)} and {len(correct)} photos are not pairs")
    n = len(correct)
    lost = int(np.count_nonzero(reference_correct & ~correct))
    gained = int(np.count_nonzero(~reference_correct & correct))
    n_adjusted, difference, discordant = n + 2, lost - gained, lost + gained + 1
    centre = difference / n_adjusted
    half = _Z95 * math.sqrt(discordant - difference**2 / n_adjusted) / n_adjusted
    interval = (100 * max(-1.0, centre - half), 100 * min(1.0, centre + half))
    return PairedDrop(100 * difference / n, interval, lost, gained)


def mcnemar_exact(b: int, c: int) -> float:
    """Return the two-sided p-value that ``b`` and ``c`` discordant pairs come from equal accuracies.

    The exact binomial form of Q. McNemar, "Note on the sampling error of the difference between correlated proportions
    or percentages", Psychometrika 12 (1947). 1.0 when there are no discordant pairs.
    """
    if b < 0 or c < 0:
        raise ValueError(f"{b} and {c} are not counts")
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
    return float(min(1.0, 2 * tail / 2 ** (b + c)))


def score(
    probabilities: Floats,
    labels: npt.NDArray[np.integer[Any]],
    reference_probabilities: Floats | Unknown,
    *,
    names: Sequence[str] | None = None,
) -> Scores:
    """Return accuracy, agreement with the reference and a per-class table.

    If probabilities are equal, the first class is the prediction, here as in the classifier.

    Args:
        probabilities: float [n, classes], row i = photo i.
        labels: int [n], the true class of each photo.
        reference_probabilities: float [n, classes] of the float model, or why there are none.
        names: The class names, to label the per-class rows with; without, they are called by their index.
    """
    n, classes = probabilities.shape
    if labels.shape != (n,) or n == 0:
        raise ValueError(f"labels of shape {labels.shape} for {n} photos")
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    correct = int(right.sum())
    return Scores(
        accuracy_of(correct, n),
        _agreement(probabilities, labels, reference_probabilities),
        tuple(_class_row(index, predicted, labels, names) for index in range(classes)),
    )


def among_accepted(unknown_scores: npt.NDArray[np.float64], right: Bools) -> AmongAccepted:
    """Return the accuracy among the photos that are not unknown, and by the share of photos that would be accepted.

    R. El-Yaniv and Y. Wiener, "On the foundations of noise-free selective classification", JMLR 11 (2010).

    Args:
        unknown_scores: float64 [n], at least one.
        right: bool [n], whether photo i is classified correctly.
    """
    n = len(right)
    accepted = np.array([not is_unknown(score) for score in unknown_scores.tolist()])
    count, correct = int(accepted.sum()), int(right[accepted].sum())
    nearest = right[np.argsort(unknown_scores, kind="stable")]
    parts = [(share, max(1, round(share * n))) for share in _COVERAGES]
    return AmongAccepted(
        photos=n,
        share=count / n,
        share_ci95=wilson95(count, n),
        accuracy=accuracy_of(correct, count) if count else Unknown("no photo is accepted"),
        by_coverage=tuple(Coverage(share, part, float(nearest[:part].mean())) for share, part in parts),
    )


def top5(probabilities: Floats, labels: npt.NDArray[np.integer[Any]]) -> Top5:
    """Return top-5 accuracy: how often the true class is among the five likeliest.

    If probabilities are equal, the first class counts as likelier. Only meaningful with more than five classes.

    Args:
        probabilities: float [n, classes], row i = photo i.
        labels: int [n], the true class of each photo.
    """
    likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    n, correct = len(labels), int((likeliest == labels[:, None]).any(axis=1).sum())
    return Top5(correct, correct / n, wilson95(correct, n))


def _agreement(
    probabilities: Floats, labels: npt.NDArray[np.integer[Any]], reference: Floats | Unknown
) -> Agreement | Unknown:
    if isinstance(reference, Unknown):
        return reference
    if reference.shape != probabilities.shape:
        raise ValueError(f"a reference of shape {reference.shape} for probabilities of {probabilities.shape}")
    n = len(labels)
    predicted, reference_predicted = probabilities.argmax(axis=1), reference.argmax(axis=1)
    agree = int((predicted == reference_predicted).sum())
    difference = np.abs(probabilities.astype(np.float64) - reference.astype(np.float64))
    drop = paired_drop(reference_predicted == labels, predicted == labels)
    return Agreement(
        photos=n,
        agree=agree,
        top1=agree / n,
        mae=float(difference.mean()),
        max_abs=float(difference.max()),
        drop_pp=drop.drop_pp,
        drop_ci95_pp=drop.ci95_pp,
        lost=drop.lost,
        gained=drop.gained,
        mcnemar_p=mcnemar_exact(drop.lost, drop.gained),
    )


def _class_row(
    index: int,
    predicted: npt.NDArray[np.integer[Any]],
    labels: npt.NDArray[np.integer[Any]],
    names: Sequence[str] | None,
) -> ClassScore:
    photos = int((labels == index).sum())
    said = int((predicted == index).sum())
    correct = int(((labels == index) & (predicted == index)).sum())
    return ClassScore(
        index=index,
        label=str(index) if names is None else names[index],
        photos=photos,
        predicted=said,
        correct=correct,
        recall=correct / photos if photos else Unknown("no photos of this class"),
        precision=correct / said if said else Unknown("this class was never predicted"),
    )
