"""``edgetl pack``: pack a bundle folder into one file, to copy to a board."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from edgetl.cli.console.output import echo, note, word


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
    variants: str = typer.Option(
        "all", metavar="NAMES", help="Variants to pack, separated by commas, such as int8,float32."
    ),
    evalset: int | None = typer.Option(
        None, min=1, metavar="PHOTOS", help="Number of held-out photos to pack.  [default: all]", show_default=False
    ),
) -> None:
    """Write a bundle as one .edgetl file; the same bundle gives the same bytes.

    The model card of the run goes with it. With fewer variants or photos, the result is a smaller bundle with its own
    digest and no signatures.

    Example: edgetl pack runs/photos --variants int8 --evalset 20
    """
    from edgetl.export.subset import write_subset
    from edgetl.runs.model_card import FILE
    from edgetl_device.bundle import Bundle
    from edgetl_device.errors import InputError
    from edgetl_device.packing import pack as write_zip

    opened = Bundle.open(bundle)
    folder = opened.path
    name = folder.resolve().parent.name if folder.name == "bundle" else folder.stem
    file = out or Path(f"{name}.edgetl")
    names = [] if variants == "all" else [one.strip() for one in variants.split(",")]
    if file.resolve() == folder.resolve():
        raise InputError(f"{file}: is the bundle itself", hint="Choose another file with --out.")
    of_run = folder.parent / FILE
    card = of_run.read_bytes() if folder.name == "bundle" and of_run.is_file() else opened.card()
    if not names and evalset is None:
        written = write_zip(folder, file, card=card)
    else:
        with TemporaryDirectory(prefix="edgetl-pack-") as temporary:
            written = write_zip(
                write_subset(opened, Path(temporary), variants=names, photos=evalset).path, file, card=card
            )
        if opened.signatures():
            note(f"note: {written} is a new bundle and not signed: edgetl sign {word(written)} --key KEY")
    echo(f"{written}  {written.stat().st_size / 1e6:.1f} MB")
