"""``edgetl schema``: the JSON Schema of a document that edgetl writes."""

from __future__ import annotations

import typer

from edgetl.cli.console.output import echo


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("schema")(schema)


def schema(
    name: str = typer.Argument("", help="Name of a document; by default, list the names.", show_default=False),
) -> None:
    """Print the JSON Schema of a document that edgetl writes, such as run.json.

    Example: edgetl schema run
    """
    from edgetl import documents

    from .console.output import print_json

    if name:
        print_json(documents.schema(name))
    else:
        for known in documents.NAMES:
            echo(known)
