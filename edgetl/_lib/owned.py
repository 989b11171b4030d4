"""Ownership: edgetl replaces folders and removes files only if it can prove that it made them.

edgetl recognizes its folders by a document with a schema, and its files by their names.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from edgetl_device._lib.files import heal, sweep
from edgetl_device._lib.jsonfile import read_json
from edgetl_device.bundle import MANIFEST, SIGNATURES, Manifest
from edgetl_device.errors import InputError
from edgetl_device.text import listed

# Marks every text file whose name edgetl chooses itself.
WRITTEN_BY = "Written by edgetl"

_SHOWN = 3


@dataclass(frozen=True)
class Kind:
    """A kind of folder that edgetl writes.

    Attributes:
        name: Name in messages, such as ``a run``.
        document: The file that identifies it; empty if only the names of its files do.
        schema: Schema of that document.
        files: Patterns of all files that edgetl writes there, relative to the folder; ``*`` does not match ``/``.
        older: Earlier schemas of the document.
    """

    name: str
    document: str
    schema: str
    files: tuple[str, ...]
    older: tuple[str, ...] = ()


_BUNDLE = Kind("a bundle", MANIFEST, Manifest.SCHEMA, ("*", "*/*", "*/*/*"), tuple(Manifest.OLDER))


def check_replaceable(folder: Path, kind: Kind, *, hint: str = "") -> None:
    """Refuse a folder that is not entirely edgetl's; a missing or empty folder is fine.

    Raises:
        InputError: It lacks its document, or contains something that edgetl did not write.
    """
    heal(folder)
    if not os.path.lexists(folder):
        return
    if folder.is_dir():
        sweep(folder)  # leftovers of killed processes are edgetl's
    hint = hint or "Move it away, or choose another place."
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file, not {kind.name}", why="edgetl replaces only what it made", hint=hint)
    strange = foreign(folder, kind.files)
    if strange:
        raise InputError(
            f"{folder}: contains something that is not part of {kind.name}: {listed(strange, most=_SHOWN)}",
            why="edgetl replaces and removes only what it made",
            hint=hint,
        )
    if kind.document and any(folder.iterdir()):
        try:
            read_json(folder / kind.document, kind.schema, older=kind.older)
        except InputError as error:
            raise InputError(
                f"{folder}: is not {kind.name} that edgetl made", why=f"{error.what} {error.why}".strip(), hint=hint
            ) from None


def check_bundle(folder: Path, *, hint: str = "") -> None:
    """Refuse to replace a folder that is not a bundle, or contains files that its manifest does not list.

    Raises:
        InputError: The folder must not be replaced.
    """
    hint = hint or "Move it away, or choose another place."
    check_replaceable(folder, _BUNDLE, hint=hint)
    if (folder / MANIFEST).is_file():
        check_replaceable(folder, Kind("the bundle", "", "", bundle_files(folder)), hint=hint)


def bundle_files(folder: Path) -> tuple[str, ...]:
    """Return patterns of a bundle's files: manifest, signatures and listed files; empty without a manifest."""
    try:
        listed = read_json(folder / MANIFEST, _BUNDLE.schema, older=_BUNDLE.older)["files"]
    except (InputError, KeyError):
        return ()
    return (MANIFEST, SIGNATURES, *(glob.escape(str(name)) for name in listed))


def check_written(file: Path, *, hint: str) -> None:
    """Refuse to replace a file with a name that the user did not choose, unless its text says that edgetl wrote it.

    Raises:
        InputError: The text does not say so.
    """
    if os.path.lexists(file) and not (file.is_file() and WRITTEN_BY.encode() in file.read_bytes()):
        raise InputError(f"{file}: would be replaced, and edgetl did not write it", hint=hint)


def foreign(folder: Path, files: Sequence[str]) -> list[str]:
    """Return paths that match no pattern, relative to the folder; a subfolder without files of ours is one entry."""
    return [path for path, own in _walk(folder, _split(files)) if not own]


def remove(folder: Path, files: Sequence[str]) -> None:
    """Remove the files that match a pattern, then the folders left empty, including ``folder``."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for path, own in [*_walk(folder, _split(files)), ("", True)]:
        if own and path and not path.endswith("/"):
            (folder / path).unlink(missing_ok=True)
        elif own:
            with suppress(OSError):  # it contains files that are not edgetl's
                (folder / path).rmdir()


def _split(files: Sequence[str]) -> list[list[str]]:
    return [pattern.split("/") for pattern in files]


def _walk(folder: Path, patterns: list[list[str]], above: tuple[str, ...] = ()) -> Iterator[tuple[str, bool]]:
    """Yield each path below the folder, and whether it is ours; folders follow their content, with a trailing slash.

    Folders and links that cannot contain files of ours are not entered.
    """
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            parts = (*above, entry.name)
            path = "/".join(parts)
            if entry.is_dir(follow_symlinks=False):
                deeper = [one for one in patterns if len(one) > len(parts) and _match(parts, one)]
                if deeper:
                    yield from _walk(Path(entry.path), deeper, parts)
                yield f"{path}/", bool(deeper)
            else:
                own = entry.is_file(follow_symlinks=False)
                yield path, own and any(len(one) == len(parts) and _match(parts, one) for one in patterns)


def _match(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    return all(fnmatchcase(part, one) for part, one in zip(parts, pattern, strict=False))
