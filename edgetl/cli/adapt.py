"""``edgetl adapt``: teach a bundle a class from a few photos, and write the result as a new bundle."""

from __future__ import annotations

from pathlib import Path

import typer

from edgetl.cli.console.output import echo, note
from edgetl_device.adapt.options import AdaptOptions

from .json_output import JSON
from .options import Asked, add_command


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    add_command(app, "adapt", AdaptOptions, adapt)


def adapt(
    asked: Asked[AdaptOptions],
    bundle: Path = typer.Argument(
        ...,
        help="A bundle folder, a run folder, or an .edgetl file, made with quantize --unknown.",
        readable=False,
        show_default=False,
    ),
    photos: str = typer.Argument(..., help="Photos of the class: a folder, or a pattern.", show_default=False),
    out: Path = typer.Option(
        ...,
        "--out",
        "-o",
        metavar="NEW",
        help="The new bundle, which must not exist: a folder, or a file that ends in .edgetl.",
        show_default=False,
    ),
    json: bool = JSON,
) -> None:
    """Teach a bundle a class, or more of a class that it has, from a few photos, without training again.

    Only the last layer changes. The new bundle carries its own proof, and says what the old classes lost; exit code 3,
    and nothing written, if they lost more than --max-drop. A board does the same: python -m edgetl_device adapt.

    Example: edgetl adapt runs/flowers/bundle tulips/ --add-class tulips --out flowers-6.edgetl

    Example: edgetl adapt flowers.edgetl more/ --more-shots roses --max-drop 1 --out flowers-7.edgetl
    """
    from edgetl.cli.console.output import print_json
    from edgetl_device.adapt.result import raise_refused
    from edgetl_device.adapt.run import adapt as run
    from edgetl_device.console import adapted_lines

    result = run(bundle, photos, out, asked.options, say=note)
    if json:
        print_json(result)
    else:
        for line in adapted_lines(result):
            echo(line)
    raise_refused(result)
