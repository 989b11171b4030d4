"""Output of ``edgetl quantize --explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgetl_device.text import LISTED, listed

from .output import echo, print_table

if TYPE_CHECKING:
    from edgetl.runs.explain_report import ExplainedLayer, ExplainReport, RepairEffect
    from edgetl_device._lib.documents import Unknown

_LAYERS_SHOWN = 10
_FLIPS_SHOWN = 5


def print_explanation(run: Path) -> None:
    """Print the layers with the largest error, the classes that lost accuracy, and the changed predictions."""
    from edgetl.runs.explain_report import DOCUMENT, ExplainReport
    from edgetl_device._lib import documents

    report = documents.read(ExplainReport, run / DOCUMENT)
    rows = report.costliest(_LAYERS_SHOWN)
    before = f", {report.unrepaired.answer_error:.4f} before repair" if report.unrepaired else ""
    title = (
        f"Error of int8 on {report.photos} photos: probabilities change by {report.answer_error:.4f} "
        f"on average{before}.\nThe {len(rows)} of {len(report.layers)} layers that change them most when they alone "
        "are int8:"
    )
    columns = ["layer", "operator", "change", "before", "alone dB", "file dB", "clipped", "dead"]
    if not report.unrepaired:
        columns.remove("before")
    print_table(columns, [_layer(layer, moves, report) for layer, moves in rows], title=title)
    if report.repair:
        _print_repair(report.repair)
    if report.unmatched:
        echo(f"not found in the float file, so not measured: {', '.join(report.unmatched)}")
    _print_flips(report)
    echo(f"explain   {run / DOCUMENT}")


def _layer(layer: ExplainedLayer, moves: float, report: ExplainReport) -> tuple[str, ...]:
    unrepaired = layer.unrepaired.answer_error if layer.unrepaired else None
    before = (_number(unrepaired, "{:.4f}"),) if report.unrepaired else ()
    return (
        layer.name,
        layer.operator,
        f"{moves:.4f}",
        *before,
        _number(layer.alone_sqnr_db, "{:.1f}"),
        _number(layer.sqnr_db, "{:.1f}"),
        f"{layer.clipped.share:.2%}",
        f"{layer.channels.dead} of {layer.channels.count}",
    )


def _number(value: float | Unknown | None, form: str) -> str:
    return form.format(value) if isinstance(value, (float, int)) else "-"


def _print_repair(repair: RepairEffect) -> None:
    before, after, shift = repair.before, repair.after, repair.bias_shift
    biases = f", biases shifted by up to {abs(shift.largest):.3g}" if shift else ""
    echo(
        f"repair    {repair.name} had the largest error before: {_number(before.answer_error, '{:.4f}')}, now "
        f"{_number(after.answer_error, '{:.4f}')}; mean channel error {before.mean_channel_error:.2g}, now "
        f"{after.mean_channel_error:.2g}{biases}"
    )


def _print_flips(report: ExplainReport) -> None:
    changed = [one for one in report.classes if one.drop_pp]
    if len(changed) > LISTED:
        changed.sort(key=lambda one: -one.drop_pp)
    classes = ["{} {:+.1f} ({:+.1f}..{:+.1f})".format(one.label, one.drop_pp, *one.drop_ci95_pp) for one in changed]
    echo(f"drop pp   {listed(classes) or 'none in any class'}")
    echo(f"flipped   {len(report.flips.flipped)} of {report.flips.photos} predictions")
    for flip in report.flips.flipped[:_FLIPS_SHOWN]:
        tie = ", tied" if flip.tied else ""
        echo(
            f"          {flip.path}: {flip.float_answer} {flip.float_probability:.2f} -> "
            f"{flip.int8_answer} {flip.int8_probability:.2f}{tie} ({flip.label})"
        )
