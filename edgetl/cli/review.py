"""``edgetl review``: parse, serve the page, say what came of it."""

from __future__ import annotations

from pathlib import Path

import typer

from edgetl._lib.progress import note
from edgetl.cli.console.output import echo, word
from edgetl.review.options import ReviewOptions

from .options import Asked, add_command


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(app, "review", ReviewOptions, review)


def review(
    asked: Asked[ReviewOptions],
    folder: Path = typer.Argument(
        ..., help="Folder of photos, which are only read.", readable=False, show_default=False
    ),
) -> None:
    """Label photos in a browser: a page on this machine alone, with suggestions of a model, for keyboard or touch.

    The photos that the model is least sure of come first. Every decision is written at once; the next start goes on
    from there.

    Example: edgetl review field_photos/ --run runs/photos
    """
    from edgetl.review.run import review as run_review

    def ready(address: str) -> None:
        note(f"open {address}")
        note("the address is secret and works on this machine; from another: ssh -L PORT:127.0.0.1:PORT HOST")

    done = run_review(folder, asked.options, ready=ready)
    echo(f"labelled  {done.labelled} of {done.total} photos; {done.rejected} left out, {done.left} not decided about")
    if done.absent:
        echo(f"absent    {done.absent} more that were decided about; the decisions are kept")
    if done.labelled:
        echo(f"table     {done.out}")
        echo(f"next      edgetl data check {word(done.out)}")
    if done.left:
        echo(f"go on     edgetl review {word(folder)}, with the same --out")
