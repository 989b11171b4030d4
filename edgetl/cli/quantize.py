"""``edgetl quantize``: parse, call :func:`edgetl.quantization.pipeline.quantize`, print what each file lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from edgetl.cli.console.output import accuracy_text, agreement_interval, note, print_json, print_table
from edgetl.quantization.options import QuantizeOptions

from .options import Asked, add_command

_ACCURACY_COLUMNS = ("top-1", "95% CI", "drop pp", "95% CI", "agree", "95% CI", "MAE")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(app, "quantize", QuantizeOptions, quantize)


def quantize(
    asked: Asked[QuantizeOptions],
    run: Path = typer.Argument(..., help="Run directory that edgetl train wrote.", readable=False, show_default=False),
    data: Path | None = typer.Option(None, metavar="DATA", help="The data set, if it has moved.", show_default=False),
    json: bool = typer.Option(False, "--json", help="Print the report on stdout."),
) -> None:
    """Write RUN/bundle: float32 and int8 files, each measured against the float model on held-out photos.

    Example: edgetl quantize runs/photos --int8 --max-drop 0.5
    """
    from edgetl.quantization.pipeline import quantize as run_quantize
    from edgetl.runs.directory import Run

    report = run_quantize(Run.open(run), asked.options, data=data)
    print_calibration_notes(report["calibration"])
    if json:
        print_json(report)
        return
    print_report(report)
    if asked.options.explain:
        from edgetl.cli.console.explain import print_explanation

        print_explanation(run)
    print(f"bundle    {run / 'bundle'}")
    print(f"next      edgetl bench {run / 'bundle'}")


def print_calibration_notes(calibration: dict[str, Any] | None) -> None:
    """Print on stderr what the audit of the calibration photos found."""
    for finding in calibration["audit"]["findings"] if calibration else ():
        note(f"{finding['severity']}: {finding['message']}")


def print_report(report: dict[str, Any]) -> None:
    """Print the ladder, where one was climbed, and one row a variant: size, accuracy, what it lost against float."""
    if report["ladder"]:
        _print_ladder(report["ladder"])
    held_out, float_model = report["held_out"], report["reference"]
    title = (
        f"{held_out['photos']} held-out photos ({held_out['split']}); "
        f"float model: {accuracy_text(float_model)}, {float_model['correct']} right"
    )
    rows = [
        (variant["name"], f"{variant['bytes'] / 1e6:.2f}", *_accuracy_cells(variant)) for variant in report["variants"]
    ]
    print_table(("variant", "MB", *_ACCURACY_COLUMNS), rows, title=title)


def _print_ladder(ladder: dict[str, Any]) -> None:
    columns = ("rung", "variant", "MB", "ms here", *_ACCURACY_COLUMNS, "seconds", "passed")
    rows = [
        (
            rung["name"],
            variant["name"],
            f"{variant['bytes'] / 1e6:.2f}",
            f"{variant['latency_ms']:.2f}",
            *_accuracy_cells(variant),
            f"{rung['seconds']:.0f}",
            "yes" if rung["passed"] else "no",
        )
        for rung in ladder["rungs"]
        for variant in rung["variants"]
    ]
    photos = ladder["rungs"][0]["variants"][0]["accuracy"]["photos"]
    print_table(columns, rows, title=f"the ladder, judged on {photos} validation photos")
    for rung in ladder["rungs"]:
        if rung["float_layers"]:
            print(f"kept in float by {rung['name']!r}: {', '.join(rung['float_layers'])}")


def _accuracy_cells(variant: dict[str, Any]) -> tuple[str, ...]:
    accuracy, agreement = variant["accuracy"], variant["agreement"]
    low, high = accuracy["ci95"]
    drop_low, drop_high = agreement["drop_ci95_pp"]
    return (
        f"{accuracy['top1']:.3f}",
        f"{low:.2f}..{high:.2f}",
        f"{agreement['drop_pp']:+.2f}",
        f"{drop_low:+.1f}..{drop_high:+.1f}",
        f"{agreement['top1']:.1%}",
        agreement_interval(agreement),
        f"{agreement['mae']:.4f}",
    )
