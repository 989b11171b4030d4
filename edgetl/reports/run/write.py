"""Write the report of a training run to one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgetl._lib import extras
from edgetl.data import Split
from edgetl.reports.html import fill
from edgetl.runs.calibration_error import calibration_error
from edgetl.runs.directory import Run
from edgetl.runs.history import read_history
from edgetl.runs.predictions import FILE, read_predictions
from edgetl_device.errors import Unavailable
from edgetl_device.files import write_text
from edgetl_device.text import LISTED

from . import facts, page
from .curves import fits, plots
from .int8 import read_int8
from .photos import MISTAKES, Album, findings, mistakes
from .reliability import reliability_chart, temperature_note, uncalibrated_chart

PAGE = "report.html"


def write_run_report(run: Run, out: Path | None = None, *, grad_cam: bool = False, data: Path | None = None) -> Path:
    """Write the report of a run as one self-contained page and return its path.

    Photos that are missing or have changed since training are listed instead of shown.

    Args:
        run: The run.
        out: The HTML file to write; ``report.html`` in the run directory by default.
        grad_cam: Add Grad-CAM heat maps to the misclassified photos; needs TensorFlow.
        data: Path of the data set, if it has moved since training.

    Raises:
        InputError: A file of the run is damaged, ``data`` is not a data set, or, with ``grad_cam``, a photo is missing.
        Unavailable: Jinja2, or with ``grad_cam`` TensorFlow, is not installed.
    """
    target = run.folder / PAGE if out is None else out
    write_text(target, render_run(run, target, grad_cam=grad_cam, data=data))
    return target


def render_run(run: Run, target: Path, *, grad_cam: bool = False, data: Path | None = None) -> str:
    """Return the page as HTML; links are relative to ``target``; other arguments as for :func:`write_run_report`."""
    extras.check_installed("jinja2", extra="report")
    document, history = run.document, read_history(run.folder / "history.csv")
    split = next((name for name in page.SIDES if name in document.metrics), None)
    album = Album.of(run, data)
    return fill(
        "run.html",
        name=run.folder.resolve().name,
        document=document,
        labels=run.labels,
        album=album,
        listed=LISTED,
        counts=page.photo_counts(document),
        findings=findings(document, album),
        fits=fits(history),
        plots=plots(history, kept_epoch=document.model.best_epoch),
        harder=facts.harder(document),
        stages=facts.stages(document),
        configuration=facts.configuration(document),
        reasons=facts.reasons(document),
        provenance=facts.provenance(document),
        int8=read_int8(run.folder, target),
        held_out=None if split is None else _held_out(run, split, album, grad_cam=grad_cam, data=data),
    )


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
        "headline": page.headline(metrics, split),
        "cautions": page.cautions(run.document, split),
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


def written_page(run: Run) -> str:
    """Write the report into the run directory; return its path, or why there is none."""
    try:
        return str(write_run_report(run))
    except Unavailable as error:
        # A run without a report is complete.
        return f"none: {error.what}. {error.hint}"
