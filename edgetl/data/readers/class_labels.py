"""Convert an array's labels to class names, and determine the order of the classes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl_device.errors import InputError
from edgetl_device.text import listed, normal

# Beside the data: one class name per line, in index order.
NAME_FILES = ("classes.txt", "class_names.txt", "labels.txt")

_ONE_HOT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Labels:
    """The labels of one array.

    Attributes:
        index: int64 [n], the class of each row.
        columns: Number of columns of one-hot rows; None for other labels.
        names: The name of each value of ``index``, if the array contains names; None for numbers.
    """

    index: npt.NDArray[np.int64]
    columns: int | None
    names: tuple[str, ...] | None


@dataclass(frozen=True)
class Classes:
    """The classes of a source.

    Attributes:
        order: Their names, in the order of the model's outputs.
        names: The name of each index; empty if the arrays contain names themselves.
    """

    order: tuple[str, ...]
    names: dict[int, str]

    def of(self, labels: Labels) -> list[str]:
        """Return the name of each row's class."""
        lookup = self.names if labels.names is None else dict(enumerate(labels.names))
        return [lookup[int(index)] for index in labels.index]


def read_class_names(folder: Path) -> tuple[str, ...] | None:
    """Read class names from a file of :data:`NAME_FILES` in ``folder``; None if there is none.

    Raises:
        InputError: Two of them differ, or a name occurs twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name in NAME_FILES:
        file = folder / name
        if not file.is_file():
            continue
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise InputError(f"{file}: is not UTF-8 text", hint="Save it as UTF-8, one class name per line.") from None
        found[name] = checked_names(str(file), [line.strip() for line in lines if line.strip()])
    if len(set(found.values())) > 1:
        raise InputError(f"{folder}: {' and '.join(found)} list different classes", hint="Keep the correct one.")
    return next(iter(found.values()), None)


def checked_names(where: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return class names as labels; refuse what cannot be one: empty, repeated, or with a line break."""
    names = tuple(map(normal, names))
    if not names:
        raise InputError(f"{where}: has no class names", hint="Write one name per line, in index order.")
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise InputError(f"{where}: has {twice!r} twice", hint="Class names must be unique.")
    wrong = next((name for name in names if len(name.splitlines()) != 1 or not name.strip()), None)
    if wrong is not None:
        raise InputError(f"{where}: {wrong!r} cannot be a class name", why="labels are lines of text")
    return names


def decode_labels(array: npt.NDArray[Any], where: str, *, count: int, first: int = 0) -> Labels:
    """Interpret an array of labels: integers [n] or [n, 1], one-hot rows [n, classes], or names [n].

    Args:
        array: The labels.
        where: Its name, for errors.
        count: The number of images.
        first: The index of the first class: 1 in STL-10.

    Raises:
        InputError: A wrong shape, a wrong number of rows, or values that are not labels.
    """
    if array.ndim not in (1, 2):
        raise InputError(f"{where}: labels of shape {array.shape}", why="must be [n], [n, 1] or one-hot [n, classes]")
    if len(array) != count:
        raise InputError(
            f"{where}: {len(array):,} labels for {count:,} images", hint="Both must have one row per image."
        )
    if array.dtype.kind in "US" and array.size == count:
        return _named(array, where)
    if array.dtype.kind not in "iufb":
        raise InputError(f"{where}: labels of type {array.dtype}", why="must be integers, one-hot rows or names")
    values = np.asarray(array)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{where}: row {int(np.argwhere(~np.isfinite(values))[0][0])} is not a number")
    if values.ndim == 2 and values.shape[1] > 1:
        return _one_hot(values, where)
    values = values.reshape(-1)
    wrong = values != np.rint(values)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(f"{where}: row {row} is {values[row]}", why="labels must be whole numbers, one-hot or names")
    index = values.astype(np.int64) - first
    if len(index) and index.min() < 0:
        row = int(index.argmin())
        raise InputError(f"{where}: row {row} is {values[row]:.0f}", why=f"labels must count from {first}")
    return Labels(index, None, None)


def name_classes(parts: Sequence[Labels], names: Sequence[str] | None, where: str, *, first: int = 0) -> Classes:
    """Name the classes that ``parts`` use.

    Args:
        parts: The labels of each split.
        names: A name for each index, or the order of the names in the arrays; None if there are none.
        where: The source, for errors.
        first: The file's index of the first class: 1 in STL-10.

    Raises:
        InputError: There are more indices than names, or the arrays do not have the same kind of labels.
    """
    if len({(part.columns, part.names is None) for part in parts}) > 1:
        raise InputError(f"{where}: label arrays of different kinds", why="one-hot, integers or names, not a mix")
    if parts[0].names is not None:
        used_names = sorted({name for part in parts for name in part.names or ()})
        unknown = [name for name in used_names if names and name not in names]
        if unknown:
            raise InputError(f"{where}: {unknown[0]!r} is not among its class names", why=listed(names or ()))
        return Classes(tuple(names or used_names), {})
    used = sorted({int(index) for part in parts for index in np.unique(part.index)})
    if parts[0].columns:
        used = list(range(parts[0].columns))
    if names is None:
        width = len(str(used[-1] + first))
        number = {index: f"{index + first:0{width}}" for index in used}
        return Classes(tuple(number.values()), number)
    if used[-1] >= len(names):
        from_one = used[-1] == len(names) and used[0] == 1
        raise InputError(
            f"{where}: label {used[-1] + first} has no name among {len(names)} class names",
            hint="Labels count from 0: subtract 1." if from_one else "Give a name for every class.",
        )
    return Classes(tuple(names), dict(enumerate(names)))


def text_of(array: npt.NDArray[Any], where: str) -> npt.NDArray[np.str_]:
    """Return an array of text or bytes as flat text.

    Raises:
        InputError: Its bytes are not ASCII, or its numbers are no characters.
    """
    try:
        text = array.astype(np.str_).reshape(-1)
    except UnicodeDecodeError:
        raise InputError(f"{where}: bytes that are not ASCII", hint="Save class names as text, not as bytes.") from None
    # NumPy takes any 32 bits for a character; Python's functions fail on those that are none.
    if text.nbytes and text.view(np.uint32).max() > sys.maxunicode:
        raise InputError(f"{where}: holds numbers that are no characters", hint="It is damaged; save it again.")
    return text


def _named(array: npt.NDArray[Any], where: str) -> Labels:
    names, index = np.unique(text_of(array, where), return_inverse=True)
    return Labels(index.astype(np.int64), None, checked_names(where, [str(name) for name in names]))


def _one_hot(values: npt.NDArray[Any], where: str) -> Labels:
    sums = values.sum(axis=1, dtype=np.float64)
    wrong = np.abs(sums - 1) > _ONE_HOT_TOLERANCE
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{where}: row {row} sums to {sums[row]:g}", why="a one-hot row has a single 1, all others are 0"
        )
    soft = values.max(axis=1) < 1 - _ONE_HOT_TOLERANCE
    if soft.any():
        raise InputError(
            f"{where}: row {int(soft.argmax())} is a mixture of classes",
            why="every picture needs one class",
            hint="Use numpy.argmax(labels, axis=1) if the largest share is the class.",
        )
    return Labels(values.argmax(axis=1).astype(np.int64), values.shape[1], None)
