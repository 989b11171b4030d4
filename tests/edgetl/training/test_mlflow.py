"""Runs in MLflow: a real store in a folder, read back with MLflow's own client."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import small
from network_watch import build, watched

import edgetl
from edgetl._lib.extras import require
from edgetl.runs.history import Epoch, HeadFit, HistoryRow, read_history
from edgetl.training.mlflow import MLflowTracker
from edgetl_device.errors import InputError

pytestmark = pytest.mark.no_cover

OPTIONS = {"size": small.SIZE, "views": 1, "epochs": 2, "batch_size": 8, "truncate": "6", "trainable_blocks": 2}
# What a tracker of a run does, from the first call to the last.
WHOLE = """
from edgetl.runs.history import Epoch
from edgetl.training.mlflow import MLflowTracker
tracker = MLflowTracker()
tracker.started({"size": 96})
tracker.row(Epoch(stage="blocks", epoch=0, val_loss=0.4))
tracker.picture("curves", b"png")
tracker.finished({})
tracker.close()
import time
time.sleep(2)
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that MLflow's variables name."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "store"))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "flowers")
    return tmp_path / "store"


def runs(store: Path, experiment: str = "flowers") -> tuple[Any, list[Any]]:
    """MLflow's client, and the runs of an experiment."""
    client = require("mlflow").MlflowClient(tracking_uri=store.as_uri())
    return client, client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def test_a_run_and_its_numbers_are_in_the_store(tiny_photos: Path, store: Path, tmp_path: Path) -> None:
    run = edgetl.train(tiny_photos, out=tmp_path / "run", mlflow=True, **OPTIONS)
    client, (found,) = runs(store)
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.data.params == {
        name: str(value) for name, value in run.document.config.by_name().items() if value is not None
    }
    rows = read_history(run.folder / "history.csv")
    epochs = [row for row in rows if isinstance(row, Epoch)]
    written = {one.step: one.value for one in client.get_metric_history(found.info.run_id, "blocks/val_loss")}
    assert written == pytest.approx({row.epoch: row.val_loss for row in epochs})
    written = {one.step: one.value for one in client.get_metric_history(found.info.run_id, "head/l2")}
    assert written == pytest.approx({place: row.l2 for place, row in enumerate(rows) if isinstance(row, HeadFit)})
    for split, metrics in run.document.metrics.items():
        assert found.data.metrics[f"{split}/accuracy"] == pytest.approx(metrics.accuracy.top1)
        assert found.data.metrics[f"{split}/macro_f1"] == pytest.approx(metrics.macro_f1)
    pictures = {one.path for one in client.list_artifacts(found.info.run_id)}
    assert pictures == {f"{kind}_{split}.png" for kind in ("confusion", "photos") for split in ("val", "test")}
    # Nothing of this machine.
    said = b"".join(path.read_bytes() for path in store.rglob("params/*"))
    assert str(tmp_path).encode() not in said


def test_what_does_not_get_to_its_end_has_failed(tiny_photos: Path, store: Path, tmp_path: Path) -> None:
    def stop(row: HistoryRow) -> None:
        if isinstance(row, Epoch) and row.epoch == 1:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        edgetl.train(tiny_photos, out=tmp_path / "run", trackers=[MLflowTracker(name="mine"), stop], **OPTIONS)
    _, (found,) = runs(store)
    assert (found.info.run_name, found.info.status) == ("mine", "FAILED")
    # Before there are photos, there is no run.
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        edgetl.train(tmp_path / "empty", out=tmp_path / "other", mlflow=True)
    assert len(runs(store)[1]) == 1


def test_a_place_that_is_no_store_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("here already")
    for place in (tmp_path / "file", "nowhere://at/all"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", str(place))
        with pytest.raises(InputError, match="no MLflow store") as refused:
            MLflowTracker()
        assert "$MLFLOW_TRACKING_URI" in refused.value.hint


def test_nothing_is_written_among_the_photos(
    tiny_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = shutil.copytree(tiny_photos, tmp_path / "photos")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(photos)
    for named in (None, "here", photos.as_uri() + "/a%20store"):
        if named:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", named)
        with pytest.raises(InputError, match="lies inside"):
            edgetl.train(".", out=tmp_path / "run", mlflow=True, **OPTIONS)
    assert sorted(path.name for path in photos.iterdir()) == sorted(small.LABELS)


def test_a_store_in_a_folder_opens_no_socket(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    done = watched([sys.executable, "-c", WHOLE], build(tmp_path / "library"), tmp_path)
    assert done.code == 0, done.said
    assert done.network == []
    assert done.home == []
    assert done.said == ""
    _, (found,) = runs(tmp_path / "mlruns", "edgetl")
    assert found.info.status == "FINISHED"


def test_without_mlflow_it_says_what_to_install_before_photos_are_read(tiny_photos: Path, tmp_path: Path) -> None:
    words = ["edgetl", "train", str(tiny_photos), "--mlflow", "--out", str(tmp_path / "run")]
    script = f"import sys; sys.modules['mlflow'] = None; sys.argv = {words!r}; from edgetl.cli import main; main()"
    done = small.python(script)
    assert "mlflow]" in small.refused(done, 4)
    assert "Reading photos" not in done.stderr
