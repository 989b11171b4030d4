"""Print results on stdout as text, a table or JSON."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgetl._lib.progress import note as note
from edgetl_device.text import shown

if TYPE_CHECKING:
    from edgetl_device.scores import Accuracy, Agreement

_PIPE_COLUMNS = 200


def echo(line: str = "") -> None:
    """Print one line on stdout, with control characters escaped: labels and names are untrusted."""
    sys.stdout.write(shown(line) + "\n")
    sys.stdout.flush()


def word(value: object) -> str:
    """Return a path or a name as one word of a shell, for command lines that are printed to be copied."""
    return shlex.quote(str(value))


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    from edgetl_device.documents import dumps

    sys.stdout.write(dumps(document))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print a table on stdout; the first column is aligned left, the others right."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # In a file or a pipe lines need no folding.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
    if title:
        console.print(Text(shown(title)), soft_wrap=True)
    table = Table(box=SIMPLE, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", overflow="fold")
    for row in rows:
        # As text: a label such as [red] is no markup.
        table.add_row(*(Text(shown(cell)) for cell in row))
    console.print(table)


def accuracy_text(accuracy: Accuracy) -> str:
    """Return an accuracy as text, always with its number of photos and its interval."""
    low, high = accuracy.ci95
    return (
        f"{accuracy.correct} of {accuracy.photos} photos right, "
        f"top-1 {accuracy.top1:.3f} (95% CI {low:.3f} .. {high:.3f})"
    )


def agreement_interval(agreement: Agreement) -> str:
    """Return the 95% interval of the share of photos with the same top-1, in percent: ``94..99%``."""
    from edgetl_device.bench.accuracy import wilson95

    low, high = wilson95(agreement.agree, agreement.photos)
    return f"{100 * low:.0f}..{100 * high:.0f}%"
