"""Write the report of bench results to one HTML file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetl._lib import extras
from edgetl.comparison import text
from edgetl.comparison.results import compare_results
from edgetl_device._lib.files import write_text
from edgetl_device.bench import photoset, result
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError
from edgetl_device.text import LISTED

from . import page
from .html import fill


def write_report(results: Sequence[Path], out: str | os.PathLike[str], *, bundle: Path | None = None) -> None:
    """Write results as one self-contained page.

    Args:
        results: Files written by ``edgetl bench --out``.
        out: The HTML file to write.
        bundle: Source of the held-out photos; without it, photos are named but not shown.

    Raises:
        InputError: A result or the bundle cannot be read, or no result has the bundle's photos.
        Unavailable: Jinja2 is not installed.
    """
    write_text(out, render(results, bundle=bundle))


def render(results: Sequence[Path], *, bundle: Path | None = None) -> str:
    """Return the page as HTML; arguments and errors as for :func:`write_report`."""
    extras.check_installed("jinja2", extra="report")
    read = [result.read(path) for path in results]
    photos = None if bundle is None else Bundle.open(bundle)
    digest = None if photos is None else photoset.of_bundle(photos).digest
    if photos is not None and digest not in {one.evalset.digest for one in read}:
        raise InputError(
            f"{photos.path}: its held-out photos are not those of {results[0]}",
            hint="Give the bundle that was benched.",
        )
    ways = {(run.threads, run.batch) for one in read for run in one.runs}
    benches: list[page.Bench] = []
    for name, one in zip(_names(results), read, strict=True):
        benches.append(
            page.bench(
                name,
                one,
                first_number=1 + sum(len(bench.rows) for bench in benches),
                with_way=len(ways) > 1 or any(batch > 1 for _, batch in ways),
                bundle=photos if one.evalset.digest == digest else None,
            )
        )
    rows = [row for bench in benches for row in bench.rows]
    compared = _compared(results) if len(results) > 1 else None
    return fill(
        "report.html",
        benches=benches,
        listed=LISTED,
        float_model=page.SHORT_FLOAT_MODEL,
        rows=rows,
        verdict=page.verdict(benches),
        figures=page.figures(rows),
        warnings=page.warnings(benches, compared.warnings if compared else ()),
        latency=page.latency(rows),
        stages=page.stages(rows),
        pareto=page.pareto(rows),
        compared=compared,
    )


def _names(results: Sequence[Path]) -> list[str]:
    stems = [path.stem for path in results]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in results]


@dataclass(frozen=True)
class Compared:
    """Results against the first one.

    Attributes:
        conclusions: One sentence each, or why they cannot be compared.
        warnings: Conditions in which they differ.
        tables: A title, the names of columns, and rows of a name and one cell a column.
    """

    conclusions: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    tables: tuple[tuple[str, list[str], list[list[str]]], ...] = ()


def _compared(results: Sequence[Path]) -> Compared:
    """Return the comparison of the results with the first, or why they cannot be compared."""
    try:
        document = compare_results(results)
    except InputError as refusal:
        return Compared((" ".join(part for part in (refusal.what, refusal.why) if part),))
    warnings = [*text.warning_lines(document), *text.caution_lines(document)]
    return Compared(
        tuple(line for line in text.conclusion_lines(document) if line not in warnings),
        tuple(line.removeprefix("warning: ") for line in warnings),
        tuple((title, text.column_names(group), text.table_rows(group)) for title, group in text.groups(document)),
    )
