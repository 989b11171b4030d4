"""``edgetl classify``: photos in, labels out."""

from __future__ import annotations

from pathlib import Path

import typer

_Bundle = typer.Argument(
    ..., help="A bundle folder, a run folder, or an .edgetl file.", readable=False, show_default=False
)
_Photos = typer.Argument(..., help="Photos: JPEG, PNG, WebP, BMP, TIFF or GIF.", show_default=False)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("classify")(classify)


def classify(
    bundle: Path = _Bundle,
    photos: list[Path] = _Photos,
    variant: str = typer.Option("int8", help="Which model of the bundle to run."),
    threads: int = typer.Option(1, help="CPU threads."),
    top: int = typer.Option(5, help="How many classes to print."),
    delegate: str = typer.Option("", help="edgetpu[:usb|:pci|:N], or PATH.so[:key=value,...].", show_default=False),
    json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Classify photos with a model of a bundle.

    Example: edgetl classify runs/parts/bundle photo.jpg --top 3
    """
    from edgetl.cli.output import note
    from edgetl_device.classifier import open_classifier, predictions
    from edgetl_device.delegate import parse_delegate

    chosen = parse_delegate(delegate) if delegate else None
    with open_classifier(bundle, variant, threads, delegate=chosen) as classifier:
        document = predictions(classifier, [str(photo) for photo in photos], top)
    if used := classifier.runtime.delegate:
        note(f"delegate {used['name']} ran {used['operators']} of {used['of']} operators")
    if json:
        from edgetl.cli.output import print_json

        print_json(document)
        return
    for row in document["photos"]:
        answers = "  ".join(f"{answer['label']} {answer['probability']:.3f}" for answer in row["predictions"])
        typer.echo(f"{row['photo']}: {answers}")
