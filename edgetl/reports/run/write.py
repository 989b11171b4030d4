"""Write the report of a training run to one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgetl._lib import extras
from edgetl._lib.progress import note
from edgetl.data import Split
from edgetl.reports.html import fill
from edgetl.reports.text import Warned
from edgetl.runs.calibration_error import BINS, calibration_error
from edgetl.runs.directory import Run
from edgetl.runs.history import read_history
from edgetl.runs.model_card import FIELDS, Words, read_words
from edgetl.runs.model_card import FILE as CARD
from edgetl.runs.predictions import FILE, read_predictions
from edgetl_device._lib.files import write_text
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.text import LISTED

from . import facts, page
from .boards import read_boards
from .card import write_card
from .curves import begins_before, fits, plots
from .int8 import read_int8
from .photos import MISTAKES, Album, findings, mistakes
from .reliability import reliability_chart, temperature_note, uncalibrated_chart

PAGE = "report.html"


def write_run_report(
    run: Run,
    out: Path | None = None,
    *,
    grad_cam: bool = False,
    data: Path | None = None,
    results: Sequence[Path] = (),
) -> Path:
    """Write the report of a run as one self-contained page, and its model card; return the path of the page.

    Photos that are missing or have changed since training are listed instead of shown.

    Args:
        run: The run.
        out: The HTML file to write; ``report.html`` in the run directory by default.
        grad_cam: Add Grad-CAM heat maps to the misclassified photos; needs TensorFlow.
        data: Path of the data set, if it has moved since training.
        results: Bench results of the run's bundle, beside those in ``RUN/bench``, for the latency by board.

    Raises:
        InputError: A file of the run is damaged, ``data`` is not a data set, a result is of another model, or, with
            ``grad_cam``, a photo is missing.
        Unavailable: Jinja2, or with ``grad_cam`` TensorFlow, is not installed.
    """
    target = run.folder / PAGE if out is None else out
    html = render_run(run, target, grad_cam=grad_cam, data=data, results=results)
    write_text(target, html)
    write_run_card(run, results)
    return target


def write_run_card(run: Run, results: Sequence[Path] = ()) -> None:
    """Write ``RUN/MODEL_CARD.md``; the words that a person filled in stay.

    A card that was changed outside of its fields is left as it is, which is said.

    Raises:
        InputError: A file of the run or a result is damaged.
    """
    int8, boards = read_int8(run.folder, run.folder / PAGE), read_boards(run, results)
    try:
        write_card(run.folder, run.document, _reported(run), int8, boards)
    except InputError as error:
        note(f"note: {error}")
    except OSError as error:
        note(f"note: {CARD} was not written: {error.strerror or error}")


def render_run(
    run: Run,
    target: Path,
    *,
    grad_cam: bool = False,
    data: Path | None = None,
    results: Sequence[Path] = (),
) -> str:
    """Return the page as HTML; links are relative to ``target``; other arguments as for :func:`write_run_report`."""
    extras.check_installed("jinja2", extra="report")
    document, history = run.document, read_history(run.folder / "history.csv")
    split, album = _reported(run), Album.of(run, data)
    int8, found = read_int8(run.folder, target), findings(document, album)
    warnings = page.warnings(document, split, found, album, int8)
    try:
        words = read_words(run.folder / CARD)
    except InputError:
        words = Words(None, {})
        warnings += (Warned(f"{CARD} was changed outside of the fields to fill in: its words are not here.", "card"),)
    return fill(
        "run.html",
        name=run.folder.resolve().name,
        document=document,
        labels=run.labels,
        album=album,
        listed=LISTED,
        counts=page.photo_counts(document),
        findings=found,
        fits=fits(history),
        plots=plots(history, kept_epoch=document.model.best_epoch),
        begins_before=begins_before(history),
        harder=facts.harder(document),
        stages=facts.stages(document),
        configuration=facts.configuration(document),
        reasons=facts.reasons(document),
        provenance=facts.provenance(document),
        int8=int8,
        commands=[one for one in (document.command, int8.command if int8 else None) if one],
        warnings=warnings,
        bins=BINS,
        doubts=page.doubts(document, split),
        figures=page.figures(document, split, int8),
        pictures=page.pictures(document),
        boards=read_boards(run, results),
        limits=page.limits(document, split, tells_unknown=bool(int8 and int8.unknown)),
        licences=facts.licences(document),
        fields=[(one, words.fields.get(one.name)) for one in FIELDS],
        licence=words.licence,
        held_out=None if split is None else _held_out(run, split, album, grad_cam=grad_cam, data=data),
    )


def _reported(run: Run) -> Split | None:
    """Return the split that results are reported on; None if no photos were held out."""
    if run.truth == "model":
        return None
    return next((name for name in page.SIDES if name in run.document.metrics), None)


def _held_out(run: Run, split: Split, album: Album, *, grad_cam: bool, data: Path | None) -> dict[str, Any]:
    """Return the results on held-out photos."""
    metrics, confusion = run.document.metrics[split], run.confusion(split)
    predictions = [one for one in read_predictions(run.folder / FILE) if one.split == split]
    shown, wrong = mistakes(run, predictions, album, heat=grad_cam, data=data)
    # Runs of the first version lack it.
    measured = metrics.calibration_error or calibration_error(
        np.array([one.probability for one in predictions]),
        np.array([one.predicted == one.label for one in predictions]),
    )
    return {
        "split": split,
        "metrics": metrics,
        "scores": page.scores(run.document),
        "classes": page.classes(metrics),
        "matrix": page.matrix(confusion, run.labels),
        "pairs": page.pairs(confusion, metrics),
        "reliability": reliability_chart(measured, metrics.accuracy),
        "temperature": temperature_note(run.document.temperature, split),
        "uncalibrated": uncalibrated_chart(run.document.temperature, split, metrics.accuracy),
        "mistakes": shown,
        "wrong": wrong,
        "most": MISTAKES,
        "grad_cam": grad_cam,
    }


def written_page(run: Run, *, data: Path | None = None) -> str:
    """Write report and model card into the run directory; return the path of the page, or why there is none."""
    try:
        return str(write_run_report(run, data=data))
    except Unavailable as error:
        # A run without a report is complete; its card needs no package.
        write_run_card(run)
        return f"none: {error.what}. {error.hint}"


def refresh_page(run: Run, *, data: Path | None = None) -> None:
    """Write report and model card again, because the run has new results; say so where that is not possible."""
    why = ""
    try:
        found = written_page(run, data=data)
        # Where there was no page, training has said why.
        if found.startswith("none: ") and (run.folder / PAGE).exists():
            why = found.removeprefix("none: ")
    except (InputError, OSError) as error:
        why = str(error)
    if why:
        note(f"note: {run.folder / PAGE} is not up to date: {why}")
