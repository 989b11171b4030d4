"""Latency of a run's variants by board, from bench results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetl.comparison.results import run_name
from edgetl.runs.directory import Run
from edgetl_device._lib.documents import Unknown
from edgetl_device.bench import result
from edgetl_device.bench.result import Result, ResultRun
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError

# Results here are always taken: edgetl bench RUN --out RUN/bench/board.json
FOLDER = "bench"


@dataclass(frozen=True)
class BoardRow:
    """One measurement: where, what, its times in ms (None if unknown), and its verdict.

    Attributes:
        board: Name of the board or CPU.
        measured: Date.
        name: Name of the run of the bench.
        p50_ms: Median of the model alone; None with too few samples.
        p95_ms: 95th percentile of the model alone; None with too few samples.
        photo_p95_ms: 95th percentile from a file's bytes to a label.
        status: The verdict.
        reasons: Reasons of the verdict.
        digest: Start of the digest of the bundle that was measured.
        of_bundle: Whether that is the bundle in the run.
    """

    board: str
    measured: str
    name: str
    p50_ms: float | None
    p95_ms: float | None
    photo_p95_ms: float | None
    status: str
    reasons: tuple[str, ...]
    digest: str
    of_bundle: bool


def read_boards(run: Run, given: Sequence[Path] = ()) -> tuple[BoardRow, ...]:
    """Return the measurements in ``RUN/bench`` and in the given results, by board.

    Raises:
        InputError: A result is damaged, or of a model with other classes.
    """
    files = {path.resolve(): path for path in (*sorted((run.folder / FOLDER).glob("*.json")), *given)}
    folder = run.folder / "bundle"
    digest = Bundle.open(folder).digest if folder.is_dir() else None
    rows = [row for path in files.values() for row in _rows(run, path, digest)]
    return tuple(sorted(rows, key=lambda row: (row.board, row.measured)))


def _rows(run: Run, path: Path, digest: str | None) -> list[BoardRow]:
    found = result.read(path)
    if found.bundle.labels != run.labels:
        raise InputError(
            f"{path}: is of another model than {run.folder}",
            why="its classes differ",
            hint="Give results of this run's bundle.",
        )
    return [_row(found, one, digest) for one in found.runs]


def _row(found: Result, run: ResultRun, digest: str | None) -> BoardRow:
    environment = found.environment
    board = next((one for one in (environment.board, environment.cpu) if isinstance(one, str)), environment.machine)
    return BoardRow(
        board=board if isinstance(board, str) else "unknown",
        measured=found.created[:10],
        name=run_name(run),
        p50_ms=_known(run.latency.p50_ms),
        p95_ms=_known(run.latency.p95_ms),
        photo_p95_ms=_known(run.latency_ms.total.p95_ms),
        status=run.verdict.status,
        reasons=run.verdict.reasons,
        digest=found.bundle.digest[:12],
        of_bundle=found.bundle.digest == digest,
    )


def _known(value: float | Unknown) -> float | None:
    return None if isinstance(value, Unknown) else value
