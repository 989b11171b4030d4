"""Bring what monitors wrote on boards to this machine, through the user's own SSH."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from edgetl import __version__
from edgetl._lib.lock import locked
from edgetl.remote.agent import MONITOR_FILE, FieldFile
from edgetl.remote.connection import Children, Connection, Say
from edgetl.remote.fleet import Board
from edgetl.remote.parallel import Outcome, on_boards
from edgetl.remote.pull_options import PullOptions
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Count, Named, Seconds, Text, Time, optional
from edgetl_device._lib.files import check_writable, remove_file, sha256_file, sweep, write_bytes
from edgetl_device._lib.times import created
from edgetl_device.errors import EdgetlError, InputError, Unavailable
from edgetl_device.monitor.collection import CollectionDocument
from edgetl_device.monitor.record import MAX_DAY_BYTES, MAX_DAYS

# What a board may have: a year of records, and as many photos as a monitor keeps.
_MOST_FILES = MAX_DAYS + 4_000
_MOST_PHOTO_BYTES = 64 << 20
_INDEX, _PHOTOS, _PARTS = "photos.json", "photos/", ".parts"
_SHA256 = re.compile(r"[0-9a-f]{64}")
Tell = Callable[[Board, str], None]


@dataclass(frozen=True)
class PulledBoard:
    """What came from one board.

    Attributes:
        name: Name of the board, and of the folder here.
        outcome: ``pulled``, or ``failed``; what had come before stays.
        why: Why it failed.
        exit: Exit code of the failure; 0 without one.
        days: Files of records that came, whole or with new lines.
        photos: Photos that came.
        bytes: Bytes that came.
        removed: Files that were removed on the board, because the same bytes are here.
        seconds: How long it took.
    """

    name: Text
    outcome: Literal["pulled", "failed"]
    why: str | None = optional()
    exit: Count = 0
    days: Count = 0
    photos: Count = 0
    bytes: Count = 0
    removed: Count = 0
    seconds: Seconds = 0.0


@dataclass(frozen=True)
class Pull:
    """What came from the boards.

    Attributes:
        producer: The program that pulled.
        created: When.
        boards: One row for each board.
    """

    SCHEMA: ClassVar[str] = "edgetl.field-pull/1"

    producer: Named
    created: Time
    boards: tuple[PulledBoard, ...]


def pull(
    boards: Sequence[Board], out: Path, options: PullOptions, *, say: Tell, finished: Callable[[PulledBoard], None]
) -> Pull:
    """Bring records and photos from boards to ``out/BOARD``.

    A file is removed on its board only after the same bytes are on the disk here: photos, and records of days before
    the newest. What was cut goes on where it ended, and nothing comes twice.

    Args:
        boards: The boards.
        out: Folder here; it is created.
        options: The options.
        say: Called with a board and a line of progress, from several threads.
        finished: Called when a board is done.

    Returns:
        The outcome for each board; a board's failure is part of it, not raised.

    Raises:
        InputError: ``out`` cannot be written, or another pull has it.
        KeyboardInterrupt: What came until then is kept.
    """
    check_writable(out / "x")
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, PulledBoard] = {}

    def work(board: Board, children: Children, told: Say) -> PulledBoard:
        with Connection(board.host, board.python or "python3", children=children, say=told) as link:
            return _pull_board(link, board, out / board.name, options, told)

    def done(outcome: Outcome[PulledBoard]) -> None:
        rows[outcome.board.name] = row = _row(outcome)
        finished(row)

    with locked(out / ".pull.lock", what=f"{out}: is being written", hint="Wait for it, or give another folder."):
        for start in range(0, len(boards), options.parallel):
            on_boards(boards[start : start + options.parallel], work, say=say, finished=done)
    return Pull(Named("edgetl", __version__), created(), tuple(rows[board.name] for board in boards))


def _row(outcome: Outcome[PulledBoard]) -> PulledBoard:
    seconds = round(outcome.elapsed_s, 3)
    if outcome.error is None:
        assert outcome.document is not None
        return replace(outcome.document, seconds=seconds)
    why = "; ".join(filter(None, (outcome.error.what, outcome.error.why)))
    return PulledBoard(outcome.board.name, "failed", why=why, exit=outcome.error.exit_code, seconds=seconds)


def _pull_board(link: Connection, board: Board, here: Path, options: PullOptions, say: Say) -> PulledBoard:
    folder = board.field or options.folder
    say("listing")
    found = link.field(folder)
    _check(found)
    for place in (here / _PHOTOS, here / _PARTS):
        place.mkdir(parents=True, exist_ok=True)
        sweep(place)
    days = [one for one in found if one.name.endswith(".jsonl")]
    photos = [one for one in found if one.name.startswith(_PHOTOS)]
    here_too = {one.name: one.sha256 for one in (*days, *photos) if _is_here(here / one.name, one)}
    coming = [one for one in found if one.name not in here_too]
    size = 0
    for number, one in enumerate(coming, 1):
        say(f"{number} of {len(coming)}: {one.name}")
        data = _fetched(link, folder, one, here / _PARTS)
        if data is None:
            continue
        _keep(here / one.name, one, data)
        here_too[one.name] = one.sha256
        size += len(data)
    removed: tuple[str, ...] = ()
    if not options.keep:
        # The newest day may be written to at any time, and the list of photos is the monitor's.
        stay = {one.name for one in days[-1:]} | {_INDEX}
        removed = link.forget(folder, {name: sha256 for name, sha256 in here_too.items() if name not in stay})
    for part in (here / _PARTS).iterdir():
        if _SHA256.fullmatch(part.name):
            remove_file(part)
    came = here_too.keys() & {one.name for one in coming}
    return PulledBoard(
        board.name,
        "pulled",
        days=len(came & {one.name for one in days}),
        photos=len(came & {one.name for one in photos}),
        bytes=size,
        removed=len(removed),
    )


def _keep(target: Path, one: FieldFile, data: bytes) -> None:
    """Write a file of a board so that nothing of earlier pulls is lost."""
    if one.name == _INDEX:
        theirs = documents.parse(CollectionDocument, data, name="photos.json of the board")
        mine = documents.read(CollectionDocument, target).photos if target.exists() else ()
        photos = {photo.file: photo for photo in (*mine, *theirs.photos)}
        documents.write(target, CollectionDocument(theirs.seen, tuple(photos.values())))
    elif one.name.startswith(_PHOTOS):
        write_bytes(target, data)
    else:
        write_bytes(target, _joined(target.read_bytes() if target.exists() else b"", data))


def _check(found: Sequence[FieldFile]) -> None:
    """Refuse what no monitor writes: a board is not trusted with names and sizes here."""
    names = [one.name for one in found]
    if len(names) > _MOST_FILES or len(set(names)) != len(names):
        raise Unavailable("the board lists too many files, or one of them twice", why=f"{len(names)} files")
    for one in found:
        most = _MOST_PHOTO_BYTES if one.name.startswith(_PHOTOS) else max(MAX_DAY_BYTES, 16 << 20)
        if not MONITOR_FILE.fullmatch(one.name) or not _SHA256.fullmatch(one.sha256):
            raise Unavailable("the board lists a file that no monitor writes", why=repr(one.name[:100]))
        if not 0 <= one.bytes <= most:
            raise Unavailable(f"{one.name}: has {one.bytes:,} bytes", why=f"at most {most:,} are fetched")


def _is_here(target: Path, one: FieldFile) -> bool:
    return target.is_file() and sha256_file(target) == one.sha256


def _fetched(link: Connection, folder: str, one: FieldFile, parts: Path) -> bytes | None:
    """Return a file of the board, of which a part may have come before a connection was cut.

    None if it is gone: a monitor replaces photos.
    """
    part = parts / one.sha256
    with open(part, "ab") as stream:
        if stream.tell() > one.bytes:
            stream.truncate(0)
        while stream.tell() < one.bytes:
            data = link.fetch(folder, one.name, stream.tell())
            stream.write(data[: one.bytes - stream.tell()])
            stream.flush()
            if not data:
                break
    data = part.read_bytes()
    remove_file(part)
    if hashlib.sha256(data).hexdigest() == one.sha256:
        return data
    if len(data) < one.bytes or one.name == _INDEX:
        return None
    raise Unavailable(
        f"{one.name}: other bytes came than the board listed", why="they were damaged on the way", hint="Run it again."
    )


def _joined(mine: bytes, theirs: bytes) -> bytes:
    """Return the lines of a day that are here with those of the board that are not: a board may have begun anew."""
    if theirs.startswith(mine):
        return theirs
    known = set(mine.splitlines(keepends=True))
    return mine + b"".join(line for line in theirs.splitlines(keepends=True) if line not in known)


def raise_failures(found: Pull) -> None:
    """Raise an error if a board failed.

    Raises:
        Unavailable: A board could not be reached, or gave something else than a monitor's files.
        InputError: A board has no monitor's folder.
    """
    failed = [row for row in found.boards if row.outcome == "failed"]
    if not failed:
        return
    kind: type[EdgetlError] = InputError if all(row.exit == InputError.exit_code for row in failed) else Unavailable
    first = failed[0]
    if len(found.boards) == 1:
        raise kind(f"{first.name}: {first.why}")
    raise kind(
        f"{len(failed)} of {len(found.boards)} boards failed: {', '.join(row.name for row in failed)}",
        why=f"{first.name}: {first.why}",
    )
