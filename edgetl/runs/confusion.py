"""``confusion.csv``: the non-zero cells of a run's confusion matrix.

A matrix would grow with the square of the number of classes; this has at most one row per photo.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields

from edgetl._lib.csv import read_table, write_table
from edgetl.data import SPLITS, Split
from edgetl_device._lib.documents import Positive, Text
from edgetl_device.errors import InputError

FILE = "confusion.csv"


@dataclass(frozen=True)
class ConfusionCell:
    """A cell of a confusion matrix: the number of photos of one class that were predicted as the same or another class.

    Attributes:
        label: True class.
        predicted: Predicted class.
        photos: Number of photos.
    """

    label: Text
    predicted: Text
    photos: Positive


Confusion = tuple[ConfusionCell, ...]
_COLUMNS = ("split", *(field.name for field in fields(ConfusionCell)))


def confusion_of(pairs: Iterable[tuple[str, str]], labels: Sequence[str]) -> Confusion:
    """Count pairs of true and predicted class; cells are in the order of the labels, by true class first."""
    place = {label: index for index, label in enumerate(labels)}
    counts = Counter(pairs)
    return tuple(
        ConfusionCell(*pair, counts[pair])
        for pair in sorted(counts, key=lambda pair: [place.get(label, -1) for label in pair])
    )


def as_matrix(confusion: Confusion, labels: Sequence[str]) -> list[list[int]]:
    """Return the photos of some classes, true class (rows) by predicted class (columns), both in this order."""
    place = {label: index for index, label in enumerate(labels)}
    matrix = [[0] * len(labels) for _ in labels]
    for cell in confusion:
        if cell.label in place and cell.predicted in place:
            matrix[place[cell.label]][place[cell.predicted]] = cell.photos
    return matrix


def write_confusion(path: str | os.PathLike[str], confusion: Mapping[Split, Confusion]) -> None:
    """Write the confusion of each split as CSV, atomically."""
    write_table(path, _COLUMNS, ((split, *astuple(cell)) for split, cells in confusion.items() for cell in cells))


def read_confusion(path: str | os.PathLike[str]) -> dict[Split, Confusion]:
    """Read a file written by :func:`write_confusion`.

    Raises:
        InputError: The file is missing or not such a table; the message names the line.
    """
    found: dict[Split, list[ConfusionCell]] = {}
    for number, row in read_table(path, _COLUMNS, what="a confusion matrix", hint="Train again."):
        split, cell = _cell(row, where=f"{os.fspath(path)}: line {number}")
        found.setdefault(split, []).append(cell)
    return {split: tuple(cells) for split, cells in found.items()}


def _cell(row: Sequence[str], *, where: str) -> tuple[Split, ConfusionCell]:
    name, label, predicted, photos = row
    split = next((one for one in SPLITS if one == name), None)
    if split is None:
        raise InputError(f"{where} is of the split {name!r}", why=f"there are {', '.join(SPLITS)}")
    if not re.fullmatch(r"[1-9][0-9]{0,17}", photos):
        raise InputError(f"{where} has {photos!r} photos", why="must be a whole number from 1")
    return split, ConfusionCell(label, predicted, int(photos))
