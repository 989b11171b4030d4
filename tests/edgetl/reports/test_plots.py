"""Untrusted names in plots and progress are shown literally."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import benched
import numpy as np
import pytest
from PIL import Image

from edgetl._lib.progress import note, step, track
from edgetl.reports.plots import ClassifiedPhoto, confusion_matrix, learning_curves, sample_predictions, side_by_side
from edgetl.reports.text import drawn
from edgetl.runs.confusion import ConfusionCell
from edgetl.runs.history import Epoch

NAMES = ["IPA [/b]", "[red]", r"$\frac{", "US$ and AU$", "tab\there"]


def test_labels_are_no_formulas(tmp_path: Path) -> None:
    confusion = tuple(ConfusionCell(name, name, 1) for name in NAMES)
    confusion_matrix(confusion, NAMES, title="Test", target=tmp_path / "confusion.png")
    pixels = np.zeros((8, 8, 3), np.uint8)
    photos = [ClassifiedPhoto(pixels, name, other, 0.5) for name, other in zip(NAMES, NAMES[::-1], strict=True)]
    sample_predictions(photos, tmp_path / "photos.png")
    assert {Image.open(tmp_path / name).format for name in ("confusion.png", "photos.png")} == {"PNG"}
    assert drawn("US$ and AU$") == r"US\$ and AU\$"
    # The same letters between dollar signs would be drawn as a formula, in italics.
    confusion_matrix((ConfusionCell("$abc$", "$abc$", 1),), ["$abc$", "b"], title="", target=tmp_path / "one.png")
    confusion_matrix((ConfusionCell("abc", "abc", 1),), ["abc", "b"], title="", target=tmp_path / "two.png")
    assert Image.open(tmp_path / "one.png").tobytes() != Image.open(tmp_path / "two.png").tobytes()


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """All figures that are saved, drawn."""
    from matplotlib.figure import Figure

    found: list[Any] = []
    save = Figure.savefig

    def keep(figure: Any, *arguments: Any, **options: Any) -> None:
        save(figure, *arguments, **options)
        found.append(figure)

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


def texts(axes: Any) -> list[Any]:
    """Return the places of the texts on a horizontal axis, from left to right."""
    low, high = axes.get_xlim()
    found = [
        label.get_window_extent()
        for label, place in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
        if label.get_text() and low <= place <= high
    ]
    return sorted(found, key=lambda one: one.x0)


def test_axes_of_things_that_are_counted_have_whole_numbers(tmp_path: Path, figures: list[Any]) -> None:
    history = [Epoch(stage="blocks", epoch=epoch, loss=1.0, accuracy=0.5) for epoch in (0, 1, 2)]
    learning_curves(history, tmp_path / "curves.png")
    for axes in figures[0].axes:
        assert all(float(place).is_integer() for place in axes.get_xticks())


@pytest.mark.parametrize("variants", [("float32", "int8"), ("float32", "float32-onnx", "int8-float-ends", "int8-onnx")])
def test_the_demo_picture_can_be_read(tmp_path: Path, figures: list[Any], variants: tuple[str, ...]) -> None:
    result = benched.typed()
    runs = tuple(replace(result.runs[0], variant=name) for name in variants)
    photo = ClassifiedPhoto(np.zeros((8, 8, 3), np.uint8), "washer", "castle nut", 0.98)
    side_by_side(replace(result, runs=runs), [photo] * 6, title="demo", target=tmp_path / "demo.png")
    (figure,) = figures
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == 3
    for axes in panels:
        for left, right in pairwise(texts(axes)):
            assert left.x1 < right.x0 or len(variants) > 2  # slanted, where there are many
        assert all(text.get_fontsize() >= 11 for text in (*axes.get_xticklabels(), axes.title, *axes.texts))
    titles = [axes.title.get_window_extent() for axes in figure.axes]
    for one in titles:
        for other in titles:
            assert one is other or not one.overlaps(other)


@pytest.mark.parametrize("name", NAMES)
def test_progress_is_no_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with step(name):
        pass
    with track(name, 1) as advance:
        advance(1)
    note(name)
    shown = name.replace("\t", "\\t")
    assert [line.startswith(shown) for line in capsys.readouterr().err.splitlines()] == [True] * 3
