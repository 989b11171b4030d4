"""``edgetl evaluate``: accuracy of a run or a bundle's variant on labelled photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.formats import Table
from edgetl.cli.console.output import accepted_text, accuracy_text, echo, note, print_table
from edgetl_device._lib.documents import Unknown
from edgetl_device.text import LISTED

from .gating import FAIL_IF, SUMMARY, print_outcomes, write_summary
from .json_output import JSON, OUT, check_out, deliver

if TYPE_CHECKING:
    from edgetl.runs.metrics import Metrics


FLOAT = "float model"
# Its prefix in gates.
_FLOAT = "float"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("evaluate")(evaluate)


def evaluate(
    model: Path = typer.Argument(
        ..., help="A run directory, a bundle folder or an .edgetl file.", readable=False, show_default=False
    ),
    data: Path = typer.Argument(
        ..., help="Labelled photos, in any form that train accepts.", readable=False, show_default=False
    ),
    variant: str | None = typer.Option(
        None,
        help="Variant to score, also of a run's bundle.  [default: int8 of a bundle, the float model of a run]",
        show_default=False,
    ),
    split: str | None = typer.Option(
        None, help="train, val, test or all.  [default: test, else val, else all]", show_default=False
    ),
    fail_if: list[str] = FAIL_IF,
    summary: Path | None = SUMMARY,
    json: bool = JSON,
    out: Path | None = OUT,
) -> None:
    """Score a model on a folder of labelled photos: accuracy with its 95% interval, precision, recall and F1.

    --fail-if takes accuracy_pct, accuracy_low_pct (the low end of its interval), ece, recall_low_pct[tulips],
    recall_pct[*] (of each class), ... The result is written in any case.

    Example: edgetl evaluate runs/photos/bundle new_photos/ --variant int8
    """
    from edgetl.comparison import gates
    from edgetl.runs.evaluation import evaluate as run_evaluation
    from edgetl.runs.evaluation import labels_of, scored_variant

    wanted = gates.parse_gates(fail_if, gates.EVALUATION_METRICS, {})
    if wanted:
        gates.check_labels(wanted, labels_of(model))
        gates.check_variants(wanted, [scored_variant(model, variant) or _FLOAT])
    check_out(summary)
    check_out(out, data=data)
    result = run_evaluation(model, data, variant=variant, split=split)
    if isinstance(result.trained_on, Unknown):
        note(f"number of these photos that the model was trained on: unknown: {result.trained_on.unknown}")
    elif result.trained_on:
        note(
            f"warning: the model was trained on {result.trained_on} of these photos, so the accuracy is too optimistic"
        )
    if not deliver(result, json=json, out=out):
        print_classes(f"{result.variant or FLOAT} on {data} ({result.split})", result.metrics)
        if result.among_accepted:
            echo(accepted_text(result.among_accepted))
    subject = gates.evaluation_subject(result.variant or FLOAT, result.variant or _FLOAT, result.metrics)
    outcomes = gates.judge(wanted, [subject])
    table = classes_table(f"{subject.name}, {result.split} photos", result.metrics)
    print_outcomes(outcomes)
    write_summary(summary, f"edgetl evaluate {model.name}", outcomes, [table], [])
    gates.raise_failed(outcomes)


def print_classes(name: str, metrics: Metrics) -> None:
    """Print accuracy with its interval, and one row per class; of many classes the weakest."""
    table = classes_table(name, metrics)
    print_table(table.columns, table.rows, title=table.title)
    if more := len(metrics.per_class) - len(table.rows):
        echo(f"the {len(table.rows)} classes with the lowest F1, and {more:,} more: --json lists all")
    if any("-" in row for row in table.rows):
        echo("-: unknown: no recall without photos of the class, no precision without predictions of it")


def classes_table(name: str, metrics: Metrics) -> Table:
    """Return accuracy with its interval as a title, and one row per class; of many classes the weakest."""
    from edgetl.runs.metrics import weakest

    title = f"{name}: {accuracy_text(metrics.accuracy)}, macro F1 {metrics.macro_f1:.3f}"
    if error := metrics.calibration_error:
        title += f", calibration error {error.ece:.3f} ({error.ece_by_chance:.3f} by chance)"
    shown = metrics.per_class
    if len(shown) > LISTED:
        shown = tuple(weakest(shown)[:LISTED])
    rows = [
        (
            row.label,
            str(row.photos),
            _share(row.precision),
            _share(row.recall),
            "{:.2f}..{:.2f}".format(*row.recall_ci95) if isinstance(row.recall_ci95, tuple) else "-",
            _share(row.f1),
        )
        for row in shown
    ]
    return Table(title, ("class", "photos", "precision", "recall", "95% CI", "F1"), rows)


def _share(value: float | Unknown) -> str:
    return "-" if isinstance(value, Unknown) else f"{value:.3f}"
