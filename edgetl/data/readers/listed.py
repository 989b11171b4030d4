"""Photos as a file of labels lists them: read within bounds, found below its folder, one label each."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from edgetl._lib.progress import Advance, ignore
from edgetl.data.types import Split
from edgetl_device._lib.files import check_regular
from edgetl_device.errors import InputError
from edgetl_device.text import is_utf8, normal, shown

from .folders import FoundFile, Scan, find_file

# 100,000 photos with a box each take about 40 MB in COCO's format. Parsed, such a file takes ten times its size; one
# of empty lists, 25 times.
MAX_LABEL_BYTES = 64 << 20
# Longer paths of a server are looked for from here on.
_MOST_TAILS = 16
_MOST_COLUMN_BYTES = 1 << 20
# What Label Studio puts before the name of an uploaded file.
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
_EXPORT_AGAIN = "Export it again, or correct this place."


@dataclass(frozen=True)
class Row:
    """One photo in a file of labels.

    Attributes:
        file: The file of labels.
        where: The place in it, such as ``line 3`` or ``image 7``.
        path: The photo as the file names it: a path or a URL.
        label: Its class; None if it has none yet.
        split: Its split, if the file says so.
        folder: What a relative path is relative to.
    """

    file: Path
    where: str
    path: str
    label: str | None
    split: Split | None
    folder: Path

    def refuse(self, what: str, *, why: str = "", hint: str = _EXPORT_AGAIN) -> InputError:
        """Return an error that names this row."""
        return InputError(f"{self.file}: {self.where}: {what}", why=why, hint=hint)


def as_scan(root: Path, rows: Iterable[Row], *, tails: bool = False, advance: Advance = ignore) -> Scan:
    """Find the photos of rows below a folder.

    Args:
        root: All photos must be in it.
        rows: At least one with a label. Several rows of a photo must agree.
        tails: Paths may be those of a server: ``/data/upload/1/a.jpg`` is looked for as ``upload/1/a.jpg``,
            ``1/a.jpg`` and ``a.jpg``.
        advance: Called with the number of photos that were looked for since the last call.

    Raises:
        InputError: A photo is missing, outside the folder, or has two labels or splits.
    """
    found: dict[str, tuple[Row, FoundFile]] = {}
    unlabelled: list[str] = []
    absent: list[Row] = []
    last: Row | None = None
    for row in rows:
        advance(1)
        last = row
        if row.label is None:
            unlabelled.append(shown(row.path))
            continue
        path = _found(root, row, tails=tails)
        if path is None:
            absent.append(row)
            continue
        file = FoundFile(path, _label(row), row.split)
        first, known = found.setdefault(path, (row, file))
        if tails and _plain(first.path) != _plain(row.path):
            raise row.refuse(
                f"{shown(row.path)} and {shown(first.path)} in {first.where} are both found as {shown(path)}",
                why="one of them is missing, or two photos have one name",
                hint="Put the photos into folders as in these paths.",
            )
        if known.label != file.label:
            what = f"{shown(row.path)} is {shown(file.label)}, and {shown(known.label)} in {first.where}"
            raise row.refuse(what, why="a photo has one label here", hint="Remove the wrong one.")
        if known.folder != file.folder:
            raise row.refuse(
                f"{shown(row.path)} is in two splits", why=f"see {first.where}", hint="Remove one of them."
            )
    if absent:
        row = absent[0]
        raise row.refuse(
            f"{shown(row.path)} is missing",
            why=f"{len(absent):,} of the photos it lists are not in {root}",
            hint="Put the photos beside the file of labels, with the names that it has.",
        )
    if not found:
        file_ = last.file if last else root
        raise InputError(f"{file_}: labels no photo", hint="Label some, and export it again.")
    files = tuple(sorted((file for _, file in found.values()), key=lambda one: one.path))
    used = {split: {one.label for one in files if one.folder == split} for split in {one.folder for one in files}}
    return Scan(
        files=files,
        classes={split: tuple(sorted(labels)) for split, labels in used.items()},
        ignored=tuple(unlabelled),
        unreadable=(),
        folder=root,
    )


def _label(row: Row) -> str:
    label = normal(row.label or "")
    if not label or len(label.splitlines()) != 1 or not is_utf8(label):
        raise row.refuse(f"{shown(label)!r} cannot be a label", why="labels are lines of text")
    return label


def _found(root: Path, row: Row, *, tails: bool) -> str | None:
    """Return the photo's path relative to ``root``; None if it is missing."""
    path = _plain(row.path)
    inside = os.path.relpath(row.folder, root)
    if path.startswith("/") and not tails:
        # An absolute path of this machine; one of another is missing like any other file.
        place = Path(os.path.normpath(path))
        base = next((one for one in (root.absolute(), root.resolve()) if place.is_relative_to(one)), None)
        if base is None:
            raise row.refuse(f"{shown(row.path)} is outside {root}", hint="Put the photos beside the file of labels.")
        return _existing(root, os.path.relpath(place, base))
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", ".")]
    # The end of a path that leads back and forth may lead outside where the whole does not.
    if ".." in parts and (tails or os.path.normpath("/".join((inside, *parts))).split("/")[0] == ".."):
        raise row.refuse(f"{shown(row.path)} is outside {root}", hint="Put the photos beside the file of labels.")
    for start in (0, *range(max(1, len(parts) - _MOST_TAILS), len(parts))) if tails else (0,):
        for last in (parts[-1:], [_UPLOAD.sub("", parts[-1])] if tails and parts else []):
            tail = "/".join((*parts[start:-1], *last))
            if last and (there := _existing(root, os.path.normpath(f"{inside}/{tail}"))):
                return there
    return None


def _existing(root: Path, relative: str) -> str | None:
    try:
        there = find_file(root, relative)
    except (OSError, ValueError):  # a name that no file system has
        return None
    return None if there is None else there.relative_to(root).as_posix()


def _plain(path: str) -> str:
    """Return the path in a URL, or in Label Studio's address of a local file; any other text with ``/``."""
    path = path.strip()
    if "://" in path or path.startswith("/data/local-files/"):
        try:
            parts = urlsplit(path)
        except ValueError:
            return path
        return parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    return path.replace("\\", "/")


def read_json(file: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: It is too large, or not JSON.
    """
    return _parsed(_text(file), str(file))


def read_json_lines(file: Path) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line of a JSON-lines file; raises like :func:`read_json`."""
    for number, line in enumerate(io.StringIO(_text(file)), 1):
        if line.strip():
            yield number, _parsed(line, f"{file}: line {number}")


def read_columns(file: Path) -> list[str]:
    """Return the first line of a CSV as columns, whatever follows."""
    check_regular(file)
    with open(file, "rb") as stream:
        first = stream.readline(_MOST_COLUMN_BYTES).decode("utf-8-sig", "replace")
    return [name.strip().strip('"') for name in first.split(",")]


def read_table(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the columns of a CSV, without space around them, and its rows with their line numbers.

    Raises:
        InputError: It is too large, not a CSV, or a row has another number of fields.
    """
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True, skipinitialspace=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(field.strip() for field in row)]
    except csv.Error as error:
        raise InputError(f"{file}: is not a CSV table", why=str(error), hint=_EXPORT_AGAIN) from None
    if not rows:
        raise InputError(f"{file}: is empty", hint="Export it again.")
    columns = [name.strip() for name in rows[0][1]]
    for line, row in rows[1:]:
        if len(row) != len(columns):
            raise InputError(f"{file}: line {line} has {len(row)} fields, not {len(columns)}", hint=_EXPORT_AGAIN)
    return columns, rows[1:]


def field(container: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Return a field of a JSON object.

    Raises:
        InputError: It is no object, or has no such field of that kind.
    """
    value = container.get(key) if isinstance(container, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        there = "no object" if not isinstance(container, dict) else "missing" if key not in container else "not valid"
        raise InputError(f"{where}: {key} is {there}", hint=_EXPORT_AGAIN)
    return value


def objects(document: Any, key: str, file: Path, one: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the value of each object in a list of a document.

    Raises:
        InputError: There is no such list, or something in it is no object.
    """
    for number, value in enumerate(field(document, key, list, str(file)), 1):
        if not isinstance(value, dict):
            raise InputError(f"{file}: {one} {number} is not an object", hint=_EXPORT_AGAIN)
        yield f"{one} {number}", value


def only(labels: Sequence[Any], row: Row) -> str | None:
    """Return the one label among those of a photo; None if there is none.

    Raises:
        InputError: There are several, or one is not text.
    """
    names: list[str] = []
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise row.refuse("its label is not text")
        names.append(str(label))
    distinct = list(dict.fromkeys(names))
    if len(distinct) > 1:
        raise row.refuse(
            f"{shown(row.path)} has {len(distinct)} labels: {', '.join(map(shown, distinct[:4]))}",
            why="edgetl trains classifiers of one label a photo",
            hint="Export one label a photo, or leave the photo out.",
        )
    return distinct[0] if distinct else None


def _text(file: Path) -> str:
    check_regular(file)
    with open(file, "rb") as stream:
        data = stream.read(MAX_LABEL_BYTES + 1)
    if len(data) > MAX_LABEL_BYTES:
        raise InputError(
            f"{file}: is larger than {MAX_LABEL_BYTES >> 20} MB", hint="Export it in parts, or as folders of photos."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not UTF-8 text", why=str(error), hint="Export it again.") from None


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        why = str(error) or "it is nested too deeply"
        raise InputError(f"{name}: is not JSON, or cut short", why=why, hint="Export it again.") from None
