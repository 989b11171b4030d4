"""Compare the accuracy of two models photo by photo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Literal

import numpy as np

from edgetl_device._lib.documents import Count, Interval, Percentage, Positive, Sha256, Share
from edgetl_device.bench.accuracy import Bools, mcnemar_exact, paired_drop

# The significance level of the exact McNemar test.
ALPHA = 0.05
NoDifference = Literal["no difference that this data can show"]
NO_DIFFERENCE: NoDifference = "no difference that this data can show"


@dataclass(frozen=True)
class PhotoPrediction:
    """A prediction: name and SHA-256 of the photo's file, true class, predicted class."""

    file: str
    sha256: str
    label: str
    predicted: str


@dataclass(frozen=True)
class ClassChange:
    """Correct predictions of both models for one class.

    Attributes:
        label: The class.
        photos: Number of its photos.
        baseline_correct: Correct predictions of the baseline.
        correct: Correct predictions of the other model.
        drop_pp: Drop in recall, percentage points.
    """

    label: str
    photos: Positive
    baseline_correct: Count
    correct: Count
    drop_pp: Percentage


@dataclass(frozen=True)
class ChangedPhoto:
    """A photo for which the predicted class differs.

    Attributes:
        file: Its name in the set.
        sha256: SHA-256 of the file.
        label: The true class.
        baseline: Class predicted by the baseline.
        other: Class predicted by the other model.
    """

    file: str
    sha256: Sha256
    label: str
    baseline: str
    other: str


@dataclass(frozen=True)
class PairedAgreement:
    """The difference in accuracy between two models on the same photos.

    Attributes:
        photos: Number of photos.
        baseline_correct: Photos that the baseline got right.
        correct: Photos that the other model got right.
        agree: Photos with the same predicted class.
        top1: agree / photos
        drop_pp: Accuracy of the baseline minus that of the other, percentage points.
        drop_ci95_pp: Its 95% interval for matched pairs.
        lost: Photos that only the baseline got right.
        gained: Photos that only the other model got right.
        mcnemar_p: Two-sided exact McNemar test on lost and gained.
        verdict: Conclusion at the 5% significance level.
        per_class: One row per class, sorted by name.
        changed: Every photo for which the predicted class differs.
    """

    photos: Positive
    baseline_correct: Count
    correct: Count
    agree: Count
    top1: Share
    drop_pp: Percentage
    drop_ci95_pp: Interval
    lost: Count
    gained: Count
    mcnemar_p: Share
    verdict: Literal["better", "worse"] | NoDifference
    per_class: tuple[ClassChange, ...]
    changed: tuple[ChangedPhoto, ...]


def compare_predictions(baseline: Sequence[PhotoPrediction], other: Sequence[PhotoPrediction]) -> PairedAgreement:
    """Return the difference in accuracy between ``other`` and ``baseline``.

    Args:
        baseline: Predictions on some photos, at least one.
        other: Predictions on the same photos, in any order.
    """
    pairs = list(zip(_ordered(baseline), _ordered(other), strict=True))
    if not pairs or any((one.sha256, one.label) != (two.sha256, two.label) for one, two in pairs):
        raise ValueError("the predictions are not for the same photos")
    was_right = np.array([one.predicted == one.label for one, _ in pairs])
    is_right = np.array([two.predicted == two.label for _, two in pairs])
    drop = paired_drop(was_right, is_right)
    p = mcnemar_exact(drop.lost, drop.gained)
    changed = [(one, two) for one, two in pairs if one.predicted != two.predicted]
    return PairedAgreement(
        photos=len(pairs),
        baseline_correct=int(was_right.sum()),
        correct=int(is_right.sum()),
        agree=len(pairs) - len(changed),
        top1=1 - len(changed) / len(pairs),
        drop_pp=drop.drop_pp,
        drop_ci95_pp=drop.ci95_pp,
        lost=drop.lost,
        gained=drop.gained,
        mcnemar_p=p,
        verdict=NO_DIFFERENCE if p >= ALPHA else "worse" if drop.lost > drop.gained else "better",
        per_class=_per_class([one.label for one, _ in pairs], was_right, is_right),
        changed=tuple(
            ChangedPhoto(one.file, one.sha256, one.label, one.predicted, two.predicted)
            for one, two in sorted(changed, key=lambda pair: pair[0].file)
        ),
    )


def _ordered(predictions: Sequence[PhotoPrediction]) -> list[PhotoPrediction]:
    # Copies of a photo get the same prediction, so their order does not matter.
    return sorted(predictions, key=lambda one: (one.sha256, one.label))


def _per_class(labels: Sequence[str], was_right: Bools, is_right: Bools) -> tuple[ClassChange, ...]:
    photos, was, now = (
        Counter(compress(labels, chosen)) for chosen in (np.ones(len(labels), bool), was_right, is_right)
    )
    return tuple(
        ClassChange(label, count, was[label], now[label], 100 * (was[label] - now[label]) / count)
        for label, count in sorted(photos.items())
    )
