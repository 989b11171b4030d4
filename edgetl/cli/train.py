"""``edgetl train``: parse, call :func:`edgetl.training.train`, print a summary."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import DATA_FORMS, accuracy_text, echo, note, print_json, word
from edgetl.training.options import TrainOptions
from edgetl_device.errors import InputError
from edgetl_device.options import BASICS

from .evaluate import classes_table, print_classes
from .gating import FAIL_IF, SUMMARY, print_outcomes, write_summary
from .json_output import JSON, check_out
from .options import Asked, add_command

if TYPE_CHECKING:
    from edgetl.comparison.gates import AnyGate, Outcome
    from edgetl.runs.directory import Run
    from edgetl.runs.document import Baseline, RunDocument


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(app, "train", TrainOptions, train)


def train(
    asked: Asked[TrainOptions],
    data: Path | None = typer.Argument(
        None,
        help=DATA_FORMS,
        readable=False,
    ),
    out: Path | None = typer.Option(
        None, metavar="RUN", help="Run directory to write.  [default: runs/<name of DATA>]", rich_help_panel=BASICS
    ),
    add: Path | None = typer.Option(
        None,
        metavar="PHOTOS",
        help="With --from RUN, instead of DATA: train on the photos of that run and on these.",
        show_default=False,
    ),
    resume: Path | None = typer.Option(
        None, metavar="RUN", help="Resume an interrupted run with its settings.", show_default=False
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing run, finished or not."),
    fail_if: list[str] = FAIL_IF,
    summary: Path | None = SUMMARY,
    json: bool = JSON,
) -> None:
    """Train an image classifier on photos: fine-tune a pretrained backbone, or train one from scratch.

    --fail-if is about the test photos, else the validation photos; val.accuracy_pct is about the latter. It takes
    accuracy_pct, accuracy_low_pct (the low end of its interval), ece, recall_low_pct[tulips], recall_pct[*], ...
    The run is written in any case.

    Example: edgetl train photos/ --out runs/photos
    """
    from edgetl.comparison import gates
    from edgetl.reports.run import written_page
    from edgetl.runs.directory import default_folder
    from edgetl.training import resume as resume_training
    from edgetl.training import train as run_training

    wanted = gates.parse_gates(fail_if, gates.EVALUATION_METRICS, {})
    gates.check_variants(wanted, ("val", "test"))
    check_labels = partial(gates.check_labels, wanted)
    check_out(summary)
    if resume is not None:
        _refuse_other_place(resume, out)
        run = resume_training(resume, given=asked.given, root=data, overwrite=overwrite, check_labels=check_labels)
    elif add is not None:
        place = out or default_folder(add)
        table = _table_with(add, data, place, asked.options.from_run, overwrite=overwrite)
        run = run_training(table, place, asked.options, overwrite=overwrite, check_labels=check_labels)
    elif data is None:
        raise InputError("no photos were given", hint="edgetl train PHOTOS, or edgetl train --resume RUN")
    else:
        run = run_training(
            data, out or default_folder(data), asked.options, overwrite=overwrite, check_labels=check_labels
        )
    page = written_page(run)
    if json:
        note(f"report: {page}")
        print_json(run.document)
    else:
        _summary(run, page)
    if run.document.interrupted:
        note(f"interrupted: resume with edgetl train --resume {run.folder}")
        raise typer.Exit(130)
    _check_gates(run, wanted, summary)


def _table_with(add: Path, data: Path | None, out: Path, from_run: str | None, *, overwrite: bool) -> Path:
    """Write the table of a run's photos and more, beside the new run."""
    from edgetl.runs.directory import Run, check_new_run
    from edgetl.training.more_photos import with_more_photos

    if from_run is None or data is not None:
        raise InputError(
            f"--add {add} {'without --from' if from_run is None else f'with {data}'}",
            why="it adds to the photos of the run that training starts from",
            hint=f"edgetl train --from RUN --add {word(add)}",
        )
    check_new_run(out, overwrite=overwrite)
    return with_more_photos(Run.open(Path(from_run)), add, out.with_name(f"{out.name}.csv"))


def _check_gates(run: Run, wanted: Sequence[AnyGate], summary: Path | None) -> None:
    """Write the summary and check the gates, on the test photos, else on the validation photos."""
    from edgetl.comparison import gates

    document = run.document
    found = {str(split): metrics for split, metrics in document.metrics.items()}
    # Without a name, a gate is about the photos that give the final number.
    final = "test" if "test" in found else "val"
    outcomes: list[Outcome] = []
    for gate in wanted:
        split = gate.variant or final
        outcomes += gates.judge([gate], [gates.evaluation_subject(f"{split} photos", split, found.get(split))])
    tables = [classes_table(f"{split} photos", metrics) for split, metrics in document.metrics.items()]
    config = document.config
    lines = [f"backbone {config.backbone}, {document.model.parameters:,} parameters, {document.seconds:.0f} s"]
    print_outcomes(outcomes)
    write_summary(summary, f"edgetl train {run.folder.name}", outcomes, tables, lines)
    gates.raise_failed(outcomes)


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
