"""``edgetl train``: parse, call :func:`edgetl.training.train`, print a summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import accuracy_text, echo, note, print_json, word
from edgetl.training.options import TrainOptions
from edgetl_device.errors import InputError
from edgetl_device.options import BASICS

from .evaluate import print_classes
from .options import Asked, add_command

if TYPE_CHECKING:
    from edgetl.runs.directory import Run
    from edgetl.runs.document import Baseline, RunDocument


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(app, "train", TrainOptions, train)


def train(
    asked: Asked[TrainOptions],
    data: Path | None = typer.Argument(
        None,
        help="FOLDER/<class>/photos, FOLDER/{train,val,test}/<class>/photos, a .csv, or arrays (docs/guides/data.md).",
        readable=False,
    ),
    out: Path | None = typer.Option(
        None, metavar="RUN", help="Run directory to write.  [default: runs/<name of DATA>]", rich_help_panel=BASICS
    ),
    resume: Path | None = typer.Option(
        None, metavar="RUN", help="Resume an interrupted run with its settings.", show_default=False
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing run, finished or not."),
    json: bool = typer.Option(False, "--json", help="Print run.json on stdout."),
) -> None:
    """Train an image classifier on photos: fine-tune a pretrained backbone, or train one from scratch.

    Example: edgetl train photos/ --out runs/photos
    """
    from edgetl.reports.run import written_page
    from edgetl.runs.directory import default_folder
    from edgetl.training import resume as resume_training
    from edgetl.training import train as run_training

    if resume is not None:
        _refuse_other_place(resume, out)
        run = resume_training(resume, given=asked.given, root=data, overwrite=overwrite)
    elif data is None:
        raise InputError("no photos were given", hint="edgetl train PHOTOS, or edgetl train --resume RUN")
    else:
        run = run_training(data, out or default_folder(data), asked.options, overwrite=overwrite)
    page = written_page(run)
    if json:
        note(f"report: {page}")
        print_json(run.document)
    else:
        _summary(run, page)
    if run.document.interrupted:
        note(f"interrupted: resume with edgetl train --resume {run.folder}")
        raise typer.Exit(130)


def _refuse_other_place(resume: Path, out: Path | None) -> None:
    if out is not None and out.absolute() != resume.absolute():
        raise InputError(f"--out {out} with --resume {resume}", why="a run is resumed in its own directory")


def _summary(run: Run, page: str) -> None:
    document = run.document
    for finding in document.dataset.findings:
        if finding.severity != "info":
            note(f"{finding.severity}: {finding.message}")
    for split, metrics in document.metrics.items():
        print_classes(split, metrics)
    if document.baseline:
        _print_baseline(document, document.baseline)
    config, weights, cut = document.config, document.weights, document.strategy.truncated
    trained = {"head": "the head", "all": "all layers", "scratch": "all layers, from scratch"}.get(
        config.strategy or "", f"the head and the last {config.trainable_blocks} blocks"
    )
    echo(f"trained   {trained}" + (f"; the base ends at {cut.block}" if cut else ""))
    echo(f"backbone  {config.backbone}, weights: {weights.source} {weights.file or ''}".rstrip())
    echo(f"time      {document.seconds_to_model:.1f} s to the model, {document.seconds:.1f} s in all")
    echo(f"run       {run.folder}  (model.keras, run.json, history.csv, split.csv, plots/)")
    echo(f"report    {page}")
    if document.metrics:
        echo(f"next      edgetl quantize {word(run.folder)}")
    else:
        echo("next      train again with photos to hold out, at least 3 a class: without them no model can be checked")


def _print_baseline(document: RunDocument, baseline: Baseline) -> None:
    for split, metrics in document.metrics.items():
        ours, theirs = metrics.accuracy, baseline.metrics[split].accuracy
        echo(
            f"baseline  {baseline.backbone} from scratch, {split}: "
            f"{accuracy_text(theirs)}; this run {accuracy_text(ours)}; {baseline.parameters:,} parameters, "
            f"{baseline.seconds:.1f} s"
        )
