"""``edgetl compare`` on training runs, and the predictions stored in them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small

from edgetl.comparison import compare
from edgetl.comparison.paired import NO_DIFFERENCE
from edgetl.runs.directory import Run
from edgetl.runs.predictions import FILE, predictions_of, read_predictions, write_predictions
from edgetl_device._lib.documents import to_json
from edgetl_device.errors import InputError


def copy_with_wrong(run: Run, target: Path, wrong: Sequence[int]) -> Path:
    """Copy a run's documents and make its test predictions correct except at these positions."""
    target.mkdir()
    for name in ("run.json", "split.csv", FILE):
        shutil.copy(run.folder / name, target)
    rows = list(read_predictions(target / FILE))
    test = [row for row in rows if row.split == "test"]
    for place, row in enumerate(test):
        other = next(label for label in run.labels if label != row.label)
        rows[rows.index(row)] = replace(row, predicted=other if place in wrong else row.label)
    write_predictions(target / FILE, rows)
    document = json.loads((target / "run.json").read_text())
    accuracy = document["metrics"]["test"]["accuracy"]
    accuracy |= {"correct": len(test) - len(wrong), "top1": 1 - len(wrong) / len(test)}
    (target / "run.json").write_text(json.dumps(document))
    return target


def edit_json(folder: Path, **fields: object) -> None:
    document = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(document | fields))


def test_training_keeps_its_predictions(tiny_run: Run) -> None:
    from edgetl.runs.float_model import logits, softmax
    from edgetl.runs.held_out import find_photos

    rows = read_predictions(tiny_run.folder / FILE)
    held_out = [sample for split in ("val", "test") for sample in tiny_run.of(split)]  # type: ignore[arg-type]
    assert [(row.path, row.label, row.split, row.sha256) for row in rows] == [
        (one.path, one.label, one.split, one.sha256) for one in held_out
    ]
    for split, metrics in tiny_run.document.metrics.items():
        mine = [row for row in rows if row.split == split]
        assert sum(row.predicted == row.label for row in mine) == metrics.accuracy.correct
    photos = find_photos(tiny_run, tiny_run.of("test"))
    n = len(photos.samples)
    probabilities = softmax(logits(tiny_run.load_model(), photos.pixels, np.arange(n), description="again"))
    for row, again in zip(rows[-n:], predictions_of(photos.samples, tiny_run.labels, probabilities), strict=True):
        assert row.predicted == again.predicted
        assert row.probability == pytest.approx(again.probability, abs=1e-4)


def test_a_trained_run_and_another(tiny_run: Run, tmp_path: Path) -> None:
    other = copy_with_wrong(tiny_run, tmp_path / "other", [0])
    edit_json(other, config=tiny_run.document.config.by_name() | {"lr": 0.125})
    done = small.edgetl("compare", tiny_run.folder, other, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["schema"], document["of"]) == ("edgetl.comparison/1", "runs")
    (found,) = document["comparisons"]
    was, now = (run.document.metrics["test"].accuracy for run in (tiny_run, Run.open(other)))
    agreement = found["agreement"]
    assert agreement["photos"] == was.photos == len(tiny_run.of("test"))
    assert (agreement["baseline_correct"], agreement["correct"]) == (was.correct, now.correct)
    assert agreement["lost"] - agreement["gained"] == was.correct - now.correct
    assert found["metrics"]["accuracy_drop_pp"] == pytest.approx(100 * (was.top1 - now.top1))
    assert found["warnings"] == []
    out = small.edgetl("compare", tiny_run.folder, other).stdout
    # Differences in the configuration are listed.
    assert "lr 0.125," in out
    assert f"lr {tiny_run.document.config.others['lr']}," in out
    assert "seed" not in out


def test_the_test_is_exact_and_paired(tiny_run: Run, tmp_path: Path) -> None:
    assert len(tiny_run.of("test")) >= 6
    good = copy_with_wrong(tiny_run, tmp_path / "good", [])
    bad = copy_with_wrong(tiny_run, tmp_path / "bad", range(6))
    fair = copy_with_wrong(tiny_run, tmp_path / "fair", range(5))
    worse, same = compare([good, bad, fair]).comparisons
    assert worse.agreement.mcnemar_p == pytest.approx(2 / 2**6)
    assert worse.agreement.verdict == "worse"
    assert same.agreement.verdict == NO_DIFFERENCE
    assert compare([bad, good]).comparisons[0].agreement.verdict == "better"
    done = small.edgetl(
        "compare", good, bad, fair, "--fail-if", "fair.accuracy_drop_pp>0", "--fail-if", "mcnemar_p<0.04"
    )
    text = small.refused(done, 3)
    assert "2 gates failed" in text
    assert "fair.accuracy_drop_pp>0: fair" in text
    assert "mcnemar_p<0.04: bad (0.03125)" in text
    assert "bad: accuracy worse" in done.stdout
    assert "p50_ms" in small.refused(small.edgetl("compare", good, bad, "--fail-if", "p50_ms>1")).splitlines()[0]


def test_unlike_test_sets_are_refused(tiny_run: Run, tmp_path: Path) -> None:
    same, other = (copy_with_wrong(tiny_run, tmp_path / name, []) for name in ("same", "other"))
    moved = tiny_run.of("test")[0].sha256
    for name in (FILE, "split.csv"):
        text = (other / name).read_text()
        line = next(line for line in text.splitlines() if moved in line)
        (other / name).write_text(text.replace(line, line.replace(moved, "0" * 64)))
    with pytest.raises(InputError, match="different held-out photos") as refusal:
        compare([same, other])
    n = len(tiny_run.of("test"))
    assert refusal.value.why == f"{n} and {n} photos, {n - 1} of them the same"
    assert "different held-out photos" in small.refused(small.edgetl("compare", same, other))
    edit_json(other, labels=list(tiny_run.labels[::-1]))
    with pytest.raises(InputError, match="different labels"):
        compare([same, other])


def test_what_flatters_or_differs_is_said(tiny_run: Run, tmp_path: Path) -> None:
    plain, other = (copy_with_wrong(tiny_run, tmp_path / name, []) for name in ("plain", "other"))
    edit_json(other, interrupted=True, dataset=to_json(tiny_run.document.dataset) | {"fingerprint": "0" * 64})
    texts = [found.text for found in compare([plain, other]).comparisons[0].warnings]
    assert texts == ["was interrupted", "different photos to train or validate on"]


def test_predictions_that_are_missing_or_edited(tiny_run: Run, tmp_path: Path) -> None:
    good, bad = (copy_with_wrong(tiny_run, tmp_path / name, []) for name in ("good", "bad"))
    whole = (bad / FILE).read_text()
    row = next(row for row in read_predictions(bad / FILE) if row.split == "test")
    line = next(line for line in whole.splitlines() if row.sha256 in line)
    for text, said in (
        (
            whole.replace(line, line.replace(f"{row.sha256},{row.predicted}", f"{row.sha256},nothing")),
            "accuracy in run.json",
        ),
        (whole.replace(line + "\n", ""), "does not match the test photos"),
        (whole.replace(line, line.rpartition(",")[0]), "truncated or edited"),
        (whole.replace(line, line + "x"), "not a table of predictions"),
        (whole.partition("\n")[2], "its first line"),
        ("\0", "not a table"),
    ):
        (bad / FILE).write_text(text)
        with pytest.raises(InputError) as refusal:
            compare([good, bad])
        assert said in str(refusal.value)
    (bad / FILE).unlink()
    assert "Train again" in small.refused(small.edgetl("compare", good, bad))
    with pytest.raises(InputError, match=r"has no run\.json"):
        compare([good, tmp_path])
