"""Add documents to a store, and find them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from edgetl_device.errors import InputError

from .document import Measurement, StoredRow
from .engine import Store
from .filters import Filters, is_board, iso
from .records import Record
from .tables import DOCUMENTS, MEASUREMENTS

_SHORTEST = 6
_NAMES = tuple(one.name for one in fields(Measurement))


def add(store: Store, records: Sequence[Record]) -> int:
    """Add documents, all of them or none, and return how many the store did not have yet."""
    with store.writing() as connection:
        # In one order: two writers who wait for each other's documents would wait forever.
        return sum(_add(store, connection, record) for record in sorted(records, key=lambda one: one.digest))


def _add(store: Store, connection: Connection, record: Record) -> bool:
    dialect = sqlite if store.is_sqlite else postgresql
    row = {
        "digest": record.digest,
        "kind": record.kind,
        "document": record.schema,
        "created": record.created,
        "commit_id": record.commit,
        "body": record.body,
    }
    statement = dialect.insert(DOCUMENTS).values(row).on_conflict_do_nothing()
    # SQLAlchemy tells how many rows an INSERT has made only if it is asked.
    if connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount != 1:
        return False
    rows = [{"digest": record.digest, "place": place} | asdict(one) for place, one in enumerate(record.measurements)]
    if rows:
        connection.execute(insert(MEASUREMENTS), rows)
    return True


def find(store: Store, filters: Filters, *, last: int | None = None) -> tuple[tuple[StoredRow, ...], int]:
    """Return the measurements that pass the filters, the oldest first, and how many there are.

    Args:
        store: The store.
        filters: What to look for.
        last: Return only the newest.
    """
    with store.reading() as connection:
        conditions = _conditions(connection, filters)
        joined = DOCUMENTS.outerjoin(MEASUREMENTS)
        count = connection.execute(select(func.count()).select_from(joined).where(*conditions)).scalar_one()
        d, m = DOCUMENTS.c, MEASUREMENTS.c
        query: Select[Any] = (
            select(d.digest, d.kind, d.document, d.created, d.commit_id, *(m[name] for name in _NAMES))
            .select_from(joined)
            .where(*conditions)
            .order_by(d.created.desc(), d.digest.desc(), m.place.desc())
            .limit(last)
        )
        found = [
            StoredRow(digest, kind, document, iso(created), commit, Measurement(**dict(zip(_NAMES, rest, strict=True))))
            for digest, kind, document, created, commit, *rest in connection.execute(query)
        ]
    return tuple(reversed(found)), count


def _conditions(connection: Connection, filters: Filters) -> list[ColumnElement[bool]]:
    d, m = DOCUMENTS.c, MEASUREMENTS.c
    found: list[ColumnElement[bool]] = []
    if filters.kind is not None:
        found.append(d.kind == filters.kind)
    if filters.board is not None:
        # Boards are few, and no database compares their names as people do.
        boards = connection.execute(select(m.board).distinct().where(m.board.is_not(None))).scalars()
        found.append(m.board.in_([one for one in boards if is_board(one, filters.board)]))
    if filters.variant is not None:
        found.append(m.variant == filters.variant)
    if filters.threads is not None:
        found.append(m.threads == filters.threads)
    if filters.bundle is not None:
        found.append(or_(m.bundle_name == filters.bundle, m.bundle.startswith(filters.bundle, autoescape=True)))
    if filters.commit is not None:
        found.append(d.commit_id.startswith(filters.commit, autoescape=True))
    if filters.since is not None:
        found.append(d.created >= filters.since)
    if filters.before is not None:
        found.append(d.created < filters.before)
    return found


def body_of(store: Store, digest: str) -> tuple[str, str]:
    """Return the digest and the text of a document, by its digest or the start of it.

    Raises:
        InputError: There is none, or there are several.
    """
    if len(digest) < _SHORTEST:
        raise InputError(f"{digest}: is too short", why=f"a digest is given with its first {_SHORTEST} digits or more")
    d = DOCUMENTS.c
    with store.reading() as connection:
        query = select(d.digest, d.body).where(d.digest.startswith(digest.lower(), autoescape=True)).limit(2)
        found = connection.execute(query).all()
    if len(found) > 1:
        raise InputError(f"{digest}: several documents begin so", hint="Give more digits.")
    if not found:
        raise InputError(f"{digest}: no such document in {store.name}", hint="edgetl results list shows digests.")
    return found[0].digest, found[0].body
