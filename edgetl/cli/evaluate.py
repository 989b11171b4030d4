"""``edgetl evaluate``: accuracy of a run or a bundle's variant on labelled photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import accuracy_text, echo, note, print_json, print_table
from edgetl_device.documents import Unknown
from edgetl_device.text import LISTED

if TYPE_CHECKING:
    from edgetl.runs.metrics import Metrics


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
    json: bool = typer.Option(False, "--json", help="Print the result on stdout."),
) -> None:
    """Score a model on a folder of labelled photos: accuracy with its 95% interval, precision, recall and F1.

    Example: edgetl evaluate runs/photos/bundle new_photos/ --variant int8
    """
    from edgetl.runs.evaluation import evaluate as run_evaluation

    result = run_evaluation(model, data, variant=variant, split=split)
    if isinstance(result.trained_on, Unknown):
        note(f"number of these photos that the model was trained on: unknown: {result.trained_on.unknown}")
    elif result.trained_on:
        note(
            f"warning: the model was trained on {result.trained_on} of these photos, so the accuracy is too optimistic"
        )
    if json:
        print_json(result)
    else:
        print_classes(f"{result.variant or 'float model'} on {data} ({result.split})", result.metrics)


def print_classes(name: str, metrics: Metrics) -> None:
    """Print accuracy with its interval, and one row per class; of many classes the weakest."""
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
    print_table(("class", "photos", "precision", "recall", "95% CI", "F1"), rows, title=title)
    if more := len(metrics.per_class) - len(shown):
        echo(f"the {len(shown)} classes with the lowest F1, and {more:,} more: --json lists all")
    if any("-" in row for row in rows):
        echo("-: unknown: no recall without photos of the class, no precision without predictions of it")


def _share(value: float | Unknown) -> str:
    return "-" if isinstance(value, Unknown) else f"{value:.3f}"
