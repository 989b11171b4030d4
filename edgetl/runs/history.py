"""``history.csv``: one row per fit of the head, then one per epoch of the later stages."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgetl._lib.csv import write_table
from edgetl_device._lib.documents import Count, Json, of_json, optional, to_json
from edgetl_device.errors import InputError

_TEXTS = ("stage", "fitted_on")


@dataclass(frozen=True, kw_only=True)
class HeadFit:
    """One fit of the head.

    Attributes:
        stage: Always ``head``.
        l2: L2 penalty per photo.
        loss: Training cross-entropy, nats.
        accuracy: Training top-1 accuracy, 0..1.
        val_loss: Validation cross-entropy, if there are validation photos.
        val_accuracy: Validation top-1 accuracy.
        fitted_on: Training data: ``photos`` or ``photos and views``; empty in runs of early versions.
    """

    stage: Literal["head"] = "head"
    l2: float
    loss: float | None = optional()
    accuracy: float | None = optional()
    val_loss: float | None = optional()
    val_accuracy: float | None = optional()
    fitted_on: str = optional("")


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch of a gradient-trained stage; epoch 0 is the state before the stage.

    Attributes:
        stage: ``blocks`` or ``finetune``.
        epoch: Epoch number.
        loss: Training loss on photos and views, with label smoothing and weights as minimized.
        accuracy: Training top-1 accuracy, 0..1.
        val_loss: Validation loss, if there are validation photos.
        val_accuracy: Validation top-1 accuracy.
        val_loss_se: Standard error of ``val_loss``; needs at least two photos.
        lr: Learning rate at the end of the epoch.
        seconds: Duration in seconds.
    """

    stage: str
    epoch: Count
    loss: float | None = optional()
    accuracy: float | None = optional()
    val_loss: float | None = optional()
    val_accuracy: float | None = optional()
    val_loss_se: float | None = optional()
    lr: float | None = optional()
    seconds: float | None = optional()


HistoryRow = HeadFit | Epoch


def history_row(value: Json, *, name: str) -> HistoryRow:
    """Parse a row from a JSON object; errors refer to it as ``name``.

    Raises:
        InputError: It is not a valid row; the message names the field.
    """
    if isinstance(value, dict) and value.get("stage") == "head":
        return of_json(HeadFit, value, name=name)
    return of_json(Epoch, value, name=name)


def points_of(rows: Sequence[Epoch], name: str) -> list[tuple[int, float]]:
    """Return (epoch, value) pairs of a field such as ``val_loss``, skipping epochs without it."""
    return [(row.epoch, value) for row in rows if (value := getattr(row, name)) is not None]


def write_history(path: Path, history: Sequence[HistoryRow]) -> None:
    """Write one CSV row per entry; columns are the union of all fields."""
    rows: list[dict[str, str | int | float]] = [to_json(row) for row in history]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_table(path, columns, ([row.get(column, "") for column in columns] for row in rows))


def read_history(path: Path) -> tuple[HistoryRow, ...]:
    """Read a file written by :func:`write_history`.

    Raises:
        InputError: The file is missing or not such a table.
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            return tuple(_row(cells, f"{path}: line {reader.line_num}") for cells in reader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", hint="Train again.") from None
    except (csv.Error, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not a training history", why=str(error)) from None


def _row(cells: Mapping[str, str], name: str) -> HistoryRow:
    if None in cells:
        raise ValueError("a row has too many fields")
    values = {key: cell if key in _TEXTS else json.loads(cell) for key, cell in cells.items() if cell}
    return history_row(values, name=name)
