"""``--fail-if`` and ``--summary-markdown`` of commands that measure: bounds, and a comment for a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.formats import Table, markdown, markdown_list
from edgetl.cli.console.output import note

if TYPE_CHECKING:
    from edgetl.comparison.gates import Outcome

_PANEL = "Gates"
FAIL_IF: list[str] = typer.Option(
    [],
    "--fail-if",
    metavar="EXPR",
    help='Exit with 3 if true: "accuracy_low_pct<85", "recall_pct[tulips]<70". May be repeated.',
    show_default=False,
    rich_help_panel=_PANEL,
)
SUMMARY: Path | None = typer.Option(
    None,
    "--summary-markdown",
    metavar="FILE",
    help="Write a short summary in Markdown, for a comment on a pull request.",
    show_default=False,
    rich_help_panel=_PANEL,
)


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print a line on stderr for each gate."""
    from edgetl.comparison.gates import outcome_lines

    for line in outcome_lines(outcomes):
        note(line)


def write_summary(
    path: Path | None, title: str, outcomes: Sequence[Outcome], tables: Sequence[Table], lines: Sequence[str]
) -> None:
    """Write a summary: what the gates say, tables, further lines. Does nothing without a path."""
    from edgetl.comparison.gates import outcome_lines
    from edgetl_device._lib.files import write_text

    if path is None:
        return
    failed = sum(one.failed for one in outcomes)
    said = "" if not outcomes else f": {failed} of {len(outcomes)} gates failed" if failed else ": all gates passed"
    head = markdown([Table(title + said, (), ())], ())
    write_text(path, head + markdown_list(outcome_lines(outcomes)) + markdown(tables, lines))
    note(f"written: {path}")
