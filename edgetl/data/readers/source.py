"""Where photos come from: a folder, a CSV, or arrays. Not for: what is in them (``edgetl.data.pixels``, ``audit``)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgetl_device.errors import InputError

from .arrays import ArraySource, find_arrays
from .folders import Scan, scan, subfolders
from .pictures import TABLE, unpack
from .tables import scan_table


def list_photos(data: Path) -> Scan:
    """List the photos of a data set in any form that edgetl takes; arrays are written out as files first.

    Args:
        data: A folder of photos by class, with split folders or without; a ``.csv`` of path, label and split; an
            ``.npz``; a folder with ``.npy`` arrays, IDX files or STL-10's binaries, or one of its arrays of pictures.

    Raises:
        InputError: It is none of these, or something is wrong with it.
    """
    source = check_source(data)
    if isinstance(source, Scan):
        return source
    listed = scan_table(unpack(source) / TABLE)
    return replace(listed, ignored=source.ignored)


def check_source(data: Path) -> Scan | ArraySource:
    """Refuse what cannot be a data set, without reading pictures; :func:`list_photos` does the rest.

    Raises:
        InputError: It is none of the forms that edgetl takes.
    """
    if data.is_file() and data.suffix.lower() == ".csv":
        return scan_table(data)
    if data.is_file() or (data.is_dir() and not subfolders(data)):
        arrays = find_arrays(data)
        if arrays is not None:
            return arrays
    return scan(data)


def photos_folder(data: Path) -> Path:
    """Return the folder that the paths of a run's photos are relative to, for the data set that it was trained on.

    Raises:
        InputError: The data set is not there any more.
    """
    if not data.exists():
        raise InputError(
            f"{data}: the data set of this run is missing", hint="Say where it is now: --data FOLDER (or file)"
        )
    if data.is_dir() and subfolders(data):
        return data
    if data.suffix.lower() == ".csv":
        return data.parent
    return list_photos(data).folder
