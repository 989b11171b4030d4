"""Bring what monitors wrote on boards to this machine, through the user's own SSH."""

from __future__ import annotations

import hashlib
import re
import shutil
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
from edgetl_device._lib.files import check_folder, remove_file, sha256_file, sweep, write_bytes
from edgetl_device._lib.times import created
from edgetl_device.errors import EdgetlError, InputError, Unavailable
from edgetl_device.monitor.collection import CollectionDocument, Kept
from edgetl_device.monitor.record import DAY_FILE, MAX_DAY_BYTES, MAX_DAYS

# What a board may have: a year of records, and as many photos as a monitor keeps, of the size that it may be told.
_MOST_FILES = MAX_DAYS + 4_000
_MOST_PHOTO_BYTES = 64 << 20
_MOST_BYTES = 100_000_000_000 + MAX_DAYS * MAX_DAY_BYTES
# What a board leaves free on the disk here.
_SPARE_BYTES = 1 << 30
# A monitor writes while it is read: how often a file is listed until what comes is what was listed.
_TRIES = 5
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

    A file is removed on its board only after the same bytes are on the disk here: photos that the list here names, and
    records of days before the newest. What was cut goes on where it ended, and nothing comes twice.

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
    check_folder(out)
    rows: dict[str, PulledBoard] = {}

    def work(board: Board, children: Children, told: Say) -> PulledBoard:
        with Connection(board.host, board.python or "python3", children=children, say=told) as link:
            return _pull_board(link, board, out / board.name, options, told)

    def done(outcome: Outcome[PulledBoard]) -> None:
        rows[outcome.board.name] = row = _row(outcome)
        finished(row)

    with locked(out / ".pull.lock", what=f"{out}: is being written", hint="Wait for it, or give another folder."):
        on_boards(boards, work, say=say, finished=done, parallel=options.parallel)
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
    found = _listed(link, folder)
    here_too = {one.name: one.sha256 for one in found if _is_here(here / one.name, one)}
    coming = [one for one in found if one.name not in here_too]
    _check_room(here.parent, sum(one.bytes for one in coming))
    for place in (here / _PHOTOS, here / _PARTS):
        place.mkdir(parents=True, exist_ok=True)
        sweep(place)
    came: list[FieldFile] = []

    def take(one: FieldFile) -> None:
        brought = _brought(link, folder, one, here / _PARTS)
        if brought is not None:
            one, data = brought
            _keep(here / one.name, one, data)
            here_too[one.name] = one.sha256
            came.append(one)

    for number, one in enumerate(coming, 1):
        say(f"{number} of {len(coming)}: {one.name}")
        take(one)
    # A photo may have been kept after the list of photos came, and be replaced before the next pull.
    for one in _listed(link, folder, _INDEX):
        if here_too.get(_INDEX) != one.sha256:
            take(one)
    removed: tuple[str, ...] = ()
    if not options.keep:
        # The newest day may be written to at any time, and the list of photos is the monitor's.
        newest = max((one.name for one in found if _is_day(one)), default="")
        known = {_PHOTOS + photo.file: photo.sha256 for photo in _photos_here(here / _INDEX)}
        removed = link.forget(
            folder,
            {
                name: sha256
                for name, sha256 in here_too.items()
                # What a photo was taken for is said in the list only.
                if (known.get(name) == sha256 if name.startswith(_PHOTOS) else name not in (newest, _INDEX))
            },
        )
    for part in (here / _PARTS).iterdir():
        if _SHA256.fullmatch(part.name):
            remove_file(part)
    return PulledBoard(
        board.name,
        "pulled",
        days=sum(map(_is_day, came)),
        photos=sum(one.name.startswith(_PHOTOS) for one in came),
        bytes=sum(one.bytes for one in came),
        removed=len(removed),
    )


def _is_day(one: FieldFile) -> bool:
    return DAY_FILE.fullmatch(one.name) is not None


def _photos_here(index: Path) -> tuple[Kept, ...]:
    return documents.read(CollectionDocument, index).photos if index.exists() else ()


def _keep(target: Path, one: FieldFile, data: bytes) -> None:
    """Write a file of a board so that nothing of earlier pulls is lost."""
    if one.name == _INDEX:
        theirs = documents.parse(CollectionDocument, data, name="photos.json of the board")
        photos = {photo.file: photo for photo in (*_photos_here(target), *theirs.photos)}
        documents.write(target, CollectionDocument(theirs.seen, tuple(photos.values())))
    elif one.name.startswith(_PHOTOS):
        write_bytes(target, data)
    else:
        write_bytes(target, _joined(target.read_bytes() if target.exists() else b"", data))


def _listed(link: Connection, folder: str, only: str = "") -> tuple[FieldFile, ...]:
    """List the files of the board, or one of them."""
    found = link.field(folder, only)
    _check(found)
    if only and {one.name for one in found} - {only}:
        raise Unavailable("the board lists another file than it was asked for", why=repr(found[0].name))
    return found


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


def _check_room(out: Path, coming: int) -> None:
    """Refuse more than a monitor keeps, or than the disk here has room for, before anything is fetched."""
    if coming > _MOST_BYTES:
        raise Unavailable(f"the board lists {coming:,} bytes", why=f"at most {_MOST_BYTES:,} are fetched")
    free = shutil.disk_usage(out).free
    if coming and coming > free - _SPARE_BYTES:
        raise Unavailable(
            f"{out}: has no room for the {coming:,} bytes of the board",
            why=f"{free:,} bytes are free, of which {_SPARE_BYTES:,} are left",
            hint="Free some space, or give another folder.",
        )


def _brought(link: Connection, folder: str, one: FieldFile, parts: Path) -> tuple[FieldFile, bytes] | None:
    """Return a file of the board with its content, as it is by now; None if it is gone: a monitor replaces photos."""
    for _ in range(_TRIES):
        data = _fetched(link, folder, one, parts)
        if data is not None:
            return one, data
        again = _listed(link, folder, one.name)
        if not again:
            return None
        (one,) = again
    raise Unavailable(
        f"{one.name}: other bytes came than the board listed",
        why=f"{_TRIES} times: it changes all the time, or is damaged on the way",
        hint="Run it again.",
    )


def _fetched(link: Connection, folder: str, one: FieldFile, parts: Path) -> bytes | None:
    """Return a file of the board, of which a part may have come before a connection was cut.

    None if it is not what was listed.
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
    return data if hashlib.sha256(data).hexdigest() == one.sha256 else None


def _joined(mine: bytes, theirs: bytes) -> bytes:
    """Return the lines of a day that are here with those of the board that are not: a board may have begun anew.

    Either may end within a line: it was listed while the line was written, or the power failed. Such an end stays the
    end of the file, so that all bytes of the board are here; before other lines follow it is cut, as the monitor does.
    """
    whole = mine[: mine.rfind(b"\n") + 1]
    if theirs.startswith(whole):
        return theirs
    known = set(whole.splitlines(keepends=True))
    return whole + b"".join(line for line in theirs.splitlines(keepends=True) if line not in known)


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
