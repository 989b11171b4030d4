"""CSV tables with a known header, such as ``split.csv``."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edgetl_device._lib.documents import Unknown
from edgetl_device._lib.files import check_regular, write_text
from edgetl_device.errors import InputError

# One row of a table, by column.
Record = dict[str, str | int | float | Unknown | None]

# Spreadsheets run cells with these prefixes as formulas (OWASP, "CSV Injection"); a leading apostrophe prevents that.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def table_text(columns: Sequence[str], rows: Iterable[Iterable[Any]], *, verbatim: bool = False) -> str:
    """Return a table as CSV with a header line.

    Text that a spreadsheet would run as a formula gets a leading apostrophe, which :func:`read_table` removes; numbers
    stay as they are, also as text. ``verbatim`` turns this off, for tables that other programs read.
    """
    text = io.StringIO()
    # Before Python 3.13, csv does not quote a carriage return by default, but reads it as the end of a line.
    plain, quoted = (csv.writer(text, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    plain.writerow(columns)
    for row in rows:
        cells = list(row) if verbatim else list(map(_guarded, row))
        (quoted if any(isinstance(cell, str) and "\r" in cell for cell in cells) else plain).writerow(cells)
    return text.getvalue()


def write_table(
    path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Iterable[Any]], *, verbatim: bool = False
) -> None:
    """Write a table as CSV (:func:`table_text`), atomically."""
    write_text(path, table_text(columns, rows, verbatim=verbatim))


def _guarded(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith((*_FORMULA, "'")) or _is_number(value):
        return value
    # Text that already starts with an apostrophe gets one more if reading would remove one.
    return "'" + value if value.lstrip("'").startswith(_FORMULA) else value


def _unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text.strip() == text


def read_table(
    path: str | os.PathLike[str], columns: Sequence[str], *, what: str, hint: str
) -> list[tuple[int, list[str]]]:
    """Read a table written by :func:`write_table`: the number of each line and its fields, one per column.

    Args:
        path: The file.
        columns: The expected header.
        what: Kind of table, for error messages: ``a table of predictions``.
        hint: What to do if the file is missing.

    Raises:
        InputError: The file is missing or not such a table.
    """
    path = Path(path)
    try:
        check_regular(path)
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            rows = [(reader.line_num, [_unguarded(cell) for cell in row]) for row in reader]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", hint=hint) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not {what}", why=str(error)) from None
    if not rows or rows[0][1] != list(columns):
        raise InputError(f"{path}: is not {what}", why=f"its first line must be {','.join(columns)}")
    for number, row in rows[1:]:
        if len(row) != len(columns):
            raise InputError(
                f"{path}: line {number} has {len(row)} fields, not {len(columns)}",
                why="the file is truncated or edited",
            )
    return rows[1:]
