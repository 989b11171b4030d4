"""Watch a folder for photos: yield each once, after it is completely written.

The folder is polled, which works on every file system, including network shares.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgetl_device._lib.folders import PHOTO_SUFFIXES, is_junk
from edgetl_device.errors import InputError

# Inode, size in bytes, modification time in ns: together they identify the content.
_State = tuple[int, int, int]


def new_photos(
    folder: str | os.PathLike[str],
    *,
    existing: bool = False,
    poll_s: float = 0.25,
    settle_s: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Path]:
    """Yield photos as they appear in ``folder``, forever, oldest first.

    A photo is a file with one of :data:`PHOTO_SUFFIXES` whose name does not begin with a dot. To avoid half-written
    files, it is yielded after its size and modification time have been stable for ``settle_s``. An overwritten photo is
    yielded again, a renamed one is not. Subfolders are ignored.

    Args:
        folder: The folder to watch.
        existing: Also yield the photos that are already there.
        poll_s: Polling interval in seconds.
        settle_s: Seconds without a change after which a file counts as finished.
        sleep: Sleeps for a number of seconds.
        clock: A monotonic clock in seconds.

    Raises:
        InputError: The folder does not exist, or was removed.
    """
    folder = Path(folder)
    handled: dict[str, _State] = {} if existing else _look(folder)
    waiting: dict[str, tuple[_State, float]] = {}
    while True:
        found = _look(folder)
        gone = {state for name, state in handled.items() if name not in found}
        handled = {name: state for name, state in handled.items() if name in found}
        now = clock()
        still: dict[str, tuple[_State, float]] = {}
        ready: list[str] = []
        for name, state in found.items():
            if handled.get(name) == state:
                continue
            if state in gone:
                handled[name] = state
                continue
            before = waiting.get(name)
            since = before[1] if before is not None and before[0] == state else now
            if now - since >= settle_s:
                ready.append(name)
            else:
                still[name] = (state, since)
        waiting = still
        for name in sorted(ready, key=lambda name: (found[name][2], name)):
            # The caller took time for earlier photos; if this one changed meanwhile, check it again in the next round.
            if _state(folder / name) == found[name]:
                handled[name] = found[name]
                yield folder / name
        sleep(poll_s)


def _look(folder: Path) -> dict[str, _State]:
    try:
        with os.scandir(folder) as entries:
            return dict(_photos(entries))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder}: no such folder", hint="Create it first; edgetl watches it for photos.") from None


def _state(path: Path | os.DirEntry[str]) -> _State | None:
    try:
        status = path.stat()
    except OSError:
        return None  # removed between two calls, or a broken or circular link
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _photos(entries: Iterator[os.DirEntry[str]]) -> Iterator[tuple[str, _State]]:
    for entry in entries:
        if is_junk(entry.name) or not entry.name.lower().endswith(PHOTO_SUFFIXES):
            continue
        if state := _state(entry):
            yield entry.name, state
