"""A folder of documents that wait until their store can be reached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgetl_device._lib import documents
from edgetl_device._lib.files import check_folder, remove_file
from edgetl_device.errors import EdgetlError, InputError, Unavailable

from .document import Queued
from .records import Record, Skipped, of_queued, to_queued

if TYPE_CHECKING:
    from .engine import Store

T = TypeVar("T")
# Documents that are written together; a writer waits for another for as long as one batch takes.
_BATCH = 100


@dataclass(frozen=True)
class Added:
    """What became of documents.

    Attributes:
        new: Documents that the store did not have.
        known: Documents that it had.
        queued: Documents that wait.
        skipped: Files and lines that are no documents for a store.
        why: Why documents wait.
    """

    new: int = 0
    known: int = 0
    queued: int = 0
    skipped: int = 0
    why: Unavailable | None = None


def add_records(
    records: Iterable[Record | Skipped],
    open_target: Callable[[], Store] | None,
    queue: Path | None,
    *,
    skipped: Callable[[Skipped], None],
) -> Added:
    """Add documents to a store, or to a queue where the store cannot be reached.

    Args:
        records: The documents.
        open_target: Opens the store; None if there is none, so that all wait.
        queue: Folder for those that cannot be added; without it, that is an error.
        skipped: Called with what is no document for a store.

    Raises:
        Unavailable: The store cannot be reached, and there is no queue.
    """
    if queue is not None:
        check_folder(queue)
    store, why = None, None
    new = known = waiting = left_out = 0
    if open_target is not None:
        try:
            store = open_target()
        except Unavailable as error:
            if queue is None:
                raise
            why = error

    def good() -> Iterator[Record]:
        nonlocal left_out
        for one in records:
            if isinstance(one, Record):
                yield one
            else:
                left_out += 1
                skipped(one)

    for batch in batches(good()):
        if store is not None:
            from .content import add

            try:
                added = add(store, batch)
                new, known = new + added, known + len(batch) - added
                continue
            except Unavailable as error:
                if queue is None:
                    raise
                store, why = None, error
        assert queue is not None
        for record in batch:
            documents.write(queue / f"{record.digest}.json", to_queued(record))
        waiting += len(batch)
    return Added(new, known, waiting, left_out, why)


def push(store: Store, queue: Path, *, skipped: Callable[[Skipped], None]) -> Added:
    """Add what waits to a store; a file is removed after the store has its document, and not before.

    Args:
        store: The store.
        queue: Folder of the documents.
        skipped: Called with files that are damaged; they stay.

    Raises:
        InputError: There is no such folder.
        Unavailable: The store cannot be reached any more; what it has not got stays.
    """
    from .content import add

    if not queue.is_dir():
        raise InputError(f"{queue}: no such folder", hint="Give the folder of edgetl results add --queue.")
    new = known = left_out = 0

    def good() -> Iterator[tuple[Path, Record]]:
        nonlocal left_out
        for file in sorted(queue.glob("*.json")):
            found = _waiting(file)
            if isinstance(found, Record):
                yield file, found
            elif found is not None:
                left_out += 1
                skipped(found)

    for batch in batches(good()):
        added = add(store, [record for _, record in batch])
        new, known = new + added, known + len(batch) - added
        for file, _ in batch:
            with suppress(FileNotFoundError):
                remove_file(file)
    return Added(new, known, 0, left_out)


def _waiting(file: Path) -> Record | Skipped | None:
    """Return the document in a file; None if another process that pushes has been faster."""
    try:
        return of_queued(documents.read(Queued, file), name=str(file))
    except EdgetlError as error:
        return Skipped(error) if file.exists() else None


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield items in lists of at most :data:`_BATCH`."""
    waiting = iter(items)
    while batch := list(islice(waiting, _BATCH)):
        yield batch
