"""Choose the reader of a data set: folder, CSV, the export of a label tool, zip, or arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgetl._lib.progress import Advance, count
from edgetl_device._lib.folders import is_output
from edgetl_device._lib.given import advice
from edgetl_device.errors import InputError

from .archives import class_zips, naming, unpack_classes, unpack_zip
from .arrays import ArraySource, find_arrays
from .exports import LABEL_FILES, find_export
from .folders import Scan, scan, subfolders
from .pictures import TABLE, unpack
from .tables import scan_table

_LISTING = "Listing photos"


def list_photos(data: Path) -> Scan:
    """List the photos of a data set in any supported form; arrays are first written as files.

    Args:
        data: A folder of photos by class, with split folders or without; a ``.csv`` of path, label and split; an
            ``.npz``; a folder with ``.npy`` arrays, IDX files or STL-10's binaries, or one of its image arrays; what a
            label tool exports (:mod:`.exports`); a ``.zip`` of any of these, or a folder of one zip a class.

    Raises:
        InputError: It is none of these, or invalid.
    """
    source = check_source(data)
    if isinstance(source, Scan):
        return source
    listed = scan_table(unpack(source) / TABLE)
    return replace(listed, ignored=source.ignored)


def check_source(data: Path) -> Scan | ArraySource:
    """Check that a path can be a data set, without reading images.

    Raises:
        InputError: It is in none of the supported forms.
    """
    if data.is_file() and data.suffix.lower() == ".zip":
        folder = unpack_zip(data)
        with naming(data, folder):
            return _check_place(folder)
    if data.is_dir() and (classes := class_zips(data)) is not None:
        folder = unpack_classes(classes)
        with naming(data, folder), count(_LISTING) as advance:
            return scan(folder, advance)
    return _check_place(data)


def _check_place(data: Path) -> Scan | ArraySource:
    # A folder of 100,000 photos takes minutes to list on a slow disk or share.
    with count(_LISTING) as advance:
        return _listed(data, advance)


def _listed(data: Path, advance: Advance) -> Scan | ArraySource:
    if (data.is_file() or (data.is_dir() and not is_output(data))) and (
        export := find_export(data, advance)
    ) is not None:
        return export
    if data.is_file() and data.suffix.lower() == ".csv":
        return scan_table(data, advance)
    if data.is_file() or (data.is_dir() and not subfolders(data)):
        arrays = find_arrays(data)
        if arrays is not None:
            return arrays
    return scan(data, advance)


def refuse_inside(data: Path, out: Path, *, file: bool = False) -> None:
    """Refuse to write where the next command would read photos.

    Args:
        data: The data set.
        out: What will be written.
        file: ``out`` is a single file: directly in ``data`` it is in no class, and does no harm.

    Raises:
        InputError: ``out`` is inside the folder ``data``, or ``data`` was written by edgetl.
    """
    root, inside = data.resolve(), out.resolve()
    if is_output(root):
        raise InputError(f"{data}: was written by edgetl, it holds no photos to learn from", hint=advice(data, ""))
    if root.is_dir() and inside.is_relative_to(root) and not (file and inside.parent == root):
        raise InputError(
            f"{out}: lies inside {data}",
            why="it would be read as photos",
            hint=f"Choose a place outside, such as {root.parent / out.name}.",
        )


def photos_folder(data: Path) -> Path:
    """Return the folder that the photo paths of a run are relative to.

    Raises:
        InputError: The data set no longer exists.
    """
    if not data.exists():
        raise InputError(
            f"{data}: the data set of this run is missing", hint="Give its new path: --data FOLDER (or file)"
        )
    if data.is_dir() and subfolders(data):
        return data
    if data.is_file() and data.suffix.lower() in (".csv", *LABEL_FILES):
        return data.parent
    return list_photos(data).folder
