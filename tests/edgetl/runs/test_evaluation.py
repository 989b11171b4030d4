"""``edgetl evaluate``: the same numbers as training and quantizing recorded, and a warning if they are optimistic."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import small

from edgetl.runs.directory import Run
from edgetl.runs.evaluation import evaluate
from edgetl_device._lib.documents import to_json
from edgetl_device.errors import InputError
from edgetl_device.packing import pack


@pytest.fixture
def split(tiny_run: Run, tmp_path: Path) -> Path:
    """The photos of the run in train, val and test folders."""
    return small.split_in_folders(tiny_run, tmp_path / "split")


def test_a_run_scores_what_it_recorded(tiny_run: Run, split: Path) -> None:
    for side in ("val", "test"):
        found = evaluate(tiny_run.folder, split, split=side)
        assert found.metrics == tiny_run.document.metrics[side]
        assert (found.split, found.trained_on) == (side, 0)
    assert evaluate(tiny_run.folder, split).split == "test"


@pytest.mark.parametrize("variant", ["float32", "int8", "float32-onnx", "int8-onnx"])
def test_a_bundle_scores_what_it_recorded(tiny_bundle: Path, split: Path, tmp_path: Path, variant: str) -> None:
    rows = json.loads((tiny_bundle.parent / "quantize.json").read_text())["variants"]
    (recorded,) = (row["accuracy"] for row in rows if row["name"] == variant)
    packed = pack(tiny_bundle, tmp_path / "tiny.edgetl")
    for target in (tiny_bundle, packed):
        found = evaluate(target, split, variant=variant).metrics.accuracy
        assert (found.photos, found.correct) == (recorded["photos"], recorded["correct"])
        assert found.ci95 == pytest.approx(recorded["ci95"])


def test_photos_it_was_trained_on_are_counted_and_said(tiny_run: Run, tiny_photos: Path) -> None:
    done = small.edgetl("evaluate", tiny_run.folder, tiny_photos, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    trained = len(tiny_run.of("train"))
    assert (document["split"], document["trained_on"]) == ("all", trained)
    assert f"warning: the model was trained on {trained} of these photos" in done.stderr


def test_a_bundle_does_not_know_what_it_was_trained_on(tiny_bundle: Path, tiny_photos: Path) -> None:
    done = small.edgetl("evaluate", tiny_bundle, tiny_photos, "--variant", "float32", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trained_on"] == {"unknown": "a bundle does not record its training photos"}
    assert "unknown: a bundle does not record its training photos" in done.stderr


def test_a_table_for_people(tiny_bundle: Path, split: Path) -> None:
    done = small.edgetl("evaluate", tiny_bundle, split, "--variant", "float32")
    assert done.returncode == 0, done.stderr
    for word in (*small.LABELS, "precision", "recall", "F1", "photos right", "calibration error", "float32 on "):
        assert word in done.stdout
    recorded = evaluate(tiny_bundle, split, variant="float32").metrics
    for interval, form in [
        (recorded.accuracy.ci95, "(95% CI {:.3f} .. {:.3f})"),
        *((row.recall_ci95, "{:.2f}..{:.2f}") for row in recorded.per_class),
    ]:
        assert form.format(*interval) in done.stdout


def test_classes_that_the_model_does_not_know_are_named(tiny_bundle: Path, split: Path) -> None:
    (split / "test" / "bolt").rename(split / "test" / "bolts")
    with pytest.raises(InputError, match="does not know: bolts") as caught:
        evaluate(tiny_bundle, split)
    assert "bolt, gear, washer" in str(caught.value)


def test_some_of_the_classes_are_enough(tiny_bundle: Path, tiny_photos: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_photos / "gear", tmp_path / "photos" / "gear")
    found = evaluate(tiny_bundle, tmp_path / "photos", variant="float32")
    metrics = found.metrics
    assert [row.photos for row in metrics.per_class] == [0, small.PER_CLASS, 0]
    assert {cell.label for cell in found.confusion} == {"gear"}
    assert sum(cell.photos for cell in found.confusion if cell.predicted == "gear") == metrics.accuracy.correct
    done = small.edgetl("evaluate", tiny_bundle, tmp_path / "photos", "--variant", "float32")
    assert done.returncode == 0, done.stderr
    (bolt,) = (line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["bolt"])
    assert bolt[1] == "0"
    assert bolt[3:5] == ["-", "-"]
    assert "-: unknown: no recall without photos" in done.stdout


def test_a_variant_of_a_run_is_that_of_its_bundle(tiny_bundle: Path, tiny_run: Run, tiny_photos: Path) -> None:
    found = evaluate(tiny_bundle.parent, tiny_photos, variant="int8")
    assert found.variant == "int8"
    assert found.metrics == evaluate(tiny_bundle, tiny_photos, variant="int8").metrics
    # The run's own training photos, on which the float model predicts differently.
    assert found.trained_on == len(tiny_run.of("train"))
    floats = evaluate(tiny_bundle.parent, tiny_photos)
    assert "variant" not in to_json(floats)
    assert floats.metrics.calibration_error != found.metrics.calibration_error
    with pytest.raises(InputError, match="has no variants yet") as caught:
        evaluate(tiny_run.folder, tiny_photos, variant="int8")
    assert "edgetl quantize" in str(caught.value)
    with pytest.raises(InputError, match="it has"):
        evaluate(tiny_bundle.parent, tiny_photos, variant="int4")


def test_wrong_requests(tiny_bundle: Path, tiny_photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no test photos"):
        evaluate(tiny_bundle, tiny_photos, split="test")
    with pytest.raises(InputError, match="must be all, train, val, test"):
        evaluate(tiny_bundle, tiny_photos, split="exam")
    with pytest.raises(InputError, match="it has"):
        evaluate(tiny_bundle, tiny_photos, variant="int4")
    with pytest.raises(InputError):
        evaluate(tmp_path / "none", tiny_photos)
    with pytest.raises(InputError, match="no such folder"):
        evaluate(tiny_bundle, tmp_path / "none")
