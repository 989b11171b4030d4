"""``edgetl advise``: parse, call :func:`edgetl.advice.advise`, print accuracy by depth and the recommendation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import DATA_FORMS, echo, note, print_table, word

from .input_options import GREY, SIZE
from .json_output import JSON, OUT, check_out, deliver

if TYPE_CHECKING:
    from edgetl.advice import Advice, BackboneAdvice


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("advise")(advise)


def advise(
    data: Path = typer.Argument(
        ...,
        help=DATA_FORMS,
        readable=False,
    ),
    backbone: list[str] = typer.Option(
        ["mobilenet_v2"], "--backbone", help="Backbone, as edgetl models lists it. Repeat to compare several."
    ),
    width: float = typer.Option(1.0, help="Width multiplier of the backbones."),
    size: str = SIZE,
    grey: bool = GREY,
    fit: str = typer.Option("stretch", help="How photos are fitted to the input: stretch, crop or pad."),
    weights: str = typer.Option("auto", help="auto, imagenet or a weights file."),
    val: float = typer.Option(0.15, help="Share of validation photos, if the folder has no val/, as in edgetl train."),
    test: float = typer.Option(0.15, help="Share of test photos, if the folder is not split."),
    on_conflict: str = typer.Option("error", help="A photo with two labels: error, or drop it."),
    seed: int = typer.Option(0, help="Seed of the split and the folds."),
    plot: Path | None = typer.Option(None, help="Draw accuracy by depth into this PNG file."),
    json: bool = JSON,
    out: Path | None = OUT,
) -> None:
    """Recommend what to train on these photos: the head, the last blocks, all layers, or a shorter backbone.

    A linear probe at every block, cross-validated on at most 3,000 training photos (stratified by class), shows how far
    pretrained features help. Validation and test photos are not used.

    Example: edgetl advise photos/ --backbone mobilenet_v2 --backbone efficientnet_lite0 --plot depth.png
    """
    from edgetl.advice.run import advise_on
    from edgetl.data import refuse_inside
    from edgetl_device.input_size import parse_size

    if plot:
        refuse_inside(data, plot, file=True)
    check_out(out, data=data)
    advice = advise_on(
        data,
        backbones=backbone,
        width=width,
        size=parse_size(size, channels=1 if grey else 3),
        fit=fit,
        weights=weights,
        val=val,
        test=test,
        on_conflict=on_conflict,
        seed=seed,
    )
    if plot:
        from edgetl.advice.plot import draw
        from edgetl_device._lib.files import atomic_path

        with atomic_path(plot) as temporary:
            draw(advice, temporary)
    if not deliver(advice.document, json=json, out=out):
        _print(data, advice)
    if plot:
        note(f"picture  {plot}")


def _print(data: Path, advice: Advice) -> None:
    photos = advice.photos
    for one in advice.backbones:
        _print_depths(one, several=len(advice.backbones) > 1)
    of = f"{advice.probed_photos:,} of {photos.count:,}" if advice.probed_photos < photos.count else f"{photos.count:,}"
    echo(
        f"Probes: linear classifiers, {advice.folds}-fold cross-validation on {of} training photos, at least "
        f"{photos.fewest} per class; no other photos were used."
    )
    echo(
        f"Costs: those of a network that ends there, with its head, at {photos.size} px; MB int8 is "
        "estimated. Larger inputs (--size) often raise the accuracy; multiply-adds grow with the area."
    )
    chosen = advice.recommendation
    echo()
    echo(f"recommended  {chosen.title}")
    for reason in chosen.reasons:
        echo(f"  - {reason}")
    size = "" if str(photos.size) == SIZE.default else f" --size {photos.size}"
    grey = " --grey" if photos.size.channels == 1 else ""
    echo(f"next         edgetl train {word(data)} {chosen.flags()}{size}{grey}")


def _print_depths(one: BackboneAdvice, *, several: bool) -> None:
    rows = []
    for probed in one.probed:
        depth, accuracy = probed.depth, probed.record.accuracy
        low, high = accuracy.ci95
        rows.append(
            (
                depth.block or "whole",
                str(depth.blocks),
                f"{100 * accuracy.top1:.1f}",
                f"{100 * low:.1f} to {100 * high:.1f}",
                f"{depth.parameters / 1e6:.2f}",
                f"{depth.multiply_adds / 1e6:,.1f}",
                f"{depth.int8_bytes / 1e6:.2f}",
            )
        )
    columns = ("ends at", "blocks", "probe top-1, %", "95%", "M par.", "M MAdds", "MB int8")
    print_table(columns, rows, title=one.name if several else "")
