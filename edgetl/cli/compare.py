"""``edgetl compare``: bench results, or training runs, against the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.formats import Format

from .json_output import JSON, OUT, check_out, deliver

if TYPE_CHECKING:
    from edgetl.comparison.document import Comparison
    from edgetl.comparison.gates import AnyGate

_Paths = typer.Argument(
    ..., help="Results of edgetl bench --out, or run folders of edgetl train.", readable=False, show_default=False
)
BASELINE: str | None = typer.Option(
    None, help="Compare everything with this variant of the first result.", show_default=False
)
FAIL_IF: list[str] = typer.Option(
    [], metavar="EXPR", help='Exit with 3 if true: "p50_ratio_low>1.05". May be repeated.', show_default=False
)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("compare")(compare)


def compare(
    paths: list[Path] = _Paths,
    baseline: str | None = BASELINE,
    fail_if: list[str] = FAIL_IF,
    form: Format = typer.Option(Format.table, "--format", help="How to print the report."),
    json: bool = JSON,
    out: Path | None = OUT,
) -> None:
    """Compare bench results, or training runs, with the first: latency, size, and accuracy photo by photo.

    Incomparable measurements are refused. --fail-if also takes p95_ms, accuracy_drop_pp, size_mb, ...;
    int8.p95_ms is for one variant.

    Example: edgetl compare before.json after.json --fail-if "accuracy_drop_pp>0.5"
    """
    from edgetl.cli.console.formats import require_one_output
    from edgetl.comparison import compare as run
    from edgetl.comparison import gates
    from edgetl_device.reasons import VERDICT

    require_one_output(form, json=json)
    check_out(out)
    metrics = gates.TRAINED_METRICS if any(path.is_dir() for path in paths) else gates.COMPARISON_METRICS
    trained = metrics is gates.TRAINED_METRICS
    wanted = gates.parse_gates(fail_if, metrics, {} if trained else VERDICT)
    document = run(paths, baseline=baseline)
    present(document, wanted, form, json=json, out=out)


def present(document: Comparison, wanted: Sequence[AnyGate], form: Format, *, json: bool, out: Path | None) -> None:
    """Print a comparison and what the gates say of it, and write it as asked.

    Raises:
        GateFailed: A gate fails.
    """
    from edgetl.cli.console.formats import Table, print_csv, print_report
    from edgetl.cli.console.output import note
    from edgetl.comparison import gates, text

    outcomes = gates.judge(wanted, text.subjects(document))
    document = replace(document, gates=tuple(outcome.judged() for outcome in outcomes))
    gate_lines = gates.outcome_lines(outcomes)
    printed = deliver(document, json=json, out=out)
    if printed or form is Format.csv:
        if not printed:
            print_csv(text.records(document))
        for line in [*text.warning_lines(document), *gate_lines]:
            note(line)
    else:
        tables = [
            Table(title, ["", *text.column_names(members)], text.table_rows(members))
            for title, members in text.groups(document)
        ]
        print_report(form, tables, [*text.conclusion_lines(document), *text.source_lines(document), *gate_lines])
    gates.raise_failed(outcomes)
