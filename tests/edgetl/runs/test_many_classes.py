"""With many classes nothing that is written or shown grows with their square, and tables stay short."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from webpage import Page

from edgetl.cli.data import _print_counts
from edgetl.cli.evaluate import print_classes
from edgetl.data import check_dataset
from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.pipeline import quantize
from edgetl.reports import render
from edgetl.reports.plots import confusion_matrix
from edgetl.reports.run import render_run
from edgetl.runs.confusion import ConfusionCell, confusion_of
from edgetl.runs.directory import Run
from edgetl.runs.evaluation import evaluate
from edgetl.runs.metrics import classification_report
from edgetl.training import TrainOptions, train
from edgetl_device._lib import documents
from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.run import run_bench
from edgetl_device.bundle import Bundle
from edgetl_device.text import LISTED

CLASSES = 70
# Long, as names that were cut would not fill a table.
NAMES = tuple(f"screw of kind {index:03d}" for index in range(CLASSES))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for index, name in enumerate(NAMES):
        (folder / name).mkdir()
        for photo in range(4):
            pixels = np.random.default_rng([index, photo]).integers(0, 256, (36, 36, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{photo}.jpg")
    return folder


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    options = TrainOptions(size=32, strategy="head", truncate="2", views=0, val=0.3, test=0.3)
    return train(photos, tmp_path_factory.mktemp("runs") / "run", options)


def rows_of(text: str) -> int:
    """Return the number of lines about one class."""
    return sum(name in line for line in text.splitlines() for name in NAMES)


def test_run_json_has_no_matrix_and_the_file_beside_it_no_zero(run: Run) -> None:
    document = json.loads((run.folder / "run.json").read_text())
    assert "confusion" not in document["metrics"]["test"]
    cells = run.confusion("test")
    assert 0 < len(cells) <= sum(cell.photos for cell in cells) == len(run.of("test"))
    lines = (run.folder / "confusion.csv").read_text().splitlines()
    assert len(lines) == 1 + len(cells) + len(run.confusion("val"))


def test_the_tables_on_the_terminal_show_the_weakest(
    run: Run, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = run.metrics("test")
    print_classes("test", metrics)
    text = capsys.readouterr().out
    assert rows_of(text) == LISTED
    assert f"the {LISTED} classes with the lowest F1, and {CLASSES - LISTED} more" in text
    best = max(metrics.per_class, key=lambda row: row.f1 if isinstance(row.f1, float) else -1)
    assert best.label not in text
    _print_counts(check_dataset(photos, run.preprocess))
    text = capsys.readouterr().out
    assert rows_of(text) == LISTED
    assert f"and {CLASSES - LISTED} more" in text


def test_pages_show_the_weakest(run: Run, photos: Path, tmp_path: Path) -> None:
    quantize(run, QuantizeOptions(int8=True, calibration=8))
    result = run_bench(Bundle.open(run.folder / "bundle"), BenchOptions(variants=("int8",), quick=True, duration=0.1))
    documents.write(tmp_path / "result.json", result)
    for page in (render_run(run, tmp_path / "run.html"), render([tmp_path / "result.json"])):
        text = Page(page).text
        assert f"And {CLASSES - LISTED} more classes" in text
    assert evaluate(run.folder, photos, split="all").confusion


def test_a_plot_of_thousands_of_classes_shows_those_with_errors(tmp_path: Path) -> None:
    classes = 5000
    labels = [f"{index:04d}" for index in range(classes)]
    cells = [ConfusionCell(label, label, 3) for label in labels] + [ConfusionCell("0042", "0007", 9)]
    confusion_matrix(tuple(cells), labels, title="test", target=tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width < 2500
    other = [*cells[:-1], ConfusionCell("0043", "0007", 9)]
    confusion_matrix(tuple(other), labels, title="test", target=tmp_path / "other.png")
    assert (tmp_path / "plot.png").read_bytes() != (tmp_path / "other.png").read_bytes()


def test_metrics_of_thousands_of_classes_need_little_memory() -> None:
    classes = 5000
    targets = np.arange(classes)
    probabilities = np.zeros((classes, classes), np.float32)
    probabilities[targets, (targets + targets % 2) % classes] = 1
    labels = [f"{index:04d}" for index in range(classes)]
    tracemalloc.start()
    found = classification_report(probabilities, targets, labels)
    cells = confusion_of(
        ((labels[a], labels[b]) for a, b in zip(targets, probabilities.argmax(1), strict=True)), labels
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.accuracy.correct == classes // 2
    assert len(cells) == classes
    assert peak < 32 << 20  # a matrix of int64 takes 200 MB
