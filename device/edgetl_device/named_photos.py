"""Resolve the photos that a command line names: files, folders, glob patterns, and ``-`` for standard input."""

from __future__ import annotations

import errno
import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ._lib.folders import PHOTO_SUFFIXES, photos_below
from .errors import EdgetlError, InputError, from_os_error
from .preprocess import MAX_BYTES, PhotoError

STDIN = "-"
# A lone bracket is part of a name.
_PATTERN = re.compile(r"[*?]|\[[^\]]+\]")


@dataclass(frozen=True)
class NamedPhoto:
    """A photo that a command line names.

    Attributes:
        name: Its path, or ``-``.
        source: Its path, its bytes if it comes from standard input, or the error if there is no such photo.
    """

    name: str
    source: str | bytes | EdgetlError


def named_photos(names: Iterable[str]) -> Iterator[NamedPhoto]:
    """Yield the photos of each name in turn; those of a folder or a pattern are sorted by path.

    A folder means all photos below it, at any depth. A name with ``*``, ``?``, ``[a-z]`` or ``**`` is a pattern only if
    there is no file with that name.
    """
    for name in names:
        yield from _photos_or_reason(name)


def _photos_or_reason(name: str) -> Iterator[NamedPhoto]:
    try:
        yield from _photos_of(name)
    except OSError as error:
        yield NamedPhoto(name, from_os_error(error))
    except EdgetlError as error:
        yield NamedPhoto(name, error)


def _photos_of(name: str) -> Iterator[NamedPhoto]:
    if name == STDIN:
        yield NamedPhoto(name, _stdin())
    elif Path(name).is_dir():
        yield from _some(map(str, photos_below(Path(name))), f"{name}: contains no photos")
    elif _PATTERN.search(name) and not os.path.lexists(name):
        found = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 -- Path.glob takes no absolute patterns
        yield from _some((one for one in found if not Path(one).is_dir()), f"{name}: no file matches this pattern")
    else:
        yield NamedPhoto(name, name)


def _some(paths: Iterator[str], otherwise: str) -> Iterator[NamedPhoto]:
    empty = True
    for path in paths:
        empty = False
        yield NamedPhoto(path, path)
    if empty:
        raise InputError(otherwise, hint=f"Photos end in {', '.join(PHOTO_SUFFIXES)}.")


def _stdin() -> bytes:
    try:
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        raise InputError("standard input is closed", hint="Give a photo: < photo.jpg") from None
    if len(data) > MAX_BYTES:
        raise PhotoError("too_large", f"standard input has more than {MAX_BYTES} bytes", hint="Send a smaller photo.")
    return data
