"""``split.csv``: which photo was on which side. Not for: deciding it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import astuple, fields
from pathlib import Path

from edgetl_device.errors import InputError
from edgetl_device.files import write_text

from .types import SPLITS, Sample

_COLUMNS = tuple(field.name for field in fields(Sample))


def write_split(path: str | os.PathLike[str], samples: Iterable[Sample]) -> None:
    """Write samples as CSV with the columns path, label, split, sha256, group; atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(astuple(sample) for sample in samples)
    write_text(path, text.getvalue())


def read_split(path: str | os.PathLike[str]) -> tuple[Sample, ...]:
    """Read what :func:`write_split` wrote.

    Raises:
        InputError: The file is absent, or is not such a table.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream, strict=True))
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file", hint="A split.csv as `edgetl train` writes it was expected."
        ) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a CSV table", why=str(error)) from None
    if not rows or tuple(rows[0]) != _COLUMNS:
        raise InputError(f"{path}: is not a split table", why=f"its first line must be {','.join(_COLUMNS)}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(_COLUMNS) or row[2] not in SPLITS:
            raise InputError(f"{path}: line {number} is not a sample", hint="The file is truncated or edited.")
    return tuple(Sample(*row) for row in rows[1:])  # type: ignore[arg-type]
