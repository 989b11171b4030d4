"""Accuracy, precision, recall and F1 worked out by hand; plots are pictures of a sane size."""

from __future__ import annotations

from pathlib import Path

import benched
import numpy as np
import pytest
from PIL import Image

from edgetl.reports import plots
from edgetl.runs.confusion import ConfusionCell
from edgetl.runs.metrics import Metrics, classification_report
from edgetl_device._lib.documents import Unknown
from edgetl_device.bench.result import read

LABELS = ("a", "b", "c", "d")


def report(pairs: list[tuple[int, int]]) -> Metrics:
    """Report on (true, predicted) pairs."""
    targets = np.array([true for true, _ in pairs])
    return classification_report(np.eye(4, dtype=np.float32)[[found for _, found in pairs]], targets, LABELS)


def test_by_hand() -> None:
    # a: 3 of 4 found, one taken for b. b: both found. c: never found, taken for a. d: no photo, never predicted.
    found = report([(0, 0), (0, 0), (0, 0), (0, 1), (1, 1), (1, 1), (2, 0)])
    accuracy = found.accuracy
    assert (accuracy.photos, accuracy.correct) == (7, 5)
    assert accuracy.top1 == pytest.approx(5 / 7)
    low, high = accuracy.ci95
    assert low < 5 / 7 < high
    a, b, c, d = found.per_class
    assert (a.label, a.photos) == ("a", 4)
    assert (a.precision, a.recall, a.f1) == pytest.approx((3 / 4, 3 / 4, 3 / 4))
    assert (b.precision, b.recall, b.f1) == pytest.approx((2 / 3, 1, 4 / 5))
    # A class that was never predicted has no precision; a class without photos has no recall.
    never = Unknown("this class was never predicted")
    assert (c.precision, c.recall, c.f1) == (never, 0, 0)
    assert d.photos == 0
    assert (d.precision, d.recall) == (never, Unknown("no photos of this class"))
    assert d.f1 == Unknown("no photos of this class, and it was never predicted")
    assert d.recall_ci95 == d.recall
    # Over the three classes that occur.
    assert found.macro_f1 == pytest.approx((3 / 4 + 4 / 5 + 0) / 3)


def test_all_right() -> None:
    found = report([(0, 0), (1, 1), (2, 2), (3, 3)])
    assert found.macro_f1 == 1
    assert found.accuracy.ci95[1] == pytest.approx(1)


def test_plots_are_pictures(tmp_path: Path) -> None:
    rows = [{"stage": "head", "loss": 1.0}]
    rows += [{"stage": "blocks", "epoch": epoch, "val_loss": 1 / (epoch + 1)} for epoch in range(4)]
    plots.learning_curves(rows, tmp_path / "curves.png")
    plots.learning_curves([], tmp_path / "no-epochs.png")
    for classes in (2, 21, 60):
        labels = [f"class number {index}" for index in range(classes)]
        confusion = tuple(ConfusionCell(label, label, 1) for label in labels)
        plots.confusion_matrix(confusion, labels, title="test", target=tmp_path / f"confusion-{classes}.png")
    pictures = sorted(tmp_path.iterdir())
    assert len(pictures) == 5
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert 300 <= picture.height <= 2500
            assert 300 <= picture.width <= 2500
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 2


# A class name that starts with another's, or equals one plus a number: the plot must not parse names.
@pytest.mark.parametrize(
    ("label", "predicted"), [("bolt", "bolt_long"), ("bolt", "bolt 2"), ("bolt_long", "bolt"), ("bolt", "bolt")]
)
def test_wrong_predictions_are_red_whatever_the_classes_are_called(tmp_path: Path, label: str, predicted: str) -> None:
    photo = plots.ClassifiedPhoto(np.full((8, 8, 3), 255, np.uint8), label, predicted, 0.9)
    measured = read(benched.save(tmp_path / "result.json"))
    plots.sample_predictions([photo], tmp_path / "samples.png")
    plots.side_by_side(measured, [photo], title="test", target=tmp_path / "side_by_side.png")
    for name in ("samples", "side_by_side"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        firebrick = (pixels == (178, 34, 34)).all(axis=2).any()
        assert firebrick == (label != predicted), name
