"""Measurements of a store as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgetl._lib.csv import Record
    from edgetl.store.document import StoredRow

# In order of importance: on a narrow terminal the others follow below.
COLUMNS = (
    "digest",
    "created",
    "kind",
    "board",
    "variant",
    "threads",
    "p50 ms",
    "p95 ms",
    "photo p50 ms",
    "top-1 %",
    "drop pp",
    "agree %",
    "RAM MB",
    "photos",
    "bundle",
    "commit",
)
_DIGEST = 12


def cells(rows: Sequence[StoredRow]) -> list[tuple[str, ...]]:
    """Return rows for people: rounded, and with the beginnings of digests."""
    return [_cells(row) for row in rows]


def _cells(row: StoredRow) -> tuple[str, ...]:
    one = row.measurement
    return (
        row.digest[:_DIGEST],
        row.created[:16].replace("T", " "),
        row.kind,
        one.board or "-",
        one.variant or "-",
        _number(one.threads, 0),
        _time(one.p50_ms),
        _time(one.p95_ms),
        _time(one.photo_p50_ms),
        _number(one.top1, 1, times=100),
        _number(one.drop_pp, 2),
        _number(one.agreement, 1, times=100),
        _number(one.ram_bytes, 1, times=1e-6),
        _number(one.photos, 0),
        f"{one.bundle_name} {one.bundle[:8]}" if one.bundle else "-",
        row.commit[:_DIGEST] if row.commit else "-",
    )


def column_names() -> tuple[str, ...]:
    """Return the names of all columns of :func:`records`."""
    from edgetl.store.document import Measurement

    return ("digest", "kind", "document", "created", "commit", *(one.name for one in fields(Measurement)))


def records(rows: Sequence[StoredRow]) -> list[Record]:
    """Return rows for programs: every column, whole."""
    return [
        {
            "digest": row.digest,
            "kind": row.kind,
            "document": row.document,
            "created": row.created,
            "commit": row.commit,
            **asdict(row.measurement),
        }
        for row in rows
    ]


def _number(value: float | None, digits: int, *, times: float = 1.0) -> str:
    return "-" if value is None else f"{value * times:.{digits}f}"


def _time(value: float | None) -> str:
    """Return a time with three digits that count, as far as these are not whole milliseconds."""
    return _number(value, 0 if value is None or value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3)
