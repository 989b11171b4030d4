"""The training log: history, latest checkpoint, TensorBoard events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgetl.runs.history import HistoryRow

from .checkpoint import Checkpoint, CheckpointFile
from .tensorboard import EventLog


@dataclass
class TrainingLog:
    """The history of a run, and its outputs during training.

    Attributes:
        history: Rows of the completed stages.
        file: The checkpoint file; None writes none.
        events: Writer of TensorBoard's logs; None writes none.
        start: Checkpoint left by an earlier process.
    """

    history: list[HistoryRow] = field(default_factory=list)
    file: CheckpointFile | None = None
    events: EventLog | None = None
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
        """Record a finished stage; ``logged`` when its rows are in TensorBoard's logs already."""
        self.history.extend(rows)
        for row in () if logged else rows:
            self.log(row)

    def log(self, row: HistoryRow) -> None:
        """Write one row of the history to TensorBoard's logs."""
        if self.events:
            self.events.scalars(row)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Save the state after an epoch."""
        self.log(checkpoint.rows[-1])
        if self.file:
            self.file.save(checkpoint)

    def close(self) -> None:
        """Wait until everything is on disk."""
        if self.events:
            self.events.close()
        if self.file:
            self.file.close()


STAGES = ("head", "blocks", "finetune")
