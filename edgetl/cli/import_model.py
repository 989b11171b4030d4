"""``edgetl import``: parse, call :func:`edgetl.importing.pipeline.import_model`, print what was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl._lib.progress import note
from edgetl.cli.console.output import echo, print_json, print_table, word
from edgetl.importing.options import ImportOptions
from edgetl_device.options import BASICS
from edgetl_device.text import listed
from edgetl_device.truth import NOT_KNOWN, photos_called

from .evaluate import print_classes
from .json_output import JSON
from .options import Asked, add_command

if TYPE_CHECKING:
    from edgetl.runs.directory import Run
    from edgetl.runs.import_record import ImportRecord, TriedInput


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(app, "import", ImportOptions, import_model)


def import_model(
    asked: Asked[ImportOptions],
    model: Path = typer.Argument(
        ..., help="A .keras, .h5, .onnx or .tflite file, or a SavedModel.", readable=False, show_default=False
    ),
    data: Path | None = typer.Option(
        None,
        metavar="PHOTOS",
        help="Labelled photos, in any form that train accepts; without them, accuracy is not known.",
        show_default=False,
        rich_help_panel=BASICS,
    ),
    out: Path | None = typer.Option(
        None, metavar="RUN", help="Run directory to write.  [default: runs/<name of MODEL>]", rich_help_panel=BASICS
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing run."),
    json: bool = JSON,
) -> None:
    """Import a model that edgetl did not train: the result is a run like any other.

    The scaling of pixels and the fit of photos are found on one part of the photos and reported on the other. Without
    photos, --input says what the model takes, and the conversion is proved on drawn pictures. Nothing in the file runs,
    unless --trust-code says so.

    Example: edgetl import theirs.onnx --data photos/ --labels labels.txt --out runs/theirs

    Example: edgetl import theirs.onnx --input imagenet
    """
    from edgetl.importing.pipeline import import_model as run_import
    from edgetl.reports.run import written_page

    run = run_import(model, data, out or Path("runs") / model.stem, asked.options, overwrite=overwrite)
    page = written_page(run)
    if json:
        note(f"report: {page}")
        print_json(run.document)
        return
    _summary(run, page)


def _summary(run: Run, page: str) -> None:
    from edgetl.runs.directory import DRAWN

    document = run.document
    record = document.imported
    assert record is not None
    for finding in document.dataset.findings:
        if finding.severity != "info":
            note(f"{finding.severity}: {finding.message}")
    _print_tried(record)
    if run.truth == "labels":
        for split, metrics in document.metrics.items():
            print_classes(split, metrics)
    _print_warnings(record)
    shown = f"{record.format} by {record.producer}" if record.producer else record.format
    opset = f", opset {record.opset}" if record.opset else ""
    echo(f"imported  {record.name}: {shown}{opset}, ends in {record.ends_in}; kept as {record.file}")
    if record.code_run:
        echo(f"code      run in a process of its own, and left out of {record.file}")
    echo(f"input     {_input_text(record)}")
    same = record.agreement
    pictures = photos_called(run.truth, "photos")
    echo(
        f"same as   {record.runtime}: {same.agree} of {same.photos} {pictures} with the same label, outputs differ by "
        f"{same.max_abs:.1e} at most"
    )
    if run.truth == "model":
        classes = len(document.dataset.labels)
        answers = f"{classes} different answers to them" if classes > 1 else "the same answer to all of them"
        echo(f"pictures  {run.folder / DRAWN}: the original has {answers}")
        echo(f"accuracy  {NOT_KNOWN.removeprefix('accuracy is ')}")
    echo(f"run       {run.folder}")
    echo(f"report    {page}")
    if run.truth == "model":
        echo(f"next      edgetl quantize {word(run.folder)} --calibration-photos DIR")
    else:
        echo(f"next      edgetl quantize {word(run.folder)}")


def _print_tried(record: ImportRecord) -> None:
    tried = record.input.tried
    if len(tried) < 2:
        return
    rows = [_tried_row(one) for one in tried]
    title = f"inputs tried on {record.input.photos} photos, none of them among the results below"
    print_table(("input", "fit", "top-1", "95% CI", "loss"), rows, title=title)


def _tried_row(one: TriedInput) -> tuple[str, ...]:
    if one.accuracy is None or one.loss is None:
        return one.input, one.fit, "NaN or infinite outputs", "", ""
    interval = "{:.2f}..{:.2f}".format(*one.accuracy.ci95)
    return one.input, one.fit, f"{one.accuracy.top1:.3f}", interval, f"{one.loss:.3f}"


def _print_warnings(record: ImportRecord) -> None:
    found, order = record.input, record.label_order
    if found.undecided:
        note(
            f"warning: these photos cannot tell {found.name}, {found.fit} from {', '.join(found.undecided)}: "
            "use more photos, or name the right one with --input and --fit"
        )
    if order is not None and order.permuted:
        note(
            f"warning: the labels look permuted: {order.accuracy:.1%} of {order.photos} photos are right, and "
            f"{order.assigned_accuracy:.1%} in the order {listed(order.order)}; nothing was reordered: "
            "if that order is right, which run.json has whole, give it with --labels FILE"
        )
    if record.held_out == "unknown" and order is not None:
        note(
            "note: edgetl cannot know whether these photos were used to train the model; "
            "if they were not, state it with --held-out"
        )


def _input_text(record: ImportRecord) -> str:
    found = record.input
    how = {"user": "as you said", "model": "the model scales pixels itself", "photos": "chosen on the photos"}
    return f"{found.name}, {found.fit}: {how[found.chosen_by]}"
