"""Metrics, predictions and plots of a trained network on the held-out photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.progress import step
from edgetl.data import SPLITS, Dataset, Split
from edgetl.reports import plots
from edgetl.reports.text import top1_text
from edgetl.runs import float_model
from edgetl.runs.confusion import FILE as CONFUSION
from edgetl.runs.confusion import Confusion, confusion_of, write_confusion
from edgetl.runs.history import HistoryRow
from edgetl.runs.metrics import Metrics, classification_report
from edgetl.runs.predictions import FILE, HeldOutPrediction, predictions_of, write_predictions

from .stages import rows_of
from .trackers import Tracker

_SHOWN_PHOTOS = 16


def write_report(
    network: Any, dataset: Dataset, history: Sequence[HistoryRow], folder: Path, trackers: Sequence[Tracker]
) -> tuple[dict[Split, Metrics], dict[Split, npt.NDArray[np.float32]]]:
    """Evaluate on validation and test photos, and write predictions, confusion and plots.

    Args:
        network: The trained network.
        dataset: Its photos.
        history: Rows of all stages.
        folder: The run directory, which gets the files and ``plots/``.
        trackers: What follows the run, which gets the plots too.

    Returns:
        Metrics and logits of each split; logits are float32 [photos, classes].
    """
    plots_folder = folder / "plots"
    plots_folder.mkdir()
    metrics: dict[Split, Metrics] = {}
    logits: dict[Split, npt.NDArray[np.float32]] = {}
    confusion: dict[Split, Confusion] = {}
    predictions: list[HeldOutPrediction] = []
    for split in SPLITS[1:]:
        rows, targets = rows_of(dataset, split)
        if len(rows):
            scores = float_model.logits(network, dataset.pixels.array, rows, description=f"Evaluating on {split}")
            logits[split] = scores
            probabilities = float_model.softmax(scores)
            metrics[split] = classification_report(probabilities, targets, dataset.labels)
            found = predictions_of(dataset.of(split), dataset.labels, probabilities)
            predictions += found
            confusion[split] = confusion_of(((one.label, one.predicted) for one in found), dataset.labels)
            if trackers:
                answers = [
                    plots.ClassifiedPhoto(
                        dataset.pixels.array[row], dataset.labels[target], one.predicted, one.probability
                    )
                    for row, target, one in list(zip(rows, targets, found, strict=True))[:: _every(len(rows))]
                ]
                target_file = plots_folder / f"photos_{split}.png"
                plots.sample_predictions(answers, target_file)
                for tracker in trackers:
                    tracker.picture(f"photos_{split}", target_file.read_bytes())
    write_predictions(folder / FILE, predictions)
    write_confusion(folder / CONFUSION, confusion)
    with step("Drawing plots"):
        plots.learning_curves(history, plots_folder / "curves.png")
        for name, report in metrics.items():
            accuracy = report.accuracy
            title = f"{name}: {accuracy.correct} of {accuracy.photos} photos right, {top1_text(accuracy)}"
            target_file = plots_folder / f"confusion_{name}.png"
            plots.confusion_matrix(confusion[name], dataset.labels, title=title, target=target_file)
            for tracker in trackers:
                tracker.picture(f"confusion_{name}", target_file.read_bytes())
    return metrics, logits


def _every(photos: int) -> int:
    """Return the step that spreads the shown photos evenly over all photos, and so over the classes."""
    return max(1, -(-photos // _SHOWN_PHOTOS))
