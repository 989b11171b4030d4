"""Plots as PNG files: learning curves, confusion matrix, variants side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import plain_figures, require
from edgetl.runs.confusion import Confusion, as_matrix
from edgetl.runs.history import Epoch, HistoryRow, points_of
from edgetl_device._lib.documents import Unknown
from edgetl_device.bench.percentiles import percentile
from edgetl_device.bench.result import Result, ResultRun
from edgetl_device.preprocess import image_of
from edgetl_device.text import LISTED
from edgetl_device.truth import share_called

from .text import drawn

# With more classes than this, a matrix is unreadable.
_MAX_CLASSES = 40
_MAX_COUNTED_CLASSES = 20
_RIGHT, _WRONG = "black", "firebrick"


@dataclass(frozen=True, eq=False)
class ClassifiedPhoto:
    """A photo and a model's prediction for it.

    Attributes:
        pixels: uint8 [H, W, C].
        label: The true class.
        predicted: The predicted class.
        probability: Predicted probability of that class, 0..1.
    """

    pixels: npt.NDArray[np.uint8]
    label: str
    predicted: str
    probability: float

    @property
    def color(self) -> str:
        """Colour of the prediction's text."""
        return _RIGHT if self.predicted == self.label else _WRONG


@plain_figures()
def learning_curves(history: Sequence[HistoryRow], target: Path) -> None:
    """Draw loss and accuracy over the epochs of the second stage; epoch 0 is the state before it."""
    figure, (left, right) = _figure(9, 3.6, columns=2)
    rows = [row for row in history if isinstance(row, Epoch) and row.stage == "blocks"]
    for axes, name in ((left, "loss"), (right, "accuracy")):
        for prefix, label in (("", "training"), ("val_", "validation")):
            if points := points_of(rows, prefix + name):
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        axes.set_xlabel("epoch (0: before the first)" if any(row.epoch == 0 for row in rows) else "epoch")
        axes.xaxis.set_major_locator(whole_numbers())
        axes.set_ylabel("cross-entropy, nats" if name == "loss" else "top-1 accuracy")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    left.set_title("Loss (training: as minimized)", fontsize=10)
    right.set_title("Accuracy", fontsize=10)
    figure.savefig(target, dpi=130)


@plain_figures()
def confusion_matrix(confusion: Confusion, labels: Sequence[str], *, title: str, target: Path) -> None:
    """Draw a confusion matrix; colours are shares of the true class, numbers are photos.

    Of many classes it shows those with the most misclassified photos, and what they are predicted as.
    """
    photos = Counter[str]()
    for cell in confusion:
        photos[cell.label] += cell.photos
    drawn_labels = list(labels)
    if len(labels) > _MAX_CLASSES:
        drawn_labels = _most_confused(confusion, labels)
        title += f"\nthe {len(drawn_labels)} classes with the most errors, of {len(labels):,}"
    classes = len(drawn_labels)
    matrix = as_matrix(confusion, drawn_labels)
    side = min(14.0, 3.0 + 0.45 * classes)
    figure, axes = _figure(side + 1, side)
    shares = [[count / max(1, photos[label]) for count in row] for label, row in zip(drawn_labels, matrix, strict=True)]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=10)
    names = [drawn(label) for label in drawn_labels]
    axes.set_xticks(range(classes), names, rotation=45, ha="right")
    axes.set_yticks(range(classes), names)
    if classes <= _MAX_COUNTED_CLASSES:
        for y, row in enumerate(matrix):
            for x, count in enumerate(row):
                axes.text(x, y, str(count), ha="center", va="center", color="white" if shares[y][x] > 0.5 else "black")
    figure.savefig(target, dpi=130)


def _most_confused(confusion: Confusion, labels: Sequence[str]) -> list[str]:
    """Return the classes with the most misclassified photos, then those that these are predicted as."""
    errors, taken_for = Counter[str](), Counter[str]()
    for cell in confusion:
        if cell.label != cell.predicted:
            errors[cell.label] += cell.photos
    worst = [label for label, _ in errors.most_common(LISTED // 2)]
    for cell in confusion:
        if cell.label in worst and cell.predicted not in worst:
            taken_for[cell.predicted] += cell.photos
    found = [*worst, *(label for label, _ in taken_for.most_common(LISTED - len(worst)))]
    return [*found, *(label for label in labels if label not in found)][:LISTED]


@plain_figures()
def sample_predictions(photos: Sequence[ClassifiedPhoto], target: Path) -> None:
    """Draw photos with their true and predicted classes; wrong predictions are red."""
    columns = 4
    rows = -(-len(photos) // columns)
    figure = require("matplotlib.figure").Figure(figsize=(2.2 * columns, 2.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, photo in zip(grid, photos, strict=False):
        axes.imshow(image_of(photo.pixels).convert("RGB"))
        said = f"{drawn(photo.predicted)} {photo.probability:.0%}"
        title = said if photo.predicted == photo.label else f"{said}\nis {drawn(photo.label)}"
        axes.set_title(title, fontsize=8, color=photo.color)
    figure.savefig(target, dpi=100)


@plain_figures()
def side_by_side(result: Result, photos: Sequence[ClassifiedPhoto], *, title: str, target: Path) -> None:
    """Draw a bench result as one picture: classified photos above, cost and accuracy of each variant below.

    Args:
        result: A bench result; the first number of threads is drawn.
        photos: At least one; wrong predictions are red.
        title: Title of the picture.
        target: The PNG to write.
    """
    # Shown at half its size on pages, so its smallest text is large.
    figure = require("matplotlib.figure").Figure(figsize=(9.6, 6.2), layout="constrained")
    figure.suptitle(drawn(title), fontsize=13)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.6))
    for axes, photo in zip(above.subplots(1, len(photos), squeeze=False)[0], photos, strict=True):
        axes.imshow(image_of(photo.pixels).convert("RGB"))
        axes.set_title(f"{drawn(photo.predicted)}\n{photo.probability:.2f}", fontsize=11, color=photo.color)
        axes.set_axis_off()
    threads = result.runs[0].threads
    runs = [run for run in result.runs if run.threads == threads]
    shares = [100 * run.accuracy.top1 for run in runs]
    panels = (
        (
            f"model, ms a photo, {threads} thread{'s' if threads > 1 else ''}\np50, whisker to p95",
            [_median_ms(run) for run in runs],
        ),
        ("size of the file, MB", [run.bytes / 1e6 for run in runs]),
        (f"{share_called(result.evalset.truth, 'top-1 accuracy')}, %\nwith its 95% interval", shares),
    )
    whiskers = (
        [(0.0, _above_median(run)) for run in runs],
        None,
        [_around(run.accuracy.top1, run.accuracy.ci95) for run in runs],
    )
    for axes, (name, values), errors in zip(below.subplots(1, 3), panels, whiskers, strict=True):
        colours = ["#9aa5b1" if run.precision == "float32" else "#1f77b4" for run in runs]
        bars = axes.bar([run.variant for run in runs], values, color=colours, width=0.6)
        if errors:
            axes.errorbar(
                range(len(runs)), values, yerr=list(zip(*errors, strict=True)), fmt="none", ecolor="black", capsize=4
            )
        axes.bar_label(
            bars, fmt="%.2f" if max(values) < 20 else "%.1f", label_type="center", fontsize=12, color="white",
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "#1b2129", "edgecolor": "none"},
        )  # fmt: skip
        axes.set_title(name, fontsize=11)
        axes.tick_params(labelsize=11)
        if len(runs) > 2:  # so that their names do not touch
            axes.set_xticks(range(len(runs)), [run.variant for run in runs], rotation=30, ha="right")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=130)


def whole_numbers() -> Any:
    """Return a locator of ticks at whole numbers, for axes of things that are counted."""
    return require("matplotlib.ticker").MaxNLocator(integer=True)


def _median_ms(run: ResultRun) -> float:
    return percentile(run.samples_ns.invoke, 50) / 1e6


def _above_median(run: ResultRun) -> float:
    # With too few samples there is no p95, so no whisker.
    p95_ms = run.latency.p95_ms
    return 0.0 if isinstance(p95_ms, Unknown) else p95_ms - _median_ms(run)


def _around(share: float, interval: Sequence[float]) -> tuple[float, float]:
    low, high = interval
    return 100 * (share - low), 100 * (high - share)


def _figure(width_in: float, height_in: float, *, columns: int = 1) -> tuple[Any, Any]:
    # Not pyplot, which has global state and may need a window system.
    figure = require("matplotlib.figure").Figure(figsize=(width_in, height_in), layout="constrained")
    return figure, figure.subplots(1, columns)
