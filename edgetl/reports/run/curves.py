"""``history.csv`` as charts: what each fit of the head gave, and the epochs of the second stage."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetl.reports.charts import Scale, Tick, line_path
from edgetl_device.errors import InputError

Row = dict[str, str]


@dataclass(frozen=True)
class Line:
    """One curve; ``colour`` counts from 0, ``last`` is its last value."""

    name: str
    colour: int
    path: str
    last: float


@dataclass(frozen=True)
class Plot:
    """A chart over the epochs; ``kept_percent`` is where the kept epoch is, None without one."""

    name: str
    lines: tuple[Line, ...]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    kept_percent: float | None


@dataclass(frozen=True)
class Fit:
    """One fit of the head: its L2 penalty, what it was fitted on, and what it gave; None where it was not measured."""

    l2: float
    fitted_on: str
    val_loss: float | None
    val_accuracy: float | None


def read_history(path: Path) -> list[Row]:
    """Return the rows of ``history.csv``; empty cells are left out.

    Raises:
        InputError: The file is missing or no such table.
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(stream, strict=True)]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", hint="Train again.") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a history of training", why=str(error)) from None
    if any("stage" not in row or None in row for row in rows):
        raise InputError(f"{path}: is not a history of training", why="a row has too many fields or no stage")
    return rows


def fits(rows: Sequence[Row]) -> tuple[Fit, ...]:
    """Return the fits of the head, in order; the last one is the one that was taken."""
    return tuple(
        Fit(float(row["l2"]), row.get("fitted_on", ""), _number(row, "val_loss"), _number(row, "val_accuracy"))
        for row in rows
        if row["stage"] == "head" and "l2" in row
    )


def plots(rows: Sequence[Row], *, kept_epoch: int) -> tuple[Plot, ...]:
    """Return loss and accuracy over the epochs of the second stage; nothing where it has none.

    Args:
        rows: The history.
        kept_epoch: Whose weights the run has.
    """
    epochs = [row for row in rows if row["stage"] == "blocks" and "epoch" in row]
    last = max((int(row["epoch"]) for row in epochs), default=0)
    if not last:
        return ()
    x = Scale(0, last)
    whole = [tick for tick in Scale(-0.02 * last, 1.02 * last).ticks() if tick.value.is_integer()]
    x_ticks = [Tick(x.at(tick.value), f"{tick.value:.0f}", tick.value) for tick in whole]
    found = []
    for name, key, factor in (("Loss, nats", "loss", 1.0), ("Accuracy, %", "accuracy", 100.0)):
        series = {
            which: [(int(row["epoch"]), factor * float(row[column])) for row in epochs if column in row]
            for which, column in (("training", key), ("validation", f"val_{key}"))
        }
        drawn = {which: points for which, points in series.items() if points}
        if drawn:
            y = Scale.around([value for points in drawn.values() for _, value in points], log=False)
            lines = tuple(
                Line(which, place, line_path([(float(epoch), value) for epoch, value in points], x, y), points[-1][1])
                for place, (which, points) in enumerate(drawn.items())
            )
            y_ticks = [tick for tick in y.ticks(about=5) if factor == 1.0 or tick.value <= 100]
            kept = x.at(kept_epoch) if "validation" in drawn else None
            found.append(Plot(name, lines, x_ticks, y_ticks, kept))
    return tuple(found)


def _number(row: Row, name: str) -> float | None:
    return float(row[name]) if name in row else None
