"""Checkpoints: the state of training after an epoch, written atomically to one file."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl.runs.history import Epoch, HistoryRow, history_row
from edgetl_device._lib.documents import of_json, to_json
from edgetl_device._lib.files import atomic_path
from edgetl_device.errors import InputError, is_of_machine

_SCHEMA = "edgetl.checkpoint/1"
_LISTS = ("variables", "optimizer", "best")

Arrays = list[npt.NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """The state of a stage at the end of an epoch.

    Attributes:
        stage: Name of the stage in the history.
        epoch: The last completed epoch.
        best_epoch: The epoch whose weights would be kept if training ended now.
        history: Rows of all earlier stages.
        rows: Rows of this stage, epoch 0 first.
        random: State of the NumPy generator that orders photos and picks views.
        variables: Variables of the trainable part: weights, moving statistics, dropout seeds.
        optimizer: Variables of the optimizer: iterations, slots, moving average of the weights.
        best: Weights of the best epoch.
    """

    stage: str
    epoch: int
    best_epoch: int
    history: tuple[HistoryRow, ...]
    rows: tuple[Epoch, ...]
    random: dict[str, Any]
    variables: Arrays
    optimizer: Arrays
    best: Arrays


class CheckpointFile:
    """One file with the latest checkpoint of a run, as an uncompressed NumPy archive.

    Args:
        path: The file.
        identity: What the state depends on (JSON values). A file with another identity is refused.
        hardware: Names of the devices. On other hardware training continues, but is not bit-identical.

    Attributes:
        moved_from: The hardware in the loaded file if it differs; else empty.
    """

    def __init__(self, path: Path, identity: dict[str, Any], *, hardware: Sequence[str] = ()) -> None:
        self._path = path
        self._identity = identity
        self.hardware = tuple(hardware)
        self.moved_from: tuple[str, ...] = ()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def load(self) -> Checkpoint | None:
        """Return the last checkpoint, or None.

        Raises:
            InputError: The file is damaged, or belongs to other settings, other photos or another network.
        """
        if not self._path.exists():
            return None
        try:
            with np.load(self._path, allow_pickle=False) as archive:
                document = json.loads(archive["document"].tobytes())
                lists: dict[str, Any] = {
                    name: [archive[f"{name}/{place}"] for place in range(count)]
                    for name, count in document["counts"].items()
                }
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            if isinstance(error, OSError) and is_of_machine(error):
                raise
            raise InputError(
                f"{self._path}: is damaged", why=str(error), hint="Start again with --overwrite."
            ) from None
        _check_identity(self._path, document.get("identity", {}), self._identity)
        before = tuple(document.get("hardware", ()))
        self.moved_from = before if before != self.hardware else ()
        name, state = str(self._path), document["state"]
        history = tuple(history_row(row, name=name) for row in state["history"])
        rows = tuple(of_json(Epoch, row, name=name) for row in state["rows"])
        return Checkpoint(**state | {"history": history, "rows": rows}, **lists)

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint in the background; it replaces the last one once it is on disk.

        Errors are raised by the next call or by :meth:`close`.
        """
        self._wait()
        self._pending = self._writer.submit(self._write, checkpoint)

    def close(self) -> None:
        """Wait until the last checkpoint is on the disk."""
        try:
            self._wait()
        finally:
            self._writer.shutdown()

    def _wait(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _write(self, checkpoint: Checkpoint) -> None:
        state = vars(checkpoint) | {"history": to_json(checkpoint.history), "rows": to_json(checkpoint.rows)}
        lists: dict[str, Arrays] = {name: state.pop(name) for name in _LISTS}
        document = {
            "schema": _SCHEMA,
            "identity": self._identity,
            "hardware": self.hardware,
            "counts": {name: len(arrays) for name, arrays in lists.items()},
            "state": state,
        }
        arrays = {f"{name}/{place}": array for name in _LISTS for place, array in enumerate(lists[name])}
        with atomic_path(self._path) as temporary, open(temporary, "wb") as stream:
            text = np.frombuffer(json.dumps(document).encode(), np.uint8)
            np.savez(stream, allow_pickle=False, document=text, **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        _sync_folder(self._path.parent)


def _check_identity(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    changed = [_change(name, found.get(name), wanted[name]) for name in wanted if found.get(name) != wanted[name]]
    if changed:
        raise InputError(
            f"{path}: belongs to another run",
            why=f"changed since it was saved: {'; '.join(changed)}",
            hint="Undo that change, or start again with --overwrite.",
        )


def _change(name: str, before: Any, now: Any) -> str:
    """Describe what has changed, with the values where they are readable."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in now if before.get(key) != now[key]]
        return f"{name} ({', '.join(f'{key} {before.get(key)} / {now[key]}' for key in keys)})"
    return name


def _sync_folder(folder: Path) -> None:
    """Flush a rename to disk, where the system supports it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
