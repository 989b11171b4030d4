"""``edgetl report``: render bench results, or a training run, as one HTML page."""

from __future__ import annotations

from pathlib import Path

import typer

from edgetl.cli.console.output import echo

_Sources = typer.Argument(
    ..., metavar="RESULTS... | RUN", help="Results of edgetl bench --out, or one run directory.", readable=False,
    show_default=False,
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("report")(report)


def report(
    sources: list[Path] = _Sources,
    out: Path | None = typer.Option(
        None, "--out", "-o", help="HTML file to write.  [default: report.html, in RUN for a run]", show_default=False
    ),
    bundle: Path | None = typer.Option(
        None, help="Bench results: show photos from this bundle.", readable=False, show_default=False
    ),
    grad_cam: bool = typer.Option(False, "--grad-cam", help="Run: add Grad-CAM heat maps to the misclassified photos."),
    data: Path | None = typer.Option(
        None,
        metavar="PHOTOS",
        help="Run: path of its photos, if they have moved.",
        readable=False,
        show_default=False,
    ),
    latency: list[Path] = typer.Option(
        [],
        "--latency",
        metavar="RESULT",
        readable=False,
        show_default=False,
        help="Run: bench result for the latency by board; may be repeated. Those in RUN/bench are always shown.",
    ),
) -> None:
    """Write a self-contained HTML page about bench results or a training run.

    For results: charts, classes, changed photos, environment. For a run: results, int8, classes, the most confident
    mistakes, calibration, data audit, curves, provenance; also RUN/MODEL_CARD.md, in which fields are yours to fill in.

    Example: edgetl report result.json -o report.html --bundle runs/parts/bundle

    Example: edgetl report runs/parts --grad-cam --latency pi5.json
    """
    from edgetl_device.errors import InputError

    runs = [path for path in sources if (path / "run.json").is_file()]
    if runs and len(sources) > 1:
        raise InputError(
            f"{runs[0]}: is a run; a report is of one run, or of bench results",
            hint="Compare runs with edgetl compare.",
        )
    if runs and bundle:
        raise InputError("--bundle", why=f"{runs[0]} is a run; --bundle is for bench results")
    for flag, given in (("--grad-cam", grad_cam), ("--data", data), ("--latency", latency)):
        if given and not runs:
            raise InputError(flag, why=f"is for runs, and {sources[0]} is not a run")
    if runs:
        from edgetl.reports.run import write_run_report
        from edgetl.runs.directory import Run

        written = write_run_report(Run.open(runs[0]), out, grad_cam=grad_cam, data=data, results=latency)
    else:
        from edgetl._lib.owned import check_written
        from edgetl.reports import write_report

        written = out or Path("report.html")
        if out is None:
            check_written(written, hint="Choose another name with --out.")
        write_report(sources, written, bundle=bundle)
    echo(f"{written} ({written.stat().st_size / 1000:.0f} KB)")
