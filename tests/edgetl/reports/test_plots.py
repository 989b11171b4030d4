"""Untrusted names in plots and progress are shown literally."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetl._lib.progress import note, step, track
from edgetl.reports.plots import ClassifiedPhoto, confusion_matrix, sample_predictions
from edgetl.reports.text import drawn
from edgetl.runs.confusion import ConfusionCell

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


@pytest.mark.parametrize("name", NAMES)
def test_progress_is_no_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with step(name):
        pass
    with track(name, 1) as advance:
        advance(1)
    note(name)
    shown = name.replace("\t", "\\t")
    assert [line.startswith(shown) for line in capsys.readouterr().err.splitlines()] == [True] * 3
