"""``edgetl doctor``: what this machine has for edgetl, what it lacks, and how to get it."""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("doctor")(doctor)


def doctor(json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """Check this machine: packages, runtimes, delegates, Edge TPUs and who may use them, clocks, heat, space.

    Exit code 4 when something is missing that edgetl cannot work without; warnings leave it 0.

    Example: edgetl doctor
    """
    from edgetl.cli.output import print_json
    from edgetl.workstation import examine
    from edgetl_device.doctor import raise_problems

    document = examine(place=Path())
    if json:
        print_json(document)
    else:
        width = max(len(check["name"]) for check in document["checks"])
        for check in document["checks"]:
            typer.echo(f"{check['status']:<8} {check['name']:<{width}}  {check['found']}")
            if check["fix"] and check["status"] != "ok":
                typer.echo(f"{'':<8} {'':<{width}}  -> {check['fix']}")
    raise_problems(document)
