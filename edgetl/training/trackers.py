"""Trackers: what is told of a run while it trains.

TensorBoard's is :class:`edgetl.training.tensorboard.EventLog`, MLflow's :class:`edgetl.training.mlflow.MLflowTracker`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Protocol, runtime_checkable

from edgetl.data import Split
from edgetl.runs.history import HistoryRow, write_history
from edgetl.runs.metrics import Metrics
from edgetl_device._lib.files import atomic_path, check_writable
from edgetl_device.options import Value


@runtime_checkable
class Tracker(Protocol):
    """Follows a run. Its methods are called by the process that trains; what they raise ends the run, to be resumed.

    After a resume, ``started`` and the rows of the process before come again.
    """

    def started(self, settings: Mapping[str, Value]) -> None:
        """Take the resolved settings, by name, before the first row; those that are paths without their folders."""

    def row(self, row: HistoryRow) -> None:
        """Take a fit of the head, or an epoch."""

    def picture(self, name: str, png: bytes) -> None:
        """Take a picture of the report: a PNG file's bytes."""

    def finished(self, metrics: Mapping[Split, Metrics]) -> None:
        """Take the metrics on the held-out photos by split, at the end."""

    def close(self) -> None:
        """Release everything; called after an error too."""


class _Silent:
    """A tracker that does nothing, to be extended."""

    def started(self, settings: Mapping[str, Value]) -> None:
        """Do nothing."""

    def row(self, row: HistoryRow) -> None:
        """Do nothing."""

    def picture(self, name: str, png: bytes) -> None:
        """Do nothing."""

    def finished(self, metrics: Mapping[Split, Metrics]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Calls(_Silent):
    """Calls a function with each row."""

    def __init__(self, function: Callable[[HistoryRow], object]) -> None:
        self._function = function

    def row(self, row: HistoryRow) -> None:
        """Call the function."""
        self._function(row)


class CSVTracker(_Silent):
    """Keeps a CSV file with the rows so far, complete at any moment, in the form of ``history.csv``.

    Args:
        path: The file.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path, self._rows = Path(path), list[HistoryRow]()
        check_writable(self._path)

    def started(self, settings: Mapping[str, Value]) -> None:  # noqa: ARG002
        """Begin anew: after a resume, the rows before come again."""
        self._rows.clear()

    def row(self, row: HistoryRow) -> None:
        """Write the file again."""
        self._rows.append(row)
        with atomic_path(self._path) as temporary:
            write_history(temporary, self._rows)


AnyTracker = Tracker | Callable[[HistoryRow], object]


def trackers_of(given: Iterable[AnyTracker]) -> tuple[Tracker, ...]:
    """Return trackers, made of functions where these were given."""
    return tuple(one if isinstance(one, Tracker) else Calls(one) for one in given)
