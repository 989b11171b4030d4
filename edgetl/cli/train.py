"""``edgetl train``: parse, call :func:`edgetl.train.train`, print a summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .evaluate import print_classes
from .output import note, print_json

if TYPE_CHECKING:
    from edgetl.run import Run


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("train")(train)


def train(
    data: Path = typer.Argument(
        ..., help="FOLDER/<class>/photos or FOLDER/{train,val,test}/<class>/photos.", readable=False
    ),
    out: Path | None = typer.Option(None, help="Run directory to write.  [default: runs/<name of DATA>]"),
    backbone: str = typer.Option("mobilenet_v2", help="mobilenet_v1, _v2, _v3_small or _v3_large."),
    width: float = typer.Option(1.0, help="Width multiplier of the backbone."),
    size: int = typer.Option(160, help="Input height and width in pixels."),
    fit: str = typer.Option("stretch", help="How photos are fitted to the input: stretch, crop or pad."),
    weights: str = typer.Option("auto", help="auto, imagenet, none (train from scratch) or a weights file."),
    trainable_blocks: int = typer.Option(6, help="Train the last N blocks; 0: the head alone."),
    epochs: int | None = typer.Option(
        None, help="Epochs of the second stage.  [default: 16, fewer from 500 photos on]", show_default=False
    ),
    augment: str = typer.Option("standard", help="none, light, standard or strong."),
    views: int = typer.Option(4, help="Augmented views drawn of each training photo."),
    batch_size: int = typer.Option(32, help="Photos a step."),
    lr: float | None = typer.Option(
        None, help="Peak learning rate of the second stage.  [default: 3e-4; scratch: 1e-3]"
    ),
    label_smoothing: float = typer.Option(0.1, help="0 to 0.9."),
    dropout: float = typer.Option(0.2, help="Dropout before the last layer, 0 to 0.95."),
    class_weights: bool = typer.Option(False, "--class-weights", help="Weigh rare classes up."),
    patience: int = typer.Option(8, help="Stop after N epochs without a lower validation loss."),
    val: float = typer.Option(0.15, help="Share for validation where the folder has no val/."),
    test: float = typer.Option(0.15, help="Share for the test where the folder is not split."),
    on_conflict: str = typer.Option("error", help="A photo under two labels: error, or drop it."),
    seed: int = typer.Option(0, help="Same seed, same machine: same weights."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a run that is there already."),
    json: bool = typer.Option(False, "--json", help="Print run.json on stdout."),
) -> None:
    """Fine-tune a MobileNet on a folder of photos.

    Example: edgetl train photos/ --out runs/photos
    """
    from edgetl.train import TrainConfig
    from edgetl.train import train as run_training

    config = TrainConfig(
        backbone=backbone,
        width=width,
        size=size,
        fit=fit,
        weights=weights,
        trainable_blocks=trainable_blocks,
        epochs=epochs,
        augment=augment,
        views=views,
        batch_size=batch_size,
        lr=lr,
        label_smoothing=label_smoothing,
        dropout=dropout,
        class_weights=class_weights,
        patience=patience,
        val=val,
        test=test,
        on_conflict=on_conflict,
        seed=seed,
    )
    run = run_training(data, out or Path("runs") / data.resolve().name, config, overwrite=overwrite)
    if json:
        print_json(run.document)
    else:
        _summary(run)
    if run.document["interrupted"]:
        raise typer.Exit(130)


def _summary(run: Run) -> None:
    document = run.document
    for finding in document["dataset"]["findings"]:
        if finding["severity"] != "info":
            note(f"{finding['severity']}: {finding['message']}")
    for split, metrics in document["metrics"].items():
        print_classes(split, metrics)
    weights = document["weights"]
    print(f"backbone  {document['config']['backbone']}, weights: {weights['source']} {weights['file'] or ''}".rstrip())
    print(f"time      {document['seconds_to_model']:.1f} s to the model, {document['seconds']:.1f} s in all")
    print(f"run       {run.folder}  (model.keras, run.json, history.csv, split.csv, plots/)")
    print(f"next      edgetl quantize {run.folder} --int8")
