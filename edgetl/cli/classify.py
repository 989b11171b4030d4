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
    json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Classify photos with a model of a bundle.

    Example: edgetl classify runs/parts/bundle photo.jpg --top 3
    """
    from edgetl_device.classifier import Classifier, predictions

    with Classifier(bundle, variant, threads) as classifier:
        document = predictions(classifier, [str(photo) for photo in photos], top)
    if json:
        from edgetl.cli.output import print_json

        print_json(document)
        return
    for row in document["photos"]:
        answers = "  ".join(f"{answer['label']} {answer['probability']:.3f}" for answer in row["predictions"])
        typer.echo(f"{row['photo']}: {answers}")
