"""Print reports as a table for a terminal, Markdown for a pull request, or CSV."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from edgetl._lib.csv import Record, table_text
from edgetl_device._lib.documents import Unknown
from edgetl_device.errors import InputError
from edgetl_device.text import shown


class Format(str, Enum):
    """How a report is printed."""

    table = "table"
    markdown = "markdown"
    csv = "csv"


@dataclass(frozen=True)
class Table:
    """Cells with a title; the first column names the rows, with lower levels indented by spaces.

    Without columns it is a title alone.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def require_one_output(form: Format, *, json: bool) -> None:
    """Refuse to print JSON and another format on stdout together."""
    if json and form is not Format.table:
        raise InputError(f"--json and --format {form.value} both print on stdout", hint="Give one of them.")


def print_report(form: Format, tables: Sequence[Table], lines: Sequence[str]) -> None:
    """Print tables and then lines of text, for a terminal or as Markdown."""
    if form is Format.markdown:
        sys.stdout.write(markdown(tables, lines))
        return
    from edgetl.cli.console.output import echo, print_table

    for table in tables:
        print_table(table.columns, table.rows, title=table.title)
    for line in lines:
        echo(line)


def markdown(tables: Sequence[Table], lines: Sequence[str]) -> str:
    """Return tables, and then a list of lines, as Markdown."""
    return "".join(map(_markdown, tables)) + markdown_list(lines, gap=False)


def markdown_list(lines: Sequence[str], *, gap: bool = True) -> str:
    """Return lines as a list in Markdown, with an empty line after it if ``gap``."""
    return "".join(f"- {_escaped(line)}\n" for line in lines) + ("\n" if lines and gap else "")


def print_csv(records: Sequence[Record]) -> None:
    """Print records with the same fields as CSV with a header; unknown values are ``unknown``."""
    rows = (["unknown" if isinstance(value, Unknown) else value for value in record.values()] for record in records)
    sys.stdout.write(table_text(list(records[0]), rows))


def _markdown(table: Table) -> str:
    if not table.columns:
        return f"### {_escaped(table.title)}\n\n"
    lines = [
        f"### {_escaped(table.title)}",
        "",
        _row(table.columns),
        _row(["---", *["---:"] * (len(table.columns) - 1)]),
    ]
    # Markdown drops leading spaces of a cell, and with them the indentation.
    for name, *cells in table.rows:
        depth = len(name) - len(name.lstrip())
        lines.append(_row(["&nbsp;" * depth + _escaped(name.lstrip()), *map(_escaped, cells)]))
    return "".join(f"{line}\n" for line in [*lines, ""])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Escape a label or a file name, so that it is not parsed as Markdown, HTML or terminal control characters."""
    text = shown(text).replace("&", "&amp;")
    for character in "\\`*_[]<|":
        text = text.replace(character, "\\" + character)
    return text
