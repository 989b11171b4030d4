"""Accuracy, precision, recall and F1 of predictions on labelled photos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgetl_device._lib.documents import Count, Interval, Share, Unknown, optional
from edgetl_device.bench.accuracy import accuracy_of, wilson95
from edgetl_device.errors import InputError
from edgetl_device.scores import Accuracy

from .calibration_error import CalibrationError, calibration_error


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one class.

    Attributes:
        label: Class name.
        photos: Number of photos of the class.
        precision: Precision; unknown if no photo was predicted as this class.
        recall: Recall; unknown without photos.
        f1: Harmonic mean of precision and recall; 0 if one of them is unknown, unknown if both are.
        recall_ci95: 95% Wilson interval of the recall; null in runs of earlier versions.
    """

    label: str
    photos: Count
    precision: Share | Unknown
    recall: Share | Unknown
    f1: Share | Unknown
    recall_ci95: Interval | Unknown | None = None


@dataclass(frozen=True)
class Metrics:
    """Classification metrics.

    Attributes:
        accuracy: Accuracy over all photos.
        macro_f1: Mean F1 of the classes that occur.
        per_class: Metrics of each class, in the order of the labels.
        calibration_error: Calibration error; absent in runs of the first version.
    """

    accuracy: Accuracy
    macro_f1: Share
    per_class: tuple[ClassMetrics, ...]
    calibration_error: CalibrationError | None = optional(key="calibration")

    def __post_init__(self) -> None:
        if sum(one.photos for one in self.per_class) != self.accuracy.photos:
            raise InputError("per_class and accuracy", why="they count different photos")


def weakest(rows: Sequence[ClassMetrics]) -> list[ClassMetrics]:
    """Return the classes, those with the lowest F1 first; a class without a measured F1 is not the weakest."""
    return sorted(rows, key=lambda row: (math.inf if isinstance(row.f1, Unknown) else row.f1, row.label))


_NO_PHOTOS = Unknown("no photos of this class")


def classification_report(
    probabilities: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], labels: Sequence[str]
) -> Metrics:
    """Return the classification metrics of predictions.

    Args:
        probabilities: float32 [n, classes].
        targets: Class indices, int64 [n].
        labels: Class names, [classes].
    """
    predicted = probabilities.argmax(axis=1)
    rows = per_class(predicted, targets, labels)
    return Metrics(
        accuracy=accuracy_of(int((predicted == targets).sum()), len(targets)),
        macro_f1=float(np.mean([row.f1 for row in rows if row.photos])),
        per_class=rows,
        calibration_error=calibration_error(probabilities.max(axis=1), predicted == targets),
    )


def per_class(
    predicted: npt.NDArray[np.int64], targets: npt.NDArray[np.int64], labels: Sequence[str]
) -> tuple[ClassMetrics, ...]:
    """Return the metrics of each class.

    Args:
        predicted: Predicted class indices, int64 [n].
        targets: Class indices, int64 [n].
        labels: Class names, [classes].
    """
    said, photos = (np.bincount(which, minlength=len(labels)).tolist() for which in (predicted, targets))
    right = np.bincount(targets[predicted == targets], minlength=len(labels)).tolist()
    return tuple(
        ClassMetrics(
            label=label,
            photos=photos[index],
            precision=right[index] / said[index] if said[index] else Unknown("this class was never predicted"),
            recall=right[index] / photos[index] if photos[index] else _NO_PHOTOS,
            # The harmonic mean of both.
            f1=2 * right[index] / (said[index] + photos[index])
            if said[index] or photos[index]
            else Unknown("no photos of this class, and it was never predicted"),
            recall_ci95=wilson95(right[index], photos[index]) if photos[index] else _NO_PHOTOS,
        )
        for index, label in enumerate(labels)
    )
