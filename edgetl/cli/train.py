"""``edgetl train``: parse, call :func:`edgetl.training.train`, print a summary."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgetl.cli.console.output import accuracy_text, note, print_json
from edgetl_device.errors import InputError

from .evaluate import print_classes
from .report import written_page

if TYPE_CHECKING:
    from edgetl.runs.directory import Run


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("train")(train)


def train(
    context: typer.Context,
    data: Path | None = typer.Argument(
        None,
        help="FOLDER/<class>/photos, FOLDER/{train,val,test}/<class>/photos, a .csv, or arrays (docs/data.md).",
        readable=False,
    ),
    out: Path | None = typer.Option(None, help="Run directory to write.  [default: runs/<name of DATA>]"),
    backbone: str = typer.Option("mobilenet_v2", help="A name that edgetl models lists; auto, with --strategy auto."),
    width: float = typer.Option(1.0, help="Width multiplier of the backbone."),
    size: int = typer.Option(160, help="Input height and width in pixels."),
    fit: str = typer.Option("stretch", help="How photos are fitted to the input: stretch, crop or pad."),
    weights: str = typer.Option("auto", help="auto, imagenet, none (train from scratch) or a weights file."),
    strategy: str | None = typer.Option(
        None,
        help="What is trained: head, blocks (the last N), all, scratch; auto: what edgetl advise recommends."
        "  [default: blocks]",
        show_default=False,
    ),
    trainable_blocks: int | None = typer.Option(
        None,
        help="Train the last N blocks; 0: the head alone.  [default: 6, or all but one of fewer]",
        show_default=False,
    ),
    truncate: str | None = typer.Option(
        None, help="End the backbone after this block, by name or by how many are kept.", show_default=False
    ),
    epochs: int | None = typer.Option(
        None, help="Epochs of the second stage.  [default: 16, fewer from 500 photos on]", show_default=False
    ),
    augment: str = typer.Option(
        "standard",
        help="none, light, standard, strong, no-flip, colour, erase, rand-augment, mixup or cutmix (docs/training.md).",
    ),
    views: int | None = typer.Option(
        None,
        help="Augmented views drawn of each training photo.  [default: 4, 2 from 1,000 photos on]",
        show_default=False,
    ),
    batch_size: int = typer.Option(32, help="Photos a step, over all devices."),
    lr: float | None = typer.Option(
        None, help="Peak learning rate of the second stage.  [default: 3e-4; scratch: 1e-3; all: 2e-4, truncated 1e-3]"
    ),
    label_smoothing: float | None = typer.Option(
        None, help="0 to 0.9.  [default: 0; all layers and scratch: 0.1]", show_default=False
    ),
    dropout: float = typer.Option(0.2, help="Dropout before the last layer, 0 to 0.95."),
    class_weights: bool = typer.Option(False, "--class-weights", help="Weigh rare classes up."),
    patience: int = typer.Option(8, help="Stop after N epochs without a lower validation loss."),
    val: float = typer.Option(0.15, help="Share for validation where the folder has no val/."),
    test: float = typer.Option(0.15, help="Share for the test where the folder is not split."),
    on_conflict: str = typer.Option("error", help="A photo under two labels: error, or drop it."),
    seed: int = typer.Option(0, help="Same seed, same machine: same weights."),
    compare_baseline: bool = typer.Option(
        False, "--compare-baseline", help="Also train a small CNN from scratch on the same split."
    ),
    resume: Path | None = typer.Option(
        None, metavar="RUN", help="Go on with a run that was ended early, with its settings.", show_default=False
    ),
    optimizer: str = typer.Option("adamw", help="adamw, adam or sgd."),
    weight_decay: float = typer.Option(0.0, help="Decoupled weight decay of kernels (adamw, sgd)."),
    schedule: str = typer.Option("cosine", help="Of the learning rate after the warm-up: cosine or constant."),
    warmup: float = typer.Option(0.1, help="Share of the steps in which the learning rate rises."),
    ema: bool = typer.Option(True, help="Validate and keep the moving average of the weights."),
    precision: str = typer.Option(
        "auto", help="Of computing: float32, mixed_float16, mixed_bfloat16; auto: what the GPU is fast at."
    ),
    devices: str = typer.Option(
        "auto", help="What shares each step: every GPU (auto), the first N, or names such as GPU:0,GPU:2."
    ),
    finetune_epochs: int = typer.Option(0, help="Epochs of a third stage that trains every layer, on pixels."),
    finetune_lr: float | None = typer.Option(
        None, help="Its peak learning rate.  [default: a tenth of --lr]", show_default=False
    ),
    teacher: Path | None = typer.Option(
        None, metavar="RUN", help="A finished run whose answers are learnt too.", show_default=False
    ),
    teacher_weight: float = typer.Option(0.5, help="Share of the teacher in the loss, 0 to 1."),
    teacher_temperature: float = typer.Option(2.0, help="What its answers are softened by, 1 to 20."),
    tensorboard: bool = typer.Option(False, "--tensorboard", help="Write TensorBoard's logs to RUN/tensorboard."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a run that is there already, finished or not."),
    json: bool = typer.Option(False, "--json", help="Print run.json on stdout."),
) -> None:
    """Fine-tune a MobileNet on a folder of photos.

    Example: edgetl train photos/ --out runs/photos
    """
    from edgetl.training import TrainConfig
    from edgetl.training import resume as resume_training
    from edgetl.training import train as run_training

    config = TrainConfig(
        backbone=backbone,
        width=width,
        size=size,
        fit=fit,
        weights=weights,
        strategy=strategy,
        trainable_blocks=trainable_blocks,
        truncate=truncate,
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
        compare_baseline=compare_baseline,
        optimizer=optimizer,
        weight_decay=weight_decay,
        schedule=schedule,
        warmup=warmup,
        ema=ema,
        precision=precision,
        finetune_epochs=finetune_epochs,
        finetune_lr=finetune_lr,
        teacher=str(teacher.absolute()) if teacher else None,
        teacher_weight=teacher_weight,
        teacher_temperature=teacher_temperature,
        tensorboard=tensorboard,
        devices=devices,
    )
    if resume is not None:
        _refuse_other_place(resume, out)
        given = {name: value for name, value in asdict(config).items() if _was_given(context, name)}
        run = resume_training(resume, given=given, root=data, overwrite=overwrite)
    elif data is None:
        raise InputError("no photos were given", hint="edgetl train PHOTOS, or edgetl train --resume RUN")
    else:
        place = out or Path("runs") / (data.stem if data.is_file() else data.resolve().name)
        run = run_training(data, place, config, overwrite=overwrite)
    page = written_page(run)
    if json:
        note(f"report: {page}")
        print_json(run.document)
    else:
        _summary(run, page)
    if run.document["interrupted"]:
        note(f"interrupted: go on with edgetl train --resume {run.folder}")
        raise typer.Exit(130)


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _refuse_other_place(resume: Path, out: Path | None) -> None:
    if out is not None and out.absolute() != resume.absolute():
        raise InputError(f"--out {out} with --resume {resume}", why="a run is finished where it was begun")


def _summary(run: Run, page: str) -> None:
    document = run.document
    for finding in document["dataset"]["findings"]:
        if finding["severity"] != "info":
            note(f"{finding['severity']}: {finding['message']}")
    for split, metrics in document["metrics"].items():
        print_classes(split, metrics)
    if baseline := document.get("baseline"):
        _print_baseline(document, baseline)
    weights = document["weights"]
    cut = document["strategy"]["truncated"]
    trained = {"head": "the head", "all": "all layers", "scratch": "all layers, from scratch"}.get(
        document["config"]["strategy"], f"the head and the last {document['config']['trainable_blocks']} blocks"
    )
    print(f"trained   {trained}" + (f"; the base ends at {cut['block']}" if cut else ""))
    print(f"backbone  {document['config']['backbone']}, weights: {weights['source']} {weights['file'] or ''}".rstrip())
    print(f"time      {document['seconds_to_model']:.1f} s to the model, {document['seconds']:.1f} s in all")
    print(f"run       {run.folder}  (model.keras, run.json, history.csv, split.csv, plots/)")
    print(f"report    {page}")
    print(f"next      edgetl quantize {run.folder} --int8")


def _print_baseline(document: dict[str, Any], baseline: dict[str, Any]) -> None:
    for split, metrics in document["metrics"].items():
        ours, theirs = metrics["accuracy"], baseline["metrics"][split]["accuracy"]
        print(
            f"baseline  {baseline['backbone']} from scratch, {split}: {theirs['correct']} of {theirs['photos']} right, "
            f"{accuracy_text(theirs)}; this run {accuracy_text(ours)}; {baseline['parameters']:,} parameters, "
            f"{baseline['seconds']:.1f} s"
        )
