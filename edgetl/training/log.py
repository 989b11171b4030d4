"""The training log: history, latest checkpoint, trackers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from edgetl.runs.history import HistoryRow

from .checkpoint import Checkpoint, CheckpointFile
from .trackers import Tracker


@dataclass
class TrainingLog:
    """The history of a run, and its outputs during training.

    Attributes:
        history: Rows of the completed stages.
        file: The checkpoint file; None writes none.
        trackers: What follows the run.
        start: Checkpoint left by an earlier process.
    """

    history: list[HistoryRow] = field(default_factory=list)
    file: CheckpointFile | None = None
    trackers: tuple[Tracker, ...] = ()
    start: Checkpoint | None = None

    def resume(self) -> None:
        """Continue from the checkpoint of an earlier process."""
        self.start = self.file.load() if self.file else None
        if self.start:
            self.history.extend(self.start.history)
            for row in (*self.start.history, *self.start.rows):
                self.log(row)

    def is_past(self, stage: str) -> bool:
        """Whether a checkpoint of a later stage makes this one unnecessary; ``stage`` is one of :data:`STAGES`."""
        return self.start is not None and STAGES.index(self.start.stage) > STAGES.index(stage)

    def saved(self, stage: str) -> Checkpoint | None:
        """Return an earlier process' checkpoint of this stage."""
        return self.start if self.start and self.start.stage == stage else None

    def add(self, rows: Sequence[HistoryRow], *, logged: bool = False) -> None:
        """Record a finished stage; ``logged`` when the trackers have its rows already."""
        self.history.extend(rows)
        for row in () if logged else rows:
            self.log(row)

    def log(self, row: HistoryRow) -> None:
        """Give one row of the history to the trackers."""
        for tracker in self.trackers:
            tracker.row(row)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Save the state after an epoch."""
        self.log(checkpoint.rows[-1])
        if self.file:
            self.file.save(checkpoint)

    def close(self) -> None:
        """Wait until the checkpoint is on disk."""
        if self.file:
            self.file.close()

    def end(self) -> None:
        """Close the trackers; later calls do nothing."""
        with ExitStack() as every:
            for tracker in self.trackers:
                every.callback(tracker.close)
            self.trackers = ()


STAGES = ("head", "blocks", "finetune")
