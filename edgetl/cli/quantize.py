"""``edgetl quantize``: parse, call :func:`edgetl.quantize.pipeline.quantize`, print what each file lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from .output import print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("quantize")(quantize)


def quantize(
    run: Path = typer.Argument(..., help="Run directory that edgetl train wrote.", readable=False, show_default=False),
    int8: bool = typer.Option(False, "--int8", help="Write int8 TFLite and ONNX beside float32."),
    float16: bool = typer.Option(False, "--float16", help="Write TFLite with float16 weights too."),
    repair: bool = typer.Option(True, "--repair/--no-repair", help="Correct biases for rounded weights before int8."),
    calibration: int = typer.Option(100, help="Training photos that set the activation ranges."),
    max_drop: float | None = typer.Option(
        None, help="Refuse int8 that loses more percentage points (exit code 3).", show_default=False
    ),
    data: Path | None = typer.Option(None, help="Folder of the photos, if they have moved.", show_default=False),
    seed: int = typer.Option(0, help="Of the choice of calibration photos."),
    json: bool = typer.Option(False, "--json", help="Print the report on stdout."),
) -> None:
    """Write RUN/bundle: float32 and int8 files, each measured against the float model on held-out photos.

    Example: edgetl quantize runs/photos --int8 --max-drop 0.5
    """
    from edgetl.quantize.pipeline import QuantizeConfig
    from edgetl.quantize.pipeline import quantize as run_quantize
    from edgetl.run import Run

    config = QuantizeConfig(
        int8=int8, float16=float16, repair=repair, calibration=calibration, max_drop_pp=max_drop, seed=seed
    )
    report = run_quantize(Run.open(run), config, data=data)
    if json:
        print_json(report)
        return
    print_report(report)
    print(f"bundle    {run / 'bundle'}")
    print(f"next      edgetl bench {run / 'bundle'}")


def print_report(report: dict[str, Any]) -> None:
    """Print one row a variant: size, accuracy and what it lost against the float model."""
    held_out, float_model = report["held_out"], report["reference"]
    title = (
        f"{held_out['photos']} held-out photos ({held_out['split']}); "
        f"float model: top-1 {float_model['top1']:.3f}, {float_model['correct']} right"
    )
    columns = ("variant", "MB", "top-1", "95% CI", "drop pp", "95% CI", "agree", "MAE")
    print_table(columns, [_row(variant) for variant in report["variants"]], title=title)


def _row(variant: dict[str, Any]) -> tuple[str, ...]:
    accuracy, agreement = variant["accuracy"], variant["agreement"]
    low, high = accuracy["ci95"]
    drop_low, drop_high = agreement["drop_ci95_pp"]
    return (
        variant["name"],
        f"{variant['bytes'] / 1e6:.2f}",
        f"{accuracy['top1']:.3f}",
        f"{low:.2f}..{high:.2f}",
        f"{agreement['drop_pp']:+.2f}",
        f"{drop_low:+.1f}..{drop_high:+.1f}",
        f"{agreement['top1']:.1%}",
        f"{agreement['mae']:.4f}",
    )
