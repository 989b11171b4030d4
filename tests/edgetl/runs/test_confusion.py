"""``confusion.csv``: what is written is read; runs of earlier versions have the same; what cannot be is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgetl.runs.confusion import FILE, ConfusionCell, as_matrix, confusion_of, read_confusion, write_confusion
from edgetl.runs.directory import Run, check_run_replaceable
from edgetl_device.errors import InputError

LABELS = ("b", "a", "=c")


@pytest.fixture
def copy(tiny_run: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run.folder, tmp_path / "run"))


def test_by_hand(tmp_path: Path) -> None:
    cells = confusion_of([("a", "b"), ("b", "b"), ("a", "b"), ("=c", "a"), ("b", "=c")], LABELS)
    assert cells == (
        ConfusionCell("b", "b", 1),
        ConfusionCell("b", "=c", 1),
        ConfusionCell("a", "b", 2),
        ConfusionCell("=c", "a", 1),
    )
    assert as_matrix(cells, LABELS) == [[1, 0, 1], [2, 0, 0], [0, 1, 0]]
    assert as_matrix(cells, ("a", "b")) == [[0, 2], [0, 1]]
    write_confusion(tmp_path / FILE, {"val": cells[:1], "test": cells})
    assert read_confusion(tmp_path / FILE) == {"val": cells[:1], "test": cells}


def test_the_file_counts_what_the_predictions_say(tiny_run: Run) -> None:
    for split in ("val", "test"):
        cells, metrics = tiny_run.confusion(split), tiny_run.metrics(split)
        assert sum(cell.photos for cell in cells) == metrics.accuracy.photos
        assert sum(cell.photos for cell in cells if cell.label == cell.predicted) == metrics.accuracy.correct


def older(folder: Path) -> None:
    """Make a run what version 1 is: the matrix among the metrics, no file beside them."""
    run = Run.open(folder)
    document: dict[str, Any] = json.loads((folder / "run.json").read_text())
    document["schema"] = "edgetl.run/1"
    for split, metrics in document["metrics"].items():
        metrics["confusion"] = as_matrix(run.confusion(split), run.labels)
    (folder / "run.json").write_text(json.dumps(document))
    (folder / FILE).unlink()


def test_a_run_of_an_earlier_version_is_read_and_replaced(copy: Path, tiny_run: Run) -> None:
    older(copy)
    run = Run.open(copy)
    assert run.document == tiny_run.document
    assert [run.confusion(split) for split in ("val", "test")] == [tiny_run.confusion(one) for one in ("val", "test")]
    check_run_replaceable(copy)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("test,gear,gear,0", r"confusion.csv: line 2 has '0' photos\nmust be a whole number from 1"),
        ("test,gear,gear,1e9", "must be a whole number"),
        ("test,gear,gear," + "9" * 5000, "must be a whole number"),
        ("train,gear,gear,1", "counts other test photos than run.json"),
        ("both,gear,gear,1", "line 2 is of the split 'both'"),
        ("test,gear,cat,1", "names 'cat', which is not a class"),
        ("test,gear,gear,1", "counts other test photos than run.json"),
        ("test,gear,gear", "line 2 has 3 fields, not 4"),
    ],
)
def test_a_damaged_file_is_refused(copy: Path, line: str, said: str) -> None:
    (copy / FILE).write_text(f"split,label,predicted,photos\n{line}\n")
    with pytest.raises(InputError, match=said):
        Run.open(copy).confusion("test")


def test_old_predictions_of_another_class_are_refused(copy: Path) -> None:
    older(copy)
    path = copy / "predictions.csv"
    lines = path.read_text().splitlines()
    fields = lines[-1].split(",")
    fields[-2] = "cat"
    path.write_text("\n".join([*lines[:-1], ",".join(fields), ""]))
    with pytest.raises(InputError, match=r"predictions.csv: names 'cat'"):
        Run.open(copy).confusion("test")
