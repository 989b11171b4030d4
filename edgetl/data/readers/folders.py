"""List the files of a data set by class and split folder, without opening them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgetl._lib.progress import Advance, ignore
from edgetl.data.types import Split
from edgetl_device._lib.folders import children, files_below
from edgetl_device._lib.given import advice
from edgetl_device.errors import InputError
from edgetl_device.text import is_utf8, normal, shown

from .layout import LAYOUTS, find_layout

# What programs for annotation, and published sets, append to the name of a photo for its mask.
_MASK = re.compile(r"(?P<photo>.+?)[ _.-]?(mask|masks|gt|groundtruth|ground_truth|seg|segmentation)([ _-]?\d+)?")


@dataclass(frozen=True)
class FoundFile:
    """A file of a class; ``path`` is relative to the folder of its :class:`Scan`, with ``/``."""

    path: str
    label: str
    folder: Split | None


@dataclass(frozen=True)
class Scan:
    """The files of a data set.

    Attributes:
        files: All files of the classes, sorted by path.
        classes: All classes, by split folder (None where the source gives no split), including empty ones.
        ignored: Files outside any class, and edgetl's own output.
        unreadable: Files whose names are not UTF-8, and anything neither file nor folder (as printable text).
        folder: The folder that paths are relative to.
        order: The classes in the order of the source; None to sort them by name.
        masks: Files of the classes that are masks of photos beside them; not in ``files``.
        base: The folder of the classes or splits, relative to ``folder``; empty if it is that folder.
    """

    files: tuple[FoundFile, ...]
    classes: dict[Split | None, tuple[str, ...]]
    ignored: tuple[str, ...]
    unreadable: tuple[str, ...]
    folder: Path
    order: tuple[str, ...] | None = None
    masks: tuple[str, ...] = ()
    base: str = ""


def scan(root: Path, advance: Advance = ignore) -> Scan:
    """List a data set's files without opening them.

    Args:
        root: The folder.
        advance: Called with the number of files that were found since the last call.

    Raises:
        InputError: ``root`` is missing, not a folder, in no known layout, or has no files in its class folders.
        PermissionError: A folder cannot be listed.
    """
    if not root.exists():
        raise InputError(f"{root}: no such folder", hint=advice(root, LAYOUTS))
    if not root.is_dir():
        raise InputError(f"{root}: is a file, not a folder of photos", hint=advice(root, LAYOUTS))
    layout = find_layout(root)
    ignored = list(layout.ignored)
    files: list[FoundFile] = []
    unreadable: list[str] = []
    classes: dict[Split | None, tuple[str, ...]] = {}
    for split, place in layout.splits.items():
        names, loose, outputs = children(place)
        if place != layout.base:
            above = place.relative_to(root).as_posix()
            ignored += [f"{above}/{name}" for name in (*loose, *(f"{name}/" for name in outputs))]
        labels = class_names(place, names)
        classes[split] = tuple(labels)
        for label, name in labels.items():
            found, odd = class_files(root, place / name, advance)
            files += [FoundFile(path, label, split) for path in found]
            unreadable += odd
    masks = _masks(file.path for file in files)
    files = [file for file in files if file.path not in masks]
    if not files:
        raise InputError(f"{root}: has no photos in its class folders", hint=LAYOUTS)
    return Scan(
        files=tuple(sorted(files, key=lambda file: file.path)),
        classes=classes,
        ignored=tuple(map(shown, ignored)),
        unreadable=tuple(unreadable),
        folder=root,
        masks=tuple(sorted(masks)),
        base="" if layout.base == root else layout.base.relative_to(root).as_posix(),
    )


def class_names(place: Path, folders: Iterable[str]) -> dict[str, str]:
    """Return the folder of each class, by its label.

    Raises:
        InputError: Two folders have the same label: their names differ only in how letters are composed, or in space
            around them.
    """
    labels: dict[str, str] = {}
    for name in folders:
        label = normal(name)
        if label in labels:
            raise InputError(
                f"{place}: has two folders of the class {label}: {labels[label]!a} and {name!a}",
                why="their names look the same, and differ in bytes: composed and decomposed letters, or space",
                hint="Move all photos into one of them.",
            )
        labels[label] = name
    return labels


def find_file(folder: Path, relative: str) -> Path | None:
    """Return a file by its path relative to a folder, also where the disk has its letters composed differently."""
    for form in (relative, *(unicodedata.normalize(form, relative) for form in ("NFC", "NFD"))):
        if (folder / form).is_file():
            return folder / form
    return None


def class_files(root: Path, folder: Path, advance: Advance = ignore) -> tuple[list[str], list[str]]:
    """Return the files below a class folder: paths relative to ``root``, and those that cannot be read, as text."""
    found: list[str] = []
    odd: list[str] = []
    for path in files_below(folder):
        advance(1)
        relative = path.relative_to(root).as_posix()
        if is_utf8(relative) and path.is_file():
            found.append(relative)
        else:
            odd.append(shown(relative))
    return found, odd


def subfolders(root: Path) -> Sequence[str]:
    """Return the names of the folders in ``root`` that may be classes or splits."""
    return children(root).folders


def _masks(paths: Iterable[str]) -> set[str]:
    """Return the files named like the mask of a photo in the same folder: ``a_mask.png`` beside ``a.png``."""
    stems: dict[str, list[str]] = {}
    for path in paths:
        pure = PurePosixPath(path)
        stems.setdefault(f"{pure.parent}/{pure.stem}", []).append(path)
    masks: set[str] = set()
    for stem, files in stems.items():
        folder, _, name = stem.rpartition("/")
        found = _MASK.fullmatch(name)
        if found and f"{folder}/{found['photo']}" in stems:
            masks.update(files)
    return masks
