"""``split.csv``: the split of every photo."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import astuple, fields

from edgetl._lib.csv import read_table, write_table
from edgetl_device.errors import InputError

from .types import SPLITS, Sample

_COLUMNS = tuple(field.name for field in fields(Sample))


def write_split(path: str | os.PathLike[str], samples: Iterable[Sample]) -> None:
    """Write samples as CSV with the columns path, label, split, sha256, group; atomically."""
    write_table(path, _COLUMNS, map(astuple, samples))


def read_split(path: str | os.PathLike[str]) -> tuple[Sample, ...]:
    """Read a table written by :func:`write_split`.

    Raises:
        InputError: The file is absent, or is not such a table.
    """
    hint = "Expected a split.csv written by `edgetl train`."
    rows = read_table(path, _COLUMNS, what="a split table", hint=hint)
    for number, row in rows:
        if row[2] not in SPLITS:
            raise InputError(
                f"{os.fspath(path)}: line {number} is not a sample", why=f"its split {row[2]!r} is not one of {SPLITS}"
            )
    return tuple(Sample(*row) for _, row in rows)  # type: ignore[arg-type]
