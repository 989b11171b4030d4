"""``edgetl latency``: predict the latency of architectures from times of operators on a board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import echo, note, print_table
from edgetl.cli.groups import CommandGroup
from edgetl_device._lib.documents import Unknown

from .json_output import JSON, check_out, deliver

if TYPE_CHECKING:
    from edgetl.latency import LatencyModel


def register(app: typer.Typer) -> None:
    """Add the command group to the application."""
    group = typer.Typer(
        cls=CommandGroup,
        help="Predict the latency of int8 models from times of operators that were measured on a board.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for command in (fit, predict):
        group.command(command.__name__)(command)
    app.add_typer(group, name="latency")


def fit(
    out: Path = typer.Option(
        ..., "--out", "-o", metavar="FILE", help="Write the latency model to FILE.json.", show_default=False
    ),
    backbones: str = typer.Option(
        "",
        metavar="NAME,...",
        help="Backbones whose architectures are timed.  [default: five of the smaller ones]",
        show_default=False,
    ),
    threads: int = typer.Option(1, min=1, max=256, help="CPU threads."),
) -> None:
    """Time architectures with random weights on this machine, and fit a model of its latencies.

    Three or four int8 files of each backbone, small and large, are timed operator by operator (see bench --profile).
    The error is that on backbones which the model has not seen. Takes some minutes; leave the machine idle.

    Example: edgetl latency fit --out pi5.latency.json
    """
    from edgetl.latency.measure import BACKBONES_FITTED, fit_here

    check_out(out)
    names = [name for name in backbones.split(",") if name] or list(BACKBONES_FITTED)
    found = fit_here(names, threads=threads, say=note)
    deliver(found, json=False, out=out)
    rows = [
        (one.name, f"{one.p50_ms:.2f}", f"{one.held_out_ms:.2f}", f"{one.held_out_ms / one.p50_ms - 1:+.0%}")
        for one in found.fitted_on
    ]
    print_table(("architecture", "measured ms", "predicted ms", "error"), rows, title=_where(found))
    echo("predicted: by a model that saw no architecture of that backbone")
    echo(f"error     {found.median_error:.1%} in the median, {found.error95:.1%} at the 95th percentile")


def predict(
    latency: Path = typer.Argument(
        ..., metavar="LATENCY", help="The file that latency fit wrote.", readable=False, show_default=False
    ),
    model: Path = typer.Argument(
        ..., metavar="MODEL", help="An int8 .tflite file.", readable=False, show_default=False
    ),
    json: bool = JSON,
    out: Path | None = typer.Option(
        None, "--out", "-o", metavar="FILE", help="Write the JSON document to a file.", show_default=False
    ),
) -> None:
    """Predict the median latency of an int8 TFLite file on the board of a latency model.

    A prediction is no measurement, and says so; measure what you ship with edgetl bench.

    Example: edgetl latency predict pi5.latency.json int8.tflite
    """
    from edgetl.latency import load
    from edgetl.latency import predict as predicted

    check_out(out)
    fitted = load(latency)
    found = predicted(fitted, model)
    if not deliver(found, json=json, out=out):
        low, high = found.ci95_ms
        echo(f"predicted {found.p50_ms:.2f} ms at p50 (95% interval {low:.2f} to {high:.2f}), not measured")
        if found.unseen:
            note(f"warning: not fitted on {', '.join(found.unseen)}, so the interval is too narrow")
        echo(f"on        {_where(fitted)}")


def _where(found: LatencyModel) -> str:
    from edgetl.comparison.results import thread_count

    named = [one for one in (found.board, found.cpu) if not isinstance(one, Unknown)]
    place = named[0] if named else "a board without a name"
    return f"{place}, {thread_count(found.threads)}, {found.runtime.name} {found.runtime.version}"
