"""Scores of a variant, as in bench results, bundles and quantization reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from .documents import Count, Interval, Is, Percentage, Positive, Share, Unknown, optional


@dataclass(frozen=True)
class Top5:
    """The true class is among the five likeliest; of models with more than five classes.

    Attributes:
        correct: Photos of which that is so.
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
        photos: How many there are.
        correct: How many of them are right.
        top1: correct / photos
        ci95: Wilson's score interval, 0 to 1.
        top5: Of models with more than five classes.
    """

    photos: Positive
    correct: Count
    top1: Share
    ci95: Interval
    top5: Top5 | None = optional()


@dataclass(frozen=True)
class Agreement:
    """A variant against the reference, on the same photos.

    Attributes:
        photos: How many there are.
        agree: Photos with the same most likely class.
        top1: agree / photos
        mae: Mean absolute difference of probabilities.
        max_abs: Largest absolute difference of probabilities.
        drop_pp: Accuracy of the reference minus that of the variant, percentage points; negative when the variant is
            better.
        drop_ci95_pp: Adjusted Wald interval for matched pairs (Agresti and Min, 2005), percentage points.
        lost: Photos that only the reference has right.
        gained: Photos that only the variant has right.
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
    """How a variant does on one class.

    Attributes:
        index: Its place in the order of the labels.
        label: Its name.
        photos: Photos of this class.
        predicted: Photos that were given this class.
        correct: Photos of this class that were given it.
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
    """All of them.

    Attributes:
        accuracy: How often the variant is right.
        agreement: How it differs from the reference.
        per_class: One row a class, in the order of the labels.
    """

    accuracy: Accuracy
    agreement: Agreement | Unknown
    per_class: tuple[ClassScore, ...]
