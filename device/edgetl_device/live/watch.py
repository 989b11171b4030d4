"""Photos that appear in a folder: each once, and only when it is completely written.

The folder is polled, which works on every file system, network shares included.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgetl_device.errors import InputError
from edgetl_device.folders import PHOTO_SUFFIXES

# Inode, size in bytes, and the time of the last change in ns: other content has another.
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
    """Yield photos as they appear in ``folder``, for ever, older ones first.

    A photo is a file with one of :data:`PHOTO_SUFFIXES` whose name does not begin with a dot. It is yielded once its
    size and its time of change have stood still for ``settle_s``: half-written files wait. One that is overwritten
    later is a new photo; one that is only renamed within the folder is not. Folders inside are not looked into.

    Args:
        folder: The folder to watch.
        existing: Yield the photos that are there already, too.
        poll_s: Seconds between two looks.
        settle_s: Seconds without a change after which a file counts as finished.
        sleep: Waits for so many seconds.
        clock: Seconds of a clock that never goes back.

    Raises:
        InputError: There is no such folder, or it was removed.
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
            # Those before it took their time; what changed meanwhile is looked at again in the next round.
            if _state(folder / name) == found[name]:
                handled[name] = found[name]
                yield folder / name
        sleep(poll_s)


def _look(folder: Path) -> dict[str, _State]:
    try:
        with os.scandir(folder) as entries:
            return dict(_photos(entries))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder}: no such folder", hint="Make it first; photos are looked for in it.") from None


def _state(path: Path | os.DirEntry[str]) -> _State | None:
    try:
        status = path.stat()
    except OSError:
        return None  # gone between two calls, or a link to nothing or to itself
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _photos(entries: Iterator[os.DirEntry[str]]) -> Iterator[tuple[str, _State]]:
    for entry in entries:
        if entry.name.startswith(".") or not entry.name.lower().endswith(PHOTO_SUFFIXES):
            continue
        if state := _state(entry):
            yield entry.name, state
