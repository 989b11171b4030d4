"""Find the files and keys of image arrays and their labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgetl.data.types import Split
from edgetl_device.errors import InputError

from .array_files import npz_keys
from .array_names import CLASS_NAME_KEYS, CONVENTIONS, Pair, Role, pair_up, role_of


@dataclass(frozen=True)
class ArraySource:
    """Image and label arrays, found but not read.

    Attributes:
        given: The path that the user gave.
        files: The files that contain the arrays.
        pairs: Images with their labels, by key of an ``.npz`` or name of a file.
        ignored: Other arrays and files in the same place.
    """

    given: Path
    files: tuple[Path, ...]
    pairs: tuple[Pair, ...]
    ignored: tuple[str, ...]


def find_arrays(data: Path) -> ArraySource | None:
    """Return the arrays in an ``.npz``, in a folder, or in a file and the labels beside it; None if there are none.

    Raises:
        InputError: There are arrays, but their roles are unclear.
    """
    if data.is_dir():
        return _in_folder(data, data, only=None)
    if data.suffix.lower() == ".npz":
        keys = npz_keys(data)
        pairs = pair_up(str(data), keys)
        if not pairs:
            raise InputError(f"{data}: has arrays {', '.join(keys) or 'none'}", why="unknown names", hint=CONVENTIONS)
        used = {name for pair in pairs for name in (pair.images, pair.labels)} | set(CLASS_NAME_KEYS)
        return ArraySource(data, (data,), tuple(pairs), tuple(key for key in keys if key not in used))
    role = role_of(data.name) if _may_hold_array(data.name) else None
    if data.suffix.lower() == ".npy" and (role is None or role[0] != "images"):
        raise InputError(f"{data}: is not named like an array of images", hint=CONVENTIONS)
    return _in_folder(data.parent, data, only=role) if role else None


def _in_folder(folder: Path, given: Path, *, only: tuple[Role, Split | None] | None) -> ArraySource | None:
    files = {file.name: file for file in sorted(folder.iterdir()) if file.is_file() and _may_hold_array(file.name)}
    # torchvision keeps the compressed IDX file beside the unpacked one.
    names = [name for name in files if role_of(name) and not (name.endswith(".gz") and name[:-3] in files)]
    if only is not None:
        split = only[1]
        names = [given.name, *(name for name in names if role_of(name) == ("labels", split))]
    pairs = pair_up(str(folder), names)
    if only is not None and pairs:
        # One pair, named by the user: the whole data set, to be split.
        pairs = [Pair(None, pair.images, pair.labels) for pair in pairs]
    if not pairs:
        return None
    used = [name for pair in pairs for name in (pair.images, pair.labels)]
    ignored = () if only is not None else tuple(name for name in files if name not in used and role_of(name) is None)
    return ArraySource(given, tuple(files[name] for name in used), tuple(pairs), ignored)


def _may_hold_array(name: str) -> bool:
    return re.search(r"(\.npy|_[xy]\.bin|[-.]idx[13]-ubyte(\.gz)?)$", name, re.IGNORECASE) is not None
