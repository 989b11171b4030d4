"""Documents as a store takes them: read by the class that defines them, kept as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgetl.comparison.document import Comparison
from edgetl.runs.document import RunDocument
from edgetl.runs.quantize_report import QuantizeReport
from edgetl_device._lib import documents, jsonfile
from edgetl_device._lib.documents import Document, Json
from edgetl_device._lib.files import check_regular
from edgetl_device.bench import result
from edgetl_device.bench.result import Result
from edgetl_device.errors import EdgetlError, InputError, from_os_error
from edgetl_device.monitor.record import DAY_FILE, MonitorRecord
from edgetl_device.text import shown

from . import rows
from .document import Measurement, Queued

# PostgreSQL has no larger texts, and no document comes near it.
_MAX_BYTES = 1 << 28


@dataclass(frozen=True)
class _Kind:
    """A kind of documents: its name, its class, and what makes rows of it."""

    name: str
    document: type[Document]
    rows: Callable[[Any, str | None], Sequence[Measurement]]


_KINDS = {
    one.document.SCHEMA.partition("/")[0]: one
    for one in (
        _Kind("run", RunDocument, lambda document, _: rows.of_run(document)),
        _Kind("quantize", QuantizeReport, lambda document, _: rows.of_quantize(document)),
        _Kind("bench", Result, lambda document, _: rows.of_bench(document)),
        _Kind("compare", Comparison, lambda document, _: rows.of_comparison(document)),
        _Kind("field", MonitorRecord, rows.of_monitor),
    )
}
KINDS = tuple(one.name for one in _KINDS.values())


@dataclass(frozen=True)
class Record:
    """A document for a store.

    Attributes:
        digest: SHA-256 of its canonical form; of a record of the field, with its board, as two boards may say the same.
        kind: One of :data:`KINDS`.
        schema: Its schema.
        created: Its time, UTC, without a zone; if it has none, when it was added.
        body: The document, as in its file.
        board: The board, for records of the field.
        commit: The commit that it was added for.
        measurements: What it says.
    """

    digest: str
    kind: str
    schema: str
    created: datetime
    body: str
    board: str | None
    commit: str | None
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class Skipped:
    """A file, or a line of one, that is no document for a store.

    Attributes:
        error: What it is, and why.
    """

    error: EdgetlError


def utc_now() -> datetime:
    """Return the time in UTC, without a zone, in whole seconds."""
    return datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)


def read_records(paths: Sequence[Path], *, commit: str | None = None) -> Iterator[Record | Skipped]:
    """Read the documents in files and folders.

    In a folder, and those below, files that are no documents for a store are passed over; damaged ones are not. The
    name of the folder of ``2027-01-15.jsonl`` is the board. A last line without an end is still being written.

    Args:
        paths: Files and folders.
        commit: The commit that all are for.

    Raises:
        InputError: One of the paths does not exist.
    """
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file() and (file.suffix == ".json" or DAY_FILE.fullmatch(file.name)):
                    yield from _read(file, commit, named=False)
        elif not path.exists():
            raise InputError(f"{path}: no such file or folder", hint="Check the path.")
        else:
            yield from _read(path, commit, named=True)


def _read(file: Path, commit: str | None, *, named: bool) -> Iterator[Record | Skipped]:
    try:
        check_regular(file)
        with open(file, "rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise InputError(f"{file}: is larger than {_MAX_BYTES} bytes")
    except OSError as error:
        yield Skipped(from_os_error(error))
        return
    except EdgetlError as error:
        yield Skipped(error)
        return
    now = utc_now()
    if file.suffix != ".jsonl":
        yield from _record_or_skipped(data, str(file), None, commit, now, named=named)
        return
    board = shown(file.resolve().parent.name)
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        if line.endswith(b"\n"):
            yield from _record_or_skipped(line.strip(), f"{file}: line {number}", board, commit, now, named=True)


def _record_or_skipped(
    data: bytes, name: str, board: str | None, commit: str | None, now: datetime, *, named: bool
) -> Iterator[Record | Skipped]:
    try:
        found, kind = _kind_of(data, name)
        if kind is not None:
            yield _record(data, found, kind, name, board, commit, now)
        elif named:
            has = f"its schema is {found['schema']!r}" if isinstance(found, dict) and "schema" in found else "no schema"
            raise InputError(f"{name}: is no document for a store", why=f"{has}; a store takes {', '.join(KINDS)}")
    except EdgetlError as error:
        yield Skipped(error)


def _kind_of(data: bytes, name: str) -> tuple[Json, _Kind | None]:
    try:
        data.decode()
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        hint = "It is truncated or edited; make or copy it again."
        raise InputError(f"{name}: is not valid JSON", why=str(error), hint=hint) from None
    schema = found.get("schema") if isinstance(found, dict) else None
    return found, _KINDS.get(schema.partition("/")[0]) if isinstance(schema, str) else None


def _record(
    data: bytes, found: Json, kind: _Kind, name: str, board: str | None, commit: str | None, now: datetime
) -> Record:
    document = documents.parse(kind.document, data, name=name)
    if isinstance(document, Result):
        result.checked(document, name=name)
    if kind.document is not MonitorRecord:
        board = None
    try:
        digest = jsonfile.digest(found if board is None else {"board": board, "record": found})
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: has a value that edgetl does not write", why=str(error)) from None
    stated = getattr(document, "created", None) or getattr(document, "start", None)
    return Record(
        digest=digest,
        kind=kind.name,
        schema=found["schema"],
        created=_time(stated, name) if stated else now,
        body=data.decode(),
        board=board,
        commit=commit,
        measurements=tuple(kind.rows(document, board)),
    )


def _time(text: str, name: str) -> datetime:
    """Return a time of a document in UTC, without a zone."""
    # Python 3.10 does not read a Z.
    try:
        found = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
        return (found.astimezone(timezone.utc) if found.tzinfo else found).replace(tzinfo=None, microsecond=0)
    except (ValueError, OverflowError):
        raise InputError(
            f"{name}: its time is {text[:40]!r}", why="a time is written as 2027-01-15T08:00:00Z"
        ) from None


def to_queued(record: Record) -> Queued:
    """Return a record as it waits for its store."""
    added = record.created.replace(tzinfo=timezone.utc).isoformat()
    return Queued(added=added, body=record.body, board=record.board, commit=record.commit)


def of_queued(queued: Queued, *, name: str) -> Record:
    """Return the record that waited.

    Raises:
        InputError: It is damaged.
    """
    data = queued.body.encode()
    found, kind = _kind_of(data, name)
    if kind is None:
        raise InputError(f"{name}: is no document for a store")
    return _record(data, found, kind, name, queued.board, queued.commit, _time(queued.added, name))
