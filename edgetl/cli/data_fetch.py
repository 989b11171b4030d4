"""``edgetl data fetch``: download and check a public data set."""

from __future__ import annotations

from pathlib import Path

import typer

from edgetl.cli.console.output import echo, note


def register(group: typer.Typer) -> None:
    """Add the command to ``edgetl data``."""
    group.command("fetch")(fetch)


def fetch(
    name: str = typer.Argument(..., help="flowers, stl10, fashion_mnist or cats_vs_dogs.", show_default=False),
    to: Path | None = typer.Option(None, "--to", help="Folder to create; must not exist.  [default: NAME]"),
) -> None:
    """Download a public data set from its publisher, check its SHA-256, and unpack it for training.

    Run the command again to resume an interrupted download.

    Example: edgetl data fetch flowers --to data/flowers
    """
    from edgetl.data.fetch import fetch as fetch_dataset
    from edgetl.data.public_sets import public_dataset

    dataset = public_dataset(name)
    note(f"{dataset.name}: {dataset.about}")
    note(f"terms: {dataset.terms}; {dataset.source}")
    folder = fetch_dataset(dataset, to or Path(dataset.name))
    echo(f"{folder}")
    note(f"next: edgetl data check {folder}")
