"""``edgetl data preview``: draw photos and their augmented views as one picture."""

from __future__ import annotations

from pathlib import Path

import typer

from edgetl.cli.console.output import echo

from .input_options import GREY, SIZE


def register(group: typer.Typer) -> None:
    """Add the command to the group ``edgetl data``."""
    group.command("preview")(preview)


def preview(
    data: Path = typer.Argument(..., metavar="DATA", help="Data set, in any form that train accepts.", readable=False),
    out: Path = typer.Option(Path("preview.png"), "--out", "-o", help="Image file to write: .png or .jpg."),
    augment: str = typer.Option("standard", help="A preset, as for train, or all."),
    photos: int = typer.Option(6, min=1, max=100, help="Photos to show, stratified by class."),
    views: int = typer.Option(4, min=1, max=50, help="Views of each photo."),
    size: str = SIZE,
    grey: bool = GREY,
    fit: str = typer.Option("stretch", help="stretch, crop or pad, as for train."),
    val: float = typer.Option(0.15, help="As for train; determines the split, and thus the training photos."),
    test: float = typer.Option(0.15, help="Likewise."),
    on_conflict: str = typer.Option("error", help="Likewise."),
    seed: int = typer.Option(0, help="As for train."),
) -> None:
    """Draw training photos and their augmented views: with the same options, exactly the views that `train` uses.

    The first column is the photo. Captions of mixed views give the share of each class.

    Example: edgetl data preview photos/ --augment standard -o views.png
    """
    from edgetl.data import load_dataset, refuse_inside, require_training
    from edgetl.features.augment import PRESETS, check_preset
    from edgetl.features.preview import grid
    from edgetl.features.preview import preview as rows_of
    from edgetl_device._lib.files import atomic_path
    from edgetl_device.errors import InputError
    from edgetl_device.input_size import parse_size
    from edgetl_device.preprocess import Preprocess

    if augment != "all":
        check_preset(augment)
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"{out}: unknown image format", why="it must end in .png or .jpg")
    refuse_inside(data, out, file=True)
    spec = Preprocess(size=parse_size(size, channels=1 if grey else 3), fit=fit)  # type: ignore[arg-type]  # checked by the class
    dataset = load_dataset(data, spec, seed=seed, val=val, test=test, on_conflict=on_conflict)  # type: ignore[arg-type]
    require_training(dataset)
    names = [name for name in PRESETS if name != "none"] if augment == "all" else [augment]
    sheet = grid(
        [row for name in names for row in rows_of(dataset, preset=name, seed=seed, photos=photos, views=views)]
    )
    with atomic_path(out) as temporary:
        sheet.save(temporary, "PNG" if out.suffix.lower() == ".png" else "JPEG", quality=82)
    echo(f"{out} ({sheet.width} x {sheet.height} px, {out.stat().st_size / 1000:.0f} KB)")
