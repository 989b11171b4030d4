"""Accuracy, precision, recall, F1 and confusion of predictions on labelled photos. Not for: making predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import require
from edgetl.runs.calibration_error import reliability
from edgetl_device.bench.accuracy import wilson95


def classification_report(
    probabilities: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], labels: Sequence[str]
) -> dict[str, Any]:
    """Return how well predictions match the labels, as a JSON object.

    Args:
        probabilities: float32 [n, classes].
        targets: int64 [n].
        labels: Class names, [classes].

    Returns:
        ``accuracy`` (photos, correct, top1, ci95 by Wilson), ``macro_f1`` over the classes that occur, ``per_class``
        (label, photos, precision, recall, f1; 0 where nothing was predicted; recall_ci95 by Wilson, None without
        photos), ``confusion`` [classes][classes] counts, rows being the true class, and ``calibration``
        (:func:`edgetl.runs.calibration_error.reliability`).
    """
    sk = require("sklearn.metrics")
    predicted = probabilities.argmax(axis=1)
    indices = np.arange(len(labels))
    correct = int((predicted == targets).sum())
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        targets, predicted, labels=indices, zero_division=0.0
    )
    confusion: list[list[int]] = sk.confusion_matrix(targets, predicted, labels=indices).tolist()
    return {
        "accuracy": {
            "photos": len(targets),
            "correct": correct,
            "top1": correct / len(targets),
            "ci95": list(wilson95(correct, len(targets))),
        },
        "macro_f1": float(f1[support > 0].mean()),
        "per_class": [
            {
                "label": label,
                "photos": int(support[index]),
                "precision": float(precision[index]),
                "recall": float(recall[index]),
                "f1": float(f1[index]),
                "recall_ci95": _recall_interval(confusion[index], index),
            }
            for index, label in enumerate(labels)
        ],
        "confusion": confusion,
        "calibration": reliability(probabilities.max(axis=1), predicted == targets),
    }


def _recall_interval(row: list[int], index: int) -> list[float] | None:
    return list(wilson95(row[index], sum(row))) if sum(row) else None
