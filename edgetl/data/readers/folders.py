"""List the files of a data set by class and split folder, without opening them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgetl.data.types import Split
from edgetl_device.errors import InputError
from edgetl_device.folders import children, files_below
from edgetl_device.text import is_utf8, shown

SPLIT_OF_NAME: dict[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}

_LAYOUTS = (
    "Expected FOLDER/<class>/photos, FOLDER/{train,val,test}/<class>/photos, a .csv or an .npz (docs/guides/data.md)."
)


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
        files: All files inside class folders, sorted by path.
        classes: All class folders, by split folder (None in the flat layout), including empty ones.
        strays: Files outside any class folder.
        odd: Files whose names are not UTF-8, and anything neither file nor folder (as printable text).
        folder: The folder that paths are relative to.
        order: The classes in the order of the source; None to sort them by name.
    """

    files: tuple[FoundFile, ...]
    classes: dict[Split | None, tuple[str, ...]]
    ignored: tuple[str, ...]
    unreadable: tuple[str, ...]
    folder: Path
    order: tuple[str, ...] | None = None


def scan(root: Path) -> Scan:
    """List a data set's files without opening them.

    Raises:
        InputError: ``root`` is missing, not a folder, in no known layout, or has no files in its class folders.
        PermissionError: A folder cannot be listed.
    """
    if not root.exists():
        raise InputError(f"{root}: no such folder", hint=_LAYOUTS)
    if not root.is_dir():
        raise InputError(f"{root}: is a file, not a folder of photos", hint=_LAYOUTS)
    folders, ignored = children(root)
    if not folders:
        raise InputError(f"{root}: has no class folders", why="it is empty" if not ignored else "", hint=_LAYOUTS)

    files: list[FoundFile] = []
    unreadable: list[str] = []
    classes: dict[Split | None, tuple[str, ...]] = {}
    for split, base in _split_folders(root, folders).items():
        names, loose = (folders, []) if base == root else children(base)
        ignored += [f"{base.name}/{name}" for name in loose]
        classes[split] = tuple(names)
        for label in names:
            for path in files_below(base / label):
                relative = path.relative_to(root).as_posix()
                if is_utf8(relative) and path.is_file():
                    files.append(FoundFile(relative, label, split))
                else:
                    unreadable.append(shown(relative))
    if not files:
        raise InputError(f"{root}: has no photos in its class folders", hint=_LAYOUTS)
    by_path = tuple(sorted(files, key=lambda file: file.path))
    return Scan(by_path, classes, tuple(map(shown, ignored)), tuple(unreadable), root)


def subfolders(root: Path) -> list[str]:
    """Return the names of the folders in ``root`` that may be classes or splits."""
    return children(root)[0]


def _split_folders(root: Path, folders: list[str]) -> dict[Split | None, Path]:
    named = [name for name in folders if name.lower() in SPLIT_OF_NAME]
    # A folder called "train" that holds photos itself is a class (of trains).
    named = [name for name in named if not children(root / name)[1] or len(named) == len(folders)]
    if not named:
        return {None: root}
    if len(named) < len(folders):
        other = next(name for name in folders if name not in named)
        raise InputError(
            f"{root}: mixes split folders ({named[0]}) and others ({other})",
            why="it is unclear whether these are classes",
            hint=_LAYOUTS,
        )
    splits: dict[Split | None, Path] = {}
    for name in named:
        split = SPLIT_OF_NAME[name.lower()]
        if split in splits:
            raise InputError(
                f"{root}: has two {split} folders, {splits[split].name} and {name}", hint="Merge them, or remove one."
            )
        splits[split] = root / name
    return splits
