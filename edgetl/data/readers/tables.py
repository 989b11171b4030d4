"""A CSV of photos: one row per photo, with the columns path, label and optionally split."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from edgetl._lib.progress import Advance, ignore
from edgetl.data.types import Split
from edgetl_device.errors import InputError
from edgetl_device.text import normal

from .class_labels import read_class_names
from .folders import FoundFile, Scan, find_file
from .split_names import KNOWN_SPLITS, split_of

_EXAMPLE = "Expected a header and rows such as: path,label,split / images/1.jpg,cat,train (split may be left out)."
_DELIMITERS = ",;\t"


def scan_table(file: Path, advance: Advance = ignore) -> Scan:
    """List the photos of a CSV without opening them.

    Paths are relative to the CSV's folder, or absolute. Without a split column edgetl splits the photos. A class-name
    file beside it gives the order of the classes, and names for numeric labels.

    Raises:
        InputError: It is not such a table, or lists a missing file or an unknown split.
    """
    rows = _read(file)
    columns = [name.strip().lower() for name in rows[0][1]]
    missing = [name for name in ("path", "label") if name not in columns]
    if missing:
        raise InputError(
            f"{file}: has no column {' and no column '.join(missing)}",
            why=f"its first line has {', '.join(filter(None, columns)) or 'nothing'}",
            hint=_EXAMPLE,
        )
    rows = [(line, row) for line, row in rows[1:] if any(field.strip() for field in row)]
    if not rows:
        raise InputError(f"{file}: has a header, but no photos", hint=_EXAMPLE)
    place = {name: columns.index(name) for name in ("path", "label", "split") if name in columns}
    names = read_class_names(file.parent)

    files, absent = [], []
    for line, row in rows:
        advance(1)
        if len(row) != len(columns):
            raise InputError(f"{file}: line {line} has {len(row)} fields, not {len(columns)}")
        path, label = row[place["path"]].strip(), normal(row[place["label"]])
        if not path or not label or len(label.splitlines()) != 1:
            raise InputError(f"{file}: line {line} has no {'label' if path else 'path'}", hint=_EXAMPLE)
        split = _split(file, line, row[place["split"]]) if "split" in place else None
        path = Path(os.path.normpath(path)).as_posix()
        there = find_file(file.parent, path)
        if there is None and "\\" in path:  # as Windows writes it
            there = find_file(file.parent, path := PureWindowsPath(path).as_posix())
        if there is None:
            absent.append((line, path))
        else:
            path = there.as_posix() if Path(path).is_absolute() else there.relative_to(file.parent).as_posix()
        files.append(FoundFile(path, label, split))
    if absent:
        line, path = absent[0]
        raise InputError(
            f"{file}: {len(absent):,} of its {len(files):,} files are missing",
            why=f"such as {path} (line {line})",
            hint=f"Paths are relative to {file.parent}.",
        )
    order = None
    if names is not None:
        files, order = _named(file, files, names), names
    used = {split: {one.label for one in files if one.folder == split} for split in {one.folder for one in files}}
    return Scan(
        files=tuple(sorted(files, key=lambda one: one.path)),
        classes={split: order or tuple(sorted(labels)) for split, labels in used.items()},
        ignored=(),
        unreadable=(),
        folder=file.parent,
        order=order,
    )


def _read(file: Path) -> list[tuple[int, list[str]]]:
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            header = stream.readline()
            delimiter = max(_DELIMITERS, key=header.count)
            stream.seek(0)
            reader = csv.reader(stream, delimiter=delimiter, strict=True)
            rows = [(reader.line_num, row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{file}: is not a CSV table in UTF-8", why=str(error), hint=_EXAMPLE) from None
    if not rows:
        raise InputError(f"{file}: is empty", hint=_EXAMPLE)
    return rows


def _split(file: Path, line: int, text: str) -> Split:
    split = split_of(text)
    if split is None:
        raise InputError(f"{file}: line {line} has split {text.strip()!r}", why=f"known are {KNOWN_SPLITS}")
    return split


def _named(file: Path, files: Sequence[FoundFile], names: tuple[str, ...]) -> list[FoundFile]:
    """Return the files with labels from ``names``: labels are names already, or all are indices from 0."""
    labels = {one.label for one in files}
    if labels <= set(names):
        return list(files)
    if all(label.isascii() and label.isdigit() and int(label) < len(names) for label in labels):
        return [FoundFile(one.path, names[int(one.label)], one.folder) for one in files]
    unknown = min(labels - set(names))
    raise InputError(
        f"{file}: label {unknown!r} is not in the file of class names beside it",
        why=f"which has {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}",
        hint="Add it there, or remove that file to keep the labels as they are.",
    )
