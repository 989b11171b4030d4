"""Which folders of a data set are splits and which are classes: found by names, and refused where it is unclear."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgetl.data.types import Split
from edgetl_device._lib.folders import PHOTO_SUFFIXES, children, is_junk, is_output
from edgetl_device._lib.given import advice
from edgetl_device.errors import InputError
from edgetl_device.text import GUIDES

from .split_names import split_of

LAYOUTS = (
    "Expected FOLDER/<class>/photos, FOLDER/{train,val,test}/<class>/photos, a .csv or an .npz: " + f"{GUIDES}/data.md"
)

# Names that data sets of detection and segmentation give to what belongs to their photos. Each of them may be a class
# beside others; a folder that has nothing else has no classes.
_PHOTOS = {"images", "image", "img", "imgs", "photos", "pictures", "jpegimages"}
_ABOUT_PHOTOS = {
    "labels", "annotations", "annotation", "masks", "ground_truth", "groundtruth", "gt", "bboxes", "xmls", "metadata",
    "imagesets", "segmentationclass", "segmentationobject",
}  # fmt: skip
_MOST_WRAPPERS = 5


@dataclass(frozen=True)
class Layout:
    """Where the class folders of a data set are.

    Attributes:
        base: The folder of the splits or classes: the root, or the only folder in it.
        splits: The folder of class folders of each split; under None without split folders.
        ignored: Files and edgetl's output beside them, as paths relative to the root.
    """

    base: Path
    splits: dict[Split | None, Path]
    ignored: tuple[str, ...]


def find_layout(root: Path) -> Layout:
    """Find the class folders below ``root``.

    Raises:
        InputError: There are none, or it is unclear which folders are classes.
        PermissionError: A folder cannot be listed.
    """
    if is_output(root):
        raise InputError(f"{root}: was written by edgetl, it holds no photos to learn from", hint=advice(root, LAYOUTS))
    base = _unwrapped(root)
    folders, files, outputs = children(base)
    ignored = [*files, *(f"{name}/" for name in outputs)]
    if not folders:
        why = "" if files else "it holds only output of edgetl" if outputs else "it is empty"
        raise InputError(f"{root}: has no class folders", why=why, hint=LAYOUTS)
    above = "" if base == root else f"{base.relative_to(root).as_posix()}/"
    splits = _split_folders(base, folders)
    layout = Layout(base, splits, tuple(f"{above}{name}" for name in ignored))
    for split, place in splits.items():
        classes = folders if split is None else children(place).folders
        _refuse_parts_of_photos(place, classes)
        _refuse_unclear_levels(place, classes)
    return layout


def _unwrapped(root: Path) -> Path:
    """Follow folders that hold a single folder, as archives leave them, down to splits or to several classes."""
    place = root
    for _ in range(_MOST_WRAPPERS):
        folders = children(place).folders
        if _has_photos(place):
            return root
        if len(folders) > 1 or (folders and split_of(folders[0])):
            return place
        if not folders:
            return root
        place = place / folders[0]
    return root


def _split_folders(base: Path, folders: list[str]) -> dict[Split | None, Path]:
    named = [name for name in folders if split_of(name)]
    # A folder called "train" that holds photos itself is a class (of trains).
    named = [name for name in named if not children(base / name).files or len(named) == len(folders)]
    if not named:
        return {None: base}
    if len(named) < len(folders):
        other = next(name for name in folders if name not in named)
        raise InputError(
            f"{base}: mixes split folders ({named[0]}) and others ({other})",
            why="it is unclear whether these are classes",
            hint=LAYOUTS,
        )
    splits: dict[Split | None, Path] = {}
    for name in named:
        split = split_of(name)
        if split in splits:
            raise InputError(
                f"{base}: has two {split} folders, {splits[split].name} and {name}", hint="Merge them, or remove one."
            )
        splits[split] = base / name
    return {split: _inner(folder, split) for split, folder in splits.items()}


def _inner(folder: Path, split: Split | None) -> Path:
    """Follow ``train/train`` and ``train/images``, where the classes are in there."""
    found = children(folder)
    if len(found.folders) != 1:
        return folder
    [name] = found.folders
    if (split_of(name) == split or name.lower() in _PHOTOS) and children(folder / name).folders:
        return folder / name
    return folder


def _refuse_parts_of_photos(place: Path, classes: list[str]) -> None:
    low = {name.lower() for name in classes}
    if low and low <= _PHOTOS | _ABOUT_PHOTOS:
        raise InputError(
            f"{place}: {', '.join(classes)}: the names of photos and what belongs to them, not of classes",
            why="data sets for detection and segmentation look like this",
            hint=LAYOUTS,
        )


def _refuse_unclear_levels(place: Path, classes: list[str]) -> None:
    """Refuse classes that hold nothing but the same subfolders, or split folders."""
    below: dict[str, list[str]] = {}
    for name in classes:
        # A class with photos of its own, such as the first of most data sets, ends the look.
        if _has_files(place / name):
            continue
        below[name] = children(place / name).folders
    for name, inside in below.items():
        if len(inside) > 1 and all(map(split_of, inside)):
            raise InputError(
                f"{place}: has split folders below {name}: {_listed(inside)}",
                why="splits come above classes, and each class would learn from its own test photos",
                hint=_advice(place, name, below) or LAYOUTS,
            )
    same = len({tuple(inside) for inside in below.values()}) == 1
    if len(below) > 1 and len(below) == len(classes) and same and len(inside := below[classes[0]]) > 1:
        raise InputError(
            f"{place}: its folders ({_listed(classes)}) hold nothing but the same subfolders ({_listed(inside)})",
            why="it is unclear which of them are the classes",
            hint=_advice(place, classes[0], below) or LAYOUTS,
        )


def _advice(place: Path, name: str, below: Mapping[str, list[str]]) -> str:
    """Return what to do where each "class" is a data set of its own, with classes below its split folders."""
    if any(children(place / name / split).folders for split in below[name] if split_of(split)):
        return f"Each of them may be a data set of its own: give {place / name}, if that is so."
    return ""


def _has_photos(folder: Path) -> bool:
    return any(name.lower().endswith(PHOTO_SUFFIXES) for name in children(folder).files)


def _has_files(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(not is_junk(entry.name) and not entry.is_dir() for entry in entries)


def _listed(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
