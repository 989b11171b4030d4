"""The run directory: its content, and errors if it is not what training wrote."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from PIL import Image

from edgetl.data import read_split
from edgetl.runs.directory import Run
from edgetl.runs.history import Epoch, HeadFit, read_history, write_history
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess, preprocess


@pytest.fixture
def copy(tiny_run: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run.folder, tmp_path / "run"))


def test_run_json_says_what_was_done(tiny_run: Run, tiny_photos: Path) -> None:
    document = json.loads((tiny_run.folder / "run.json").read_text())
    assert document["schema"] == "edgetl.run/2"
    assert document["labels"] == list(small.LABELS)
    assert document["preprocess"] == Preprocess(size=square(small.SIZE)).to_json()
    # Options are resolved: a reader need not know any default.
    resolved = small.plan(
        photos=len(tiny_run.of("train")),
        **small.options(strategy="blocks", trainable_blocks=6).to_json(),
    )
    assert document["config"] == resolved.by_name()
    assert document["config"]["lr"] == 3e-4
    assert isinstance(document["config"]["lr"], float)
    assert (document["weights"]["source"], len(document["weights"]["sha256"])) == ("embedded", 64)
    assert document["dataset"]["root"] == tiny_photos.name
    assert tiny_run.data_root == tiny_photos.resolve()
    assert len(document["dataset"]["fingerprint"]) == 64
    assert document["model"]["sha256"] == sha256_file(tiny_run.folder / "model.keras")
    assert document["model"]["bytes"] == (tiny_run.folder / "model.keras").stat().st_size
    assert document["interrupted"] is False
    assert {"edgetl", "tensorflow", "keras", "ai-edge-litert", "numpy", "pillow"} <= set(document["versions"])
    stages = {stage["name"]: stage["seconds"] for stage in document["stages"]}
    assert {"data", "frozen base", "head", "blocks", "report"} <= set(stages)
    assert 0 < sum(stages.values()) <= document["seconds"] + 0.1
    assert document["seconds_to_model"] <= document["seconds"]
    assert set(document["metrics"]) == {"val", "test"}


def test_metrics_are_those_of_the_saved_model(tiny_run: Run) -> None:
    model = tiny_run.load_model()
    for split in ("val", "test"):
        samples = tiny_run.of(split)
        pixels = np.stack([preprocess(tiny_run.data_root / one.path, tiny_run.preprocess) for one in samples])
        predicted = model.predict(pixels.astype(np.float32), verbose=0).argmax(1)
        right = sum(tiny_run.labels[index] == one.label for index, one in zip(predicted, samples, strict=True))
        said = tiny_run.document.metrics[split].accuracy
        assert (said.photos, said.correct) == (len(samples), right)


def test_the_temperature_and_why_it_stayed_1_are_recorded(tiny_run: Run) -> None:
    found = tiny_run.document.temperature
    assert found is not None
    assert found.value == 1
    assert found.why_unchanged is not None
    assert found.before == found.after
    for split, metrics in tiny_run.document.metrics.items():
        assert found.after[split].calibration == metrics.calibration_error


def test_the_model_eats_raw_pixels(tiny_run: Run) -> None:
    model = tiny_run.load_model()
    assert model.inputs[0].shape == (None, small.SIZE, small.SIZE, 3)
    assert [layer.name for layer in model.layers[:2]] == ["pixels", "scale"]
    assert [layer.name for layer in model.layers[-4:]] == ["pool", "dropout", "logits", "probabilities"]
    train = tiny_run.of("train")
    pixels = np.stack([preprocess(tiny_run.data_root / one.path, tiny_run.preprocess) for one in train])
    truth = np.array([tiny_run.labels.index(one.label) for one in train])
    raw = model.predict(pixels.astype(np.float32), verbose=0)
    np.testing.assert_allclose(raw.sum(1), 1, atol=1e-5)
    assert (raw.argmax(1) == truth).mean() > 0.8
    # Pixels scaled twice are nearly black, and would be classified no better than by chance.
    scaled = model.predict((pixels / 127.5 - 1).astype(np.float32), verbose=0)
    assert (scaled.argmax(1) == truth).mean() < 0.7
    assert np.abs(scaled - raw).mean() > 0.1


def test_history_has_both_stages(tiny_run: Run) -> None:
    with open(tiny_run.folder / "history.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    head = [row for row in rows if row["stage"] == "head"]
    blocks = [row for row in rows if row["stage"] == "blocks"]
    assert rows == head + blocks
    assert [row["fitted_on"] for row in head][-1] == "photos and views"
    assert [int(row["epoch"]) for row in blocks] == list(range(len(blocks)))
    assert blocks[0]["loss"] == ""
    for row in blocks[1:]:
        for name in ("loss", "val_loss", "lr", "seconds"):
            assert float(row[name]) > 0
        assert 0 <= float(row["accuracy"]) <= 1
    assert 0 <= tiny_run.document.model.best_epoch < len(blocks)


def test_split_csv_is_the_split(tiny_run: Run, tiny_photos: Path) -> None:
    samples = read_split(tiny_run.folder / "split.csv")
    assert samples == tiny_run.samples
    assert {sample.path for sample in samples} == {
        path.relative_to(tiny_photos).as_posix() for path in tiny_photos.rglob("*.jpg")
    }
    for sample in samples:
        assert sha256_file(tiny_photos / sample.path) == sample.sha256
        assert sample.label == Path(sample.path).parent.name
    assert sum(len(tiny_run.of(split)) for split in ("train", "val", "test")) == len(samples)
    assert tiny_run.held_out == "test"


def test_plots_are_pictures(tiny_run: Run) -> None:
    names = {path.name for path in (tiny_run.folder / "plots").iterdir()}
    assert names == {"curves.png", "confusion_val.png", "confusion_test.png"}
    for name in names:
        with Image.open(tiny_run.folder / "plots" / name) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) >= 300


def test_a_missing_folder_and_one_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run"):
        Run.open(tmp_path / "none")
    with pytest.raises(InputError, match=r"run\.json"):
        Run.open(tmp_path)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda document: document.update(schema="edgetl.run/3"), "edgetl.run/3"),
        (lambda document: document.update(schema="edgetl.bundle/1"), "edgetl.bundle/1"),
        (lambda document: document.pop("labels"), "labels"),
        (lambda document: document.pop("dataset"), "dataset"),
        (lambda document: document["preprocess"].update(fit="guess"), "guess"),
    ],
)
def test_an_edited_run_json_is_refused(copy: Path, edit: Callable[[dict[str, Any]], None], said: str) -> None:
    document = json.loads((copy / "run.json").read_text())
    edit(document)
    (copy / "run.json").write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        Run.open(copy)
    assert said in str(caught.value)


def test_a_changed_or_missing_model_is_refused(copy: Path) -> None:
    path = copy / "model.keras"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="changed after training"):
        Run.open(copy).load_model()
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        Run.open(copy).load_model()


def test_a_missing_or_damaged_split_is_refused(copy: Path) -> None:
    (copy / "split.csv").write_text("path,label\nx,y\n")
    with pytest.raises(InputError, match="not a split table"):
        Run.open(copy)
    (copy / "split.csv").unlink()
    with pytest.raises(InputError, match="no such file"):
        Run.open(copy)


def test_numbers_come_from_the_test_split_else_validation_else_none(copy: Path) -> None:
    def keep(*splits: str) -> Run:
        rows = list(csv.reader(io.StringIO((copy / "split.csv").read_text())))
        kept = [row for row in rows if row[2] in ("split", *splits)]
        (copy / "split.csv").write_text("".join(",".join(row) + "\n" for row in kept))
        return Run.open(copy)

    assert keep("train", "val").held_out == "val"
    with pytest.raises(InputError, match="no photos were held out"):
        _ = keep("train").held_out


def test_history_takes_the_union_of_columns(tmp_path: Path) -> None:
    history = (HeadFit(l2=0.1, loss=1.5, fitted_on="photos"), Epoch(stage="blocks", epoch=0, val_loss=1e-05))
    write_history(tmp_path / "h.csv", history)
    assert (tmp_path / "h.csv").read_text() == (
        "stage,l2,loss,fitted_on,epoch,val_loss\nhead,0.1,1.5,photos,,\nblocks,,,,0,1e-05\n"
    )
    assert read_history(tmp_path / "h.csv") == history


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stage\nhead,1,2\n", "too many fields"),
        ("stage,l2\nhead,much\n", "is not a training history"),
        ("stage,epoch\nblocks,1.5\n", "line 2: epoch must be a whole number"),
        ("epoch\n1\n", "stage is missing"),
    ],
)
def test_what_is_not_a_history_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "h.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_history(tmp_path / "h.csv")
