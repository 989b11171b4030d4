"""Print results on stdout as text, a table or JSON."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgetl._lib.progress import note as note
from edgetl_device.text import GUIDES, shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgetl_device.scores import Accuracy, Agreement, AmongAccepted
    from edgetl_device.truth import Truth

_PIPE_COLUMNS = 10_000
# Verdicts are coloured in these rows and columns only: a class may be called "valid" or "no".
_VERDICTS = frozenset({"measurement", "passed"})
_COLOURS = {"valid": "green", "yes": "green", "degraded": "yellow", "invalid": "bold red", "no": "bold red"}
# The forms of a data set, for help.
DATA_FORMS = "FOLDER/<class>/photos, FOLDER/{train,val,test}/<class>/photos, a .csv, or arrays: " + f"{GUIDES}/data.md"
# What short column names mean.
LEGEND = (
    "drop pp: accuracy of the float model minus that of the file, in percentage points; agree: photos with the same"
    " prediction; MAE: mean absolute difference of a probability"
)
LEGEND_OF_PICTURES = (
    "as original: pictures that edgetl drew, with the answer of the original model; agree: with that of the float"
    " model; MAE: mean absolute difference of a probability"
)


def echo(line: str = "") -> None:
    """Print one line on stdout, with control characters escaped: labels and names are untrusted."""
    sys.stdout.write(shown(line) + "\n")
    sys.stdout.flush()


def word(value: object) -> str:
    """Quote a path or a name as one shell word, for command lines printed to be copied."""
    return shlex.quote(str(value))


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    from edgetl_device._lib.documents import dumps

    sys.stdout.write(dumps(document))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print a table on stdout; the first column is aligned left, the others right.

    On a terminal that is too narrow, the columns that do not fit follow in further tables below, each with the first
    column again, so columns should come in order of importance. In a file or a pipe there is no limit. Verdicts are
    coloured on a terminal, unless ``NO_COLOR`` is set.
    """
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
    with console.capture() as capture:
        if title:
            console.print(shown(title), markup=False, soft_wrap=True)
        for block in _blocks(columns, rows, console):
            console.print(block)
    # Strip the padding of the last column.
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))
    sys.stdout.flush()


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> Iterator[Table]:
    """Yield tables that fit the width of a console: the first column, and as many of the next as there is room for."""
    from rich.measure import Measurement

    unlimited = console.options.update(width=_PIPE_COLUMNS)
    start = 1
    while start == 1 or start < len(columns):
        stop = max(start + 1, len(columns))
        while stop > start + 1:
            if Measurement.get(console, unlimited, _table(columns, rows, start, stop)).maximum <= console.width:
                break
            stop -= 1
        yield _table(columns, rows, start, stop)
        start = stop


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], start: int, stop: int) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    # As plain text, because a label such as [red] is not markup.
    table = Table(box=SIMPLE, pad_edge=False)
    places = (0, *range(start, stop))
    for place in places:
        table.add_column(Text(shown(columns[place])), justify="right" if place else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(row[place]), _style(row[place], {row[0], columns[place]})) for place in places))
    return table


def _style(cell: str, headings: set[str]) -> str:
    return _COLOURS.get(cell, "") if headings & _VERDICTS else ""


def accuracy_text(accuracy: Accuracy, truth: Truth = "labels") -> str:
    """Return an accuracy as text, or agreement with the original, always with its number of photos and its interval."""
    low, high = accuracy.ci95
    counted = f"{accuracy.correct} of {accuracy.photos}"
    interval = f"{accuracy.top1:.3f} (95% CI {low:.3f} .. {high:.3f})"
    if truth == "model":
        return f"{counted} drawn pictures as the original, {interval}"
    return f"{counted} photos right, top-1 {interval}"


def accepted_text(found: AmongAccepted) -> str:
    """Return the share of photos that are not unknown, and the accuracy among them, with intervals."""
    from edgetl_device._lib.documents import Unknown

    low, high = found.share_ci95
    accuracy = found.accuracy
    among = "none to score" if isinstance(accuracy, Unknown) else accuracy_text(accuracy)
    return (
        f"not unknown: {found.share:.3f} of {found.photos} photos (95% CI {low:.3f} .. {high:.3f}); among them {among}"
    )


def agreement_interval(agreement: Agreement) -> str:
    """Return the 95% interval of the share of photos with the same top-1, in percent: ``94..99%``."""
    from edgetl_device.bench.accuracy import wilson95

    low, high = wilson95(agreement.agree, agreement.photos)
    return f"{100 * low:.0f}..{100 * high:.0f}%"
