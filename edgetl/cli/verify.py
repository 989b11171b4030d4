"""``edgetl verify``: check that a bundle is intact and gives the same results here as on the machine that made it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import echo

if TYPE_CHECKING:
    from edgetl_device.verify import Verification

_Bundle = typer.Argument(
    ..., help="A bundle folder, a run folder, or an .edgetl file.", readable=False, show_default=False
)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("verify")(verify)


def verify(
    bundle: Path = _Bundle,
    json: bool = typer.Option(False, "--json", help="Print the report as JSON."),
) -> None:
    """Check a bundle: hashes, labels, golden pixels, and each variant against the float reference on a few photos.

    Exit code 2 if a check fails.

    Example: edgetl verify runs/parts/bundle
    """
    from edgetl_device.bundle import Bundle
    from edgetl_device.verify import raise_failures
    from edgetl_device.verify import verify as run

    report = run(Bundle.open(bundle))
    if json:
        from edgetl.cli.console.output import print_json

        print_json(report.to_json())
    else:
        _print(report)
    raise_failures(report)


def _print(report: Verification) -> None:
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        echo(f"{check.status:<8} {check.name:<{width}}  {check.detail}")
