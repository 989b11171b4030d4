"""List folders of photos, ignoring hidden files and leftovers of file managers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError
from .text import is_utf8, shown

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")

# Leftovers of file managers, NAS systems and archivers; names that begin with a dot are ignored as well.
_JUNK = {"thumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}


def children(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of subfolders and of files, each sorted, without hidden ones and junk.

    Raises:
        InputError: A subfolder's name cannot be a label: it is not UTF-8, or has a line break.
        PermissionError: The folder cannot be listed.
    """
    with os.scandir(folder) as entries:
        kept = [entry for entry in entries if not entry.name.startswith(".") and entry.name.lower() not in _JUNK]
        folders = sorted(entry.name for entry in kept if entry.is_dir())
        files = sorted(entry.name for entry in kept if not entry.is_dir())
    for name in folders:
        if not is_utf8(name):
            raise InputError(f"{folder / shown(name)}: its name is not UTF-8", hint="Rename the folder.")
        if len(name.splitlines()) != 1:
            raise InputError(
                f"{str(folder / name)!r}: a line break in its name", why="labels are lines", hint="Rename it."
            )
    return folders, files


def files_below(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Yield the files below a folder; links are followed, except to a parent folder.

    Raises:
        InputError: As :func:`children`.
        PermissionError: Likewise.
    """
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    folders, files = children(folder)
    for name in files:
        yield folder / name
    for name in folders:
        yield from files_below(folder / name, (*above, here))
