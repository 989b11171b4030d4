"""Pictures of a training run as PNG files: learning curves and the confusion matrix. Not for: numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgetl.extras import require

# Names are written in the cells' axes only while they can be read.
_MAX_NAMED_CLASSES = 40
_MAX_COUNTED_CLASSES = 20


def learning_curves(history: Sequence[dict[str, Any]], target: Path) -> None:
    """Draw loss and accuracy over the epochs of the second stage; epoch 0 is the head alone."""
    figure, (left, right) = _figure(9, 3.6, columns=2)
    rows = [row for row in history if row["stage"] == "blocks"]
    for axes, name in ((left, "loss"), (right, "accuracy")):
        for prefix, label in (("", "training"), ("val_", "validation")):
            points = [(row["epoch"], row[prefix + name]) for row in rows if prefix + name in row]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        axes.set_xlabel("epoch (0: head alone)")
        axes.set_ylabel("cross-entropy, nats" if name == "loss" else "top-1 accuracy")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    left.set_title("Loss (training: smoothed, augmented)", fontsize=10)
    right.set_title("Accuracy", fontsize=10)
    figure.savefig(target, dpi=130)


def confusion_matrix(confusion: Sequence[Sequence[int]], labels: Sequence[str], *, title: str, target: Path) -> None:
    """Draw a confusion matrix; colours are shares of the true class, numbers are photos."""
    classes = len(labels)
    side = min(14.0, 3.0 + 0.45 * classes)
    figure, axes = _figure(side + 1, side)
    shares = [[count / max(1, sum(row)) for count in row] for row in confusion]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=10)
    if classes <= _MAX_NAMED_CLASSES:
        axes.set_xticks(range(classes), labels, rotation=45, ha="right")
        axes.set_yticks(range(classes), labels)
    if classes <= _MAX_COUNTED_CLASSES:
        for y, row in enumerate(confusion):
            for x, count in enumerate(row):
                axes.text(x, y, str(count), ha="center", va="center", color="white" if shares[y][x] > 0.5 else "black")
    figure.savefig(target, dpi=130)


def _figure(width_in: float, height_in: float, *, columns: int = 1) -> tuple[Any, Any]:
    # Without pyplot there is no global state and no window system to ask for.
    figure = require("matplotlib.figure").Figure(figsize=(width_in, height_in), layout="constrained")
    return figure, figure.subplots(1, columns)
