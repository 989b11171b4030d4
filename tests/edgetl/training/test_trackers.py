"""Trackers: functions, CSV, and objects of the user, told of a run while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import small

import edgetl
from edgetl.runs.history import Epoch, HeadFit, HistoryRow, read_history
from edgetl.runs.metrics import Metrics
from edgetl.training.log import TrainingLog
from edgetl.training.trackers import CSVTracker, trackers_of
from edgetl_device.options import Value

ROWS = (
    HeadFit(l2=0.1, loss=0.5),
    Epoch(stage="blocks", epoch=0, val_loss=0.4),
    Epoch(stage="blocks", epoch=1, loss=0.3),
)


class Everything:
    """A tracker of the user: remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.settings: Mapping[str, Value] = {}
        self.rows: list[HistoryRow] = []
        self.metrics: Mapping[str, Metrics] = {}

    def started(self, settings: Mapping[str, Value]) -> None:
        self.told.append("started")
        self.settings = settings

    def row(self, row: HistoryRow) -> None:
        self.told.append("row")
        self.rows.append(row)

    def picture(self, name: str, png: bytes) -> None:
        assert png.startswith(b"\x89PNG")
        self.told.append(name)

    def finished(self, metrics: Mapping[str, Metrics]) -> None:
        self.told.append("finished")
        self.metrics = metrics

    def close(self) -> None:
        self.told.append("closed")


def test_the_log_tells_all_of_them_and_ends_each_once(tmp_path: Path) -> None:
    seen: list[HistoryRow] = []
    mine, file = Everything(), tmp_path / "there" / "rows.csv"
    log = TrainingLog(trackers=trackers_of([mine, CSVTracker(file), seen.append]))
    log.add(ROWS[:1])
    # Complete at any moment.
    assert read_history(file) == ROWS[:1]
    log.add(ROWS[1:])
    log.end()
    log.end()
    assert mine.rows == seen == list(ROWS)
    assert read_history(file) == ROWS
    assert mine.told == ["row", "row", "row", "closed"]


def test_a_file_begins_anew_where_training_goes_on(tmp_path: Path) -> None:
    tracker = CSVTracker(tmp_path / "rows.csv")
    for rows in (ROWS[:2], ROWS):
        tracker.started({})
        for row in rows:
            tracker.row(row)
    assert read_history(tmp_path / "rows.csv") == ROWS


def test_each_is_closed_though_another_fails() -> None:
    class Fails(Everything):
        def close(self) -> None:
            raise OSError("the server is gone")

    mine = Everything()
    log = TrainingLog(trackers=trackers_of([mine, Fails(), mine]))
    with pytest.raises(OSError, match="gone"):
        log.end()
    assert mine.told == ["closed", "closed"]


def test_a_file_that_cannot_be_written_is_refused_before_training() -> None:
    with pytest.raises(OSError, match="rows"):
        CSVTracker("/proc/rows.csv")


@pytest.mark.no_cover
def test_a_run_is_followed(tiny_photos: Path, tmp_path: Path) -> None:
    mine, file = Everything(), tmp_path / "rows.csv"
    options = {"size": small.SIZE, "views": 1, "epochs": 1, "batch_size": 8, "truncate": "6", "trainable_blocks": 2}
    run = edgetl.train(
        tiny_photos, out=tmp_path / "run", trackers=[mine, CSVTracker(file), mine.rows.append], **options
    )
    history = run.folder / "history.csv"
    assert file.read_text() == history.read_text()
    rows = read_history(history)
    # Told twice: as an object, and by its function.
    assert mine.rows == [row for row in rows for _ in (1, 2)]
    assert mine.settings["size"] == small.SIZE
    assert mine.metrics == run.document.metrics
    assert (mine.told[0], mine.told[-2:]) == ("started", ["finished", "closed"])
    assert "confusion_test" in mine.told


@pytest.mark.no_cover
def test_what_a_tracker_raises_ends_the_run_and_it_can_be_resumed(tiny_photos: Path, tmp_path: Path) -> None:
    def stop(row: HistoryRow) -> None:
        if isinstance(row, Epoch) and row.epoch == 2:
            raise RuntimeError("enough")

    options = {"size": small.SIZE, "views": 1, "epochs": 3, "batch_size": 8, "truncate": "6", "trainable_blocks": 2}
    with pytest.raises(RuntimeError, match="enough"):
        edgetl.train(tiny_photos, out=tmp_path / "run", trackers=[stop], **options)
    assert not (tmp_path / "run").exists()
    mine = Everything()
    run = edgetl.resume(tmp_path / "run", trackers=[mine])
    assert tuple(mine.rows) == read_history(run.folder / "history.csv")
