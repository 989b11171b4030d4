"""Scores of a variant, as in bench results, bundles and quantization reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ._lib.documents import Count, Interval, Is, Percentage, Positive, Share, Unknown, optional


@dataclass(frozen=True)
class Top5:
    """Top-5 accuracy: the true class is among the five likeliest. Only for models with more than five classes.

    Attributes:
        correct: Photos with the true class in the top 5.
        share: correct / photos
        ci95: Wilson's score interval, 0 to 1.
    """

    correct: Count
    share: Share
    ci95: Interval


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy on held-out photos, or those of a folder.

    Attributes:
        photos: Number of photos.
        correct: Number of correct predictions.
        top1: correct / photos
        ci95: Wilson's score interval, 0 to 1.
        top5: Top-5 accuracy of models with more than five classes.
    """

    photos: Positive
    correct: Count
    top1: Share
    ci95: Interval
    top5: Top5 | None = optional()


@dataclass(frozen=True)
class Coverage:
    """Accuracy among a part of the photos: those with the lowest unknown scores.

    Attributes:
        share: Part of all photos.
        photos: Their number.
        top1: Accuracy among them.
    """

    share: Share
    photos: Positive
    top1: Share


@dataclass(frozen=True)
class AmongAccepted:
    """Accuracy among the photos that are not unknown to the model.

    Attributes:
        photos: All photos.
        share: The part of them that is accepted.
        share_ci95: Wilson's score interval, 0 to 1.
        accuracy: Accuracy among those accepted.
        by_coverage: The same if more or fewer were accepted, all photos first.
    """

    photos: Positive
    share: Share
    share_ci95: Interval
    accuracy: Accuracy | Unknown
    by_coverage: tuple[Coverage, ...]


@dataclass(frozen=True)
class Agreement:
    """A variant compared with the reference on the same photos.

    Attributes:
        photos: Number of photos.
        agree: Photos with the same predicted class.
        top1: agree / photos
        mae: Mean absolute difference of probabilities.
        max_abs: Largest absolute difference of probabilities.
        drop_pp: Accuracy of the reference minus that of the variant, percentage points; negative when the variant is
            better.
        drop_ci95_pp: Adjusted Wald interval for matched pairs (Agresti and Min, 2005), percentage points.
        lost: Photos that only the reference got right.
        gained: Photos that only the variant got right.
        mcnemar_p: Two-sided exact McNemar test on lost and gained.
    """

    photos: Positive
    agree: Count
    top1: Share
    mae: Share
    max_abs: Share
    drop_pp: Percentage
    drop_ci95_pp: Interval
    lost: Count
    gained: Count
    mcnemar_p: Annotated[float, Is(low=0, high=1)]


@dataclass(frozen=True)
class ClassScore:
    """Scores of a variant for one class.

    Attributes:
        index: Index of the class in the labels.
        label: Name of the class.
        photos: Photos of this class.
        predicted: Photos predicted as this class.
        correct: Photos of this class predicted as it.
        recall: correct / photos
        precision: correct / predicted
    """

    index: Count
    label: str
    photos: Count
    predicted: Count
    correct: Count
    recall: Share | Unknown
    precision: Share | Unknown


@dataclass(frozen=True)
class Scores:
    """All scores of a variant.

    Attributes:
        accuracy: Accuracy of the variant.
        agreement: Agreement with the reference.
        per_class: One row per class, in the order of the labels.
    """

    accuracy: Accuracy
    agreement: Agreement | Unknown
    per_class: tuple[ClassScore, ...]
