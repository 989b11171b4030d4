"""``history.csv``: one row for each fit of the head, then one for each epoch of the later stages."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgetl._lib.csv import write_table
from edgetl_device.documents import Count, Json, of_json, optional, to_json
from edgetl_device.errors import InputError

_TEXTS = ("stage", "fitted_on")


@dataclass(frozen=True, kw_only=True)
class HeadFit:
    """One fit of the head.

    Attributes:
        stage: ``head``
        l2: The L2 penalty per photo.
        loss: Cross-entropy on what it was fitted on, nats.
        accuracy: Top-1 on the same, 0..1.
        val_loss: Cross-entropy on validation photos, where there are any.
        val_accuracy: Top-1 on them.
        fitted_on: ``photos``, or ``photos and views``; empty in runs of early versions.
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
    """One epoch of a stage that is trained by steps; epoch 0 is the state before it, which has not been trained.

    Attributes:
        stage: ``blocks`` or ``finetune``.
        epoch: Its number.
        loss: On training photos and views, smoothed and weighted as it was minimized.
        accuracy: Top-1 on the same, 0..1.
        val_loss: On validation photos, where there are any.
        val_accuracy: Top-1 on them.
        val_loss_se: The standard error of ``val_loss``, of two photos or more.
        lr: The learning rate at its end.
        seconds: How long it took.
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
    """Return the row that a JSON object describes; ``name`` is what errors call it.

    Raises:
        InputError: It is no row; the message names the field.
    """
    if isinstance(value, dict) and value.get("stage") == "head":
        return of_json(HeadFit, value, name=name)
    return of_json(Epoch, value, name=name)


def points_of(rows: Sequence[Epoch], name: str) -> list[tuple[int, float]]:
    """Return the number and a score, such as ``val_loss``, of each epoch that has it."""
    return [(row.epoch, value) for row in rows if (value := getattr(row, name)) is not None]


def write_history(path: Path, history: Sequence[HistoryRow]) -> None:
    """Write one CSV row an entry, with the union of the fields they have as columns."""
    rows: list[dict[str, str | int | float]] = [to_json(row) for row in history]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_table(path, columns, ([row.get(column, "") for column in columns] for row in rows))


def read_history(path: Path) -> tuple[HistoryRow, ...]:
    """Read what :func:`write_history` wrote.

    Raises:
        InputError: The file is missing or no such table.
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            return tuple(_row(cells, f"{path}: line {reader.line_num}") for cells in reader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", hint="Train again.") from None
    except (csv.Error, ValueError) as error:
        raise InputError(f"{path}: is not a history of training", why=str(error)) from None


def _row(cells: Mapping[str, str], name: str) -> HistoryRow:
    if None in cells:
        raise ValueError("a row has too many fields")
    values = {key: cell if key in _TEXTS else json.loads(cell) for key, cell in cells.items() if cell}
    return history_row(values, name=name)
