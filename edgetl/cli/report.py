"""``edgetl report``: bench results as one HTML page."""

from __future__ import annotations

from pathlib import Path

import typer

_Results = typer.Argument(..., help="Results of edgetl bench --json.", readable=False, show_default=False)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("report")(report)


def report(
    results: list[Path] = _Results,
    out: Path = typer.Option(Path("report.html"), "--out", "-o", help="The page to write."),
    bundle: Path | None = typer.Option(None, help="Show photos from this bundle.", readable=False, show_default=False),
) -> None:
    """Write bench results as one HTML page: charts, classes, changed photos, environment. It loads nothing else.

    Example: edgetl report result.json -o report.html --bundle runs/parts/bundle
    """
    from edgetl.report import write_report

    write_report(results, out, bundle=bundle)
    typer.echo(f"{out} ({out.stat().st_size / 1000:.0f} KB)")
