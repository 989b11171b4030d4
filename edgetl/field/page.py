"""The page of ``edgetl field report``: the fleet over time, drift, photos to look at, boards unlike the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain, zip_longest
from pathlib import Path

from edgetl.reports.charts import Plot, Scale, Tick, apart, lines_of
from edgetl.reports.html import fill
from edgetl.reports.pictures import data_uri, thumbnail
from edgetl_device._lib import documents
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.errors import EdgetlError
from edgetl_device.monitor.collection import CollectionDocument, Kept
from edgetl_device.preprocess import read_photo

from .summary import MEASURES, BoardInField, FieldSummary, folders

# Lines of a chart have so many colours.
_MOST_LINES = 4
# At about 8 KB a picture, the page can still be sent by e-mail.
_MOST_PHOTOS = 60
_REASONS = ("unknown", "uncertain", "random")


@dataclass(frozen=True)
class Row:
    """A board in the table, with the intervals of its shares."""

    board: BoardInField
    status: str
    unknown_ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Photo:
    """A photo that a monitor kept, with its picture as a data URI, or why there is none."""

    file: str
    board: str
    kept: Kept
    picture: str
    why: str = ""


def render(summary: FieldSummary, folder: Path) -> str:
    """Return what boards saw as a self-contained HTML page.

    Args:
        summary: From :func:`edgetl.field.summary.summarize`.
        folder: The folder that it was made of, for the photos.

    Raises:
        Unavailable: Jinja2 is not installed.
    """
    # Those to look at first.
    rows = [_row(one) for one in sorted(summary.boards, key=lambda one: (not one.drifts, not one.differs))]
    photos, more = _photos(folder)
    told = sum(one.told for one in summary.boards)
    drawn = _to_draw(summary.boards)
    return fill(
        "field.html",
        summary=summary,
        rows=rows,
        photos=photos,
        more=more,
        plots=[plot for name in MEASURES if (plot := _plot(name, drawn))],
        drawn=[one.name for one in drawn],
        total=sum(one.photos for one in summary.boards),
        failed=sum(one.failed for one in summary.boards),
        told=told,
        unknown=sum(one.unknown for one in summary.boards),
        lost=sum(one.lost for one in summary.boards),
        drifting=[one.name for one in summary.boards if one.drifts],
        unlike=[one.name for one in summary.boards if one.differs],
        problems=[problem for one in summary.boards for problem in one.problems],
    )


def _row(board: BoardInField) -> Row:
    status = "degraded" if board.drifts or board.differs else "valid"
    return Row(board, status, wilson95(board.unknown, board.told) if board.told else None)


def _to_draw(boards: Sequence[BoardInField]) -> list[BoardInField]:
    """Return the boards whose lines are drawn: those to look at first, then those with the most photos."""
    order = sorted(boards, key=lambda one: (not one.drifts, not one.differs, -one.photos))
    return order[:_MOST_LINES]


def _plot(name: str, boards: Sequence[BoardInField]) -> Plot | None:
    factor = 100 if name == "unknown share" else 1
    series = {
        one.name: [
            (float(date.fromisoformat(day.date).toordinal()), factor * day.measures[name])
            for day in one.days
            if name in day.measures
        ]
        for one in boards
    }
    series = {board: points for board, points in series.items() if points}
    days = sorted({day for points in series.values() for day, _ in points})
    # A day alone is no course.
    if len(days) < 2:
        return None
    x = Scale(days[0], days[-1])
    y = Scale.around([value for points in series.values() for _, value in points], log=False)
    whole = [tick for tick in Scale(days[0] - 0.02, days[-1] + 0.02).ticks() if tick.value.is_integer()]
    x_ticks = apart(
        [Tick(x.at(tick.value), f"{date.fromordinal(int(tick.value)):%m-%d}", tick.value) for tick in whole]
    )
    shown = "unknown photos, %" if factor == 100 else name
    return Plot(shown, lines_of(series, x, y), x, y, x_ticks, y.ticks(about=5))


def _photos(folder: Path) -> tuple[list[Photo], int]:
    """Return photos worth a look, the boards in turn, unknown ones first, and how many more there are."""
    by_board = [[(place, one) for one in _kept(place)] for place in folders(folder)]
    turns = [pair for pair in chain.from_iterable(zip_longest(*by_board)) if pair is not None]
    turns.sort(key=lambda pair: _REASONS.index(pair[1].reason))
    return [_photo(place, one) for place, one in turns[:_MOST_PHOTOS]], max(0, len(turns) - _MOST_PHOTOS)


def _kept(place: Path) -> list[Kept]:
    """Return the photos of a board that are here, the strangest of each reason first."""
    index = place / "photos.json"
    try:
        found = documents.read(CollectionDocument, index).photos if index.exists() else ()
    except EdgetlError:
        return []
    there = [one for one in found if (place / "photos" / Path(one.file).name).is_file()]
    return sorted(there, key=lambda one: (-(one.unknown_score or 0), one.confidence))


def _photo(place: Path, one: Kept) -> Photo:
    try:
        picture = data_uri(thumbnail(read_photo(place / "photos" / Path(one.file).name)))
    except (EdgetlError, OSError):
        return Photo(one.file, place.name, one, "", "cannot be read")
    return Photo(one.file, place.name, one, picture)
