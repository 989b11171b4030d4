"""The page of a search: accuracy against p95 and size, every trial, and the networks that were not trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetl.reports.charts import Place, Scale, Tick, frontier, line_path, place_labels
from edgetl.reports.html import fill
from edgetl_device._lib.documents import Unknown
from edgetl_device.scores import Accuracy

from .document import Cost, SearchDocument, SearchedNetwork, Trial

_COLOURS = 8


@dataclass(frozen=True)
class Row:
    """A trial on the page.

    Attributes:
        trial: The trial.
        network: Its network.
        name: The network in words.
        colour: One for each network.
        state: What became of it.
    """

    trial: Trial
    network: SearchedNetwork
    name: str
    colour: int
    state: str

    @property
    def number(self) -> int:
        """Its number on the page and in messages, from 1."""
        return self.trial.number + 1


@dataclass(frozen=True)
class Point:
    """A trial in a chart; positions in percent from the left and from the top."""

    row: Row
    accuracy: Accuracy
    value: float
    x: float
    y: float
    top: float
    bottom: float
    label: Place


@dataclass(frozen=True)
class Chart:
    """Accuracy on the validation photos, in percent, against a cost."""

    name: str
    axis: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    log: bool
    points: tuple[Point, ...]
    path: str


def name_of(one: SearchedNetwork) -> str:
    """Return a network in words."""
    width = "" if one.width == 1 else f" {one.width:g}"
    return f"{one.backbone}{width} at {one.size} px" + (f" up to {one.truncate}" if one.truncate else "")


def render(document: SearchDocument) -> str:
    """Return a search as a self-contained HTML page.

    Raises:
        Unavailable: Jinja2 is not installed.
    """
    places = sorted({one.network for one in document.trials})
    winner = document.winner.trial if document.winner else None
    rows = [
        Row(
            one,
            document.networks[one.network],
            name_of(document.networks[one.network]),
            places.index(one.network) % _COLOURS,
            "winner" if one.number == winner else "rejected" if one.rejected else one.state,
        )
        for one in document.trials
    ]
    left_out = [one for one in document.networks if one.outcome != "trained"]
    return fill(
        "search.html",
        search=document,
        rows=sorted(rows, key=_order),
        charts=[
            chart
            for name, axis, cost in (
                ("Accuracy and latency", "model p95, ms", _p95_ms),
                ("Accuracy and size", "size, MB", _mb),
            )
            if (chart := _chart(name, axis, rows, cost))
        ],
        left_out=[(name_of(one), one) for one in left_out],
        finished=[one for one in (document.winner, document.baseline) if one is not None],
    )


def _order(row: Row) -> tuple[bool, int, float, int]:
    val = row.trial.val
    return row.state != "winner", -(val.correct if val else -1), row.trial.val_loss or 0.0, row.number


def _p95_ms(cost: Cost) -> float | None:
    return None if isinstance(cost.p95_ms, Unknown) else cost.p95_ms


def _mb(cost: Cost) -> float | None:
    return cost.bytes / 1e6


def _chart(name: str, axis: str, rows: Sequence[Row], cost: object) -> Chart | None:
    assert callable(cost)
    found = [
        (row, row.trial.val, value)
        for row in rows
        if row.trial.val is not None and row.network.cost is not None and (value := cost(row.network.cost)) is not None
    ]
    if not found:
        return None
    costs, gains = [value for _, _, value in found], [100 * accuracy.top1 for _, accuracy, _ in found]
    x = Scale.around(costs, margin=0.12)
    y = Scale.around([100 * bound for _, one, _ in found for bound in one.ci95], margin=0.08, log=False)
    spots = [(x.at(value), 100 - y.at(gain)) for value, gain in zip(costs, gains, strict=True)]
    labels = place_labels(spots, width=8, height=6)
    points = tuple(
        Point(
            row,
            accuracy,
            value,
            *spots[place],
            100 - y.at(100 * accuracy.ci95[1]),
            100 - y.at(100 * accuracy.ci95[0]),
            labels[place],
        )
        for place, (row, accuracy, value) in enumerate(found)
    )
    best = frontier(list(zip(costs, gains, strict=True)))
    path = line_path([(costs[one], gains[one]) for one in best], x, y)
    return Chart(name, axis, x.x_ticks(), [tick for tick in y.ticks(about=8) if tick.value <= 100], x.log, points, path)
