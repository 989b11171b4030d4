"""``edgetl pack``: pack a bundle folder into one file, to copy to a board."""

from __future__ import annotations

from pathlib import Path

import typer

from edgetl.cli.console.output import echo


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("pack")(pack)


def pack(
    bundle: Path = typer.Argument(
        ..., help="A bundle folder, or a run folder with one.", readable=False, show_default=False
    ),
    out: Path | None = typer.Option(
        None, "--out", "-o", help="File to write.  [default: <name of the run>.edgetl]", show_default=False
    ),
) -> None:
    """Write a bundle as one .edgetl file; the same bundle gives the same bytes.

    Example: edgetl pack runs/photos
    """
    from edgetl.export.bundle import pack as write_zip
    from edgetl_device.bundle import Bundle

    folder = Bundle.open(bundle).path
    name = folder.resolve().parent.name if folder.name == "bundle" else folder.name
    written = write_zip(folder, out or Path(f"{name}.edgetl"))
    echo(f"{written}  {written.stat().st_size / 1e6:.1f} MB")
