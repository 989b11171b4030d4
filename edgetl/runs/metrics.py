"""Accuracy, precision, recall, F1 and confusion of predictions on labelled photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import require
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.documents import Count, Interval, Share, optional
from edgetl_device.errors import InputError
from edgetl_device.scores import Accuracy

from .calibration_error import CalibrationError, calibration_error


def accuracy_of(correct: int, photos: int) -> Accuracy:
    """Return the accuracy of ``correct`` right ones of ``photos``, at least one."""
    return Accuracy(photos, correct, correct / photos, wilson95(correct, photos))


@dataclass(frozen=True)
class ClassMetrics:
    """One class.

    Attributes:
        label: Its name.
        photos: How many photos it has.
        precision: Share of the photos predicted as this class that are of it; 0 where none were.
        recall: Share of its photos that are right; 0 without photos.
        f1: Harmonic mean of the two.
        recall_ci95: 95% interval of the recall by Wilson; null without photos.
    """

    label: str
    photos: Count
    precision: Share
    recall: Share
    f1: Share
    recall_ci95: Interval | None = None


@dataclass(frozen=True)
class Metrics:
    """How well predictions match the labels.

    Attributes:
        accuracy: Over all photos.
        macro_f1: Mean F1 of the classes that occur.
        per_class: In the order of the labels.
        confusion: Photos by true class (rows) and predicted class (columns).
        calibration_error: Calibration error; absent in runs of the first version.
    """

    accuracy: Accuracy
    macro_f1: Share
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[Count, ...], ...]
    calibration_error: CalibrationError | None = optional(key="calibration")

    def __post_init__(self) -> None:
        photos = [one.photos for one in self.per_class]
        if [len(row) for row in self.confusion] != [len(photos)] * len(photos):
            raise InputError("confusion", why=f"must have {len(photos)} rows of {len(photos)} classes, as per_class")
        if [sum(row) for row in self.confusion] != photos or sum(photos) != self.accuracy.photos:
            raise InputError("confusion, per_class and accuracy", why="they count different photos")


def classification_report(
    probabilities: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], labels: Sequence[str]
) -> Metrics:
    """Return how well predictions match the labels.

    Args:
        probabilities: float32 [n, classes].
        targets: int64 [n].
        labels: Class names, [classes].
    """
    sk = require("sklearn.metrics")
    predicted = probabilities.argmax(axis=1)
    indices = np.arange(len(labels))
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        targets, predicted, labels=indices, zero_division=0.0
    )
    confusion: list[list[int]] = sk.confusion_matrix(targets, predicted, labels=indices).tolist()
    return Metrics(
        accuracy=accuracy_of(int((predicted == targets).sum()), len(targets)),
        macro_f1=float(f1[support > 0].mean()),
        per_class=tuple(
            ClassMetrics(
                label=label,
                photos=int(support[index]),
                precision=float(precision[index]),
                recall=float(recall[index]),
                f1=float(f1[index]),
                recall_ci95=_recall_interval(confusion[index], index),
            )
            for index, label in enumerate(labels)
        ),
        confusion=tuple(map(tuple, confusion)),
        calibration_error=calibration_error(probabilities.max(axis=1), predicted == targets),
    )


def _recall_interval(row: list[int], index: int) -> Interval | None:
    return wilson95(row[index], sum(row)) if sum(row) else None
