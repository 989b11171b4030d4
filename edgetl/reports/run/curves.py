"""``history.csv`` as charts: the fits of the head, and the epochs of the second stage."""

from __future__ import annotations

from collections.abc import Sequence

from edgetl.reports.charts import Plot, Scale, Tick, apart, lines_of
from edgetl.runs.history import Epoch, HeadFit, HistoryRow, points_of


def fits(rows: Sequence[HistoryRow]) -> tuple[HeadFit, ...]:
    """Return the fits of the head, in order; the last one was used."""
    return tuple(row for row in rows if isinstance(row, HeadFit))


def plots(rows: Sequence[HistoryRow], *, kept_epoch: int) -> tuple[Plot, ...]:
    """Return loss and accuracy over the epochs of the second stage; nothing where it has none.

    Args:
        rows: The history.
        kept_epoch: The epoch whose weights were kept.
    """
    epochs = [row for row in rows if isinstance(row, Epoch) and row.stage == "blocks"]
    last = max((row.epoch for row in epochs), default=0)
    if not last:
        return ()
    x = Scale(0, last)
    whole = [tick for tick in Scale(-0.02 * last, 1.02 * last).ticks() if tick.value.is_integer()]
    x_ticks = apart([Tick(x.at(tick.value), f"{tick.value:.0f}", tick.value) for tick in whole])
    found = []
    for name, key, factor in (("Loss, nats", "loss", 1.0), ("Accuracy, %", "accuracy", 100.0)):
        series = {
            which: [(float(epoch), factor * value) for epoch, value in points_of(epochs, column)]
            for which, column in (("training", key), ("validation", f"val_{key}"))
        }
        drawn = {which: points for which, points in series.items() if points}
        if drawn:
            y = Scale.around([value for points in drawn.values() for _, value in points], log=False)
            y_ticks = [tick for tick in y.ticks(about=5) if factor == 1.0 or tick.value <= 100]
            kept = x.at(kept_epoch) if "validation" in drawn else None
            found.append(Plot(name, lines_of(drawn, x, y), x, y, x_ticks, y_ticks, kept))
    return tuple(found)


def begins_before(rows: Sequence[HistoryRow]) -> bool:
    """Return whether the second stage lists the state before its first epoch."""
    return any(isinstance(row, Epoch) and row.stage == "blocks" and row.epoch == 0 for row in rows)
