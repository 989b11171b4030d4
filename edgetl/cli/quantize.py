"""``edgetl quantize``: parse, call :func:`edgetl.quantization.pipeline.quantize`, print the loss of each file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.formats import Table
from edgetl.cli.console.output import (
    LEGEND,
    LEGEND_OF_PICTURES,
    accuracy_text,
    agreement_interval,
    echo,
    note,
    print_json,
    print_table,
    word,
)
from edgetl.quantization.options import QuantizeOptions
from edgetl_device.truth import NOT_KNOWN

from .gating import FAIL_IF, SUMMARY, print_outcomes, write_summary
from .json_output import JSON, check_out
from .options import Asked, add_command

if TYPE_CHECKING:
    from edgetl.runs.quantize_report import CalibrationRecord, Candidates, QuantizeReport
    from edgetl_device.scores import Accuracy, Agreement
    from edgetl_device.unknown import Accepted, UnknownVariant

_ACCURACY_COLUMNS = ("top-1 (95% CI)", "drop pp (95% CI)", "agree (95% CI)", "MB", "MAE")
_MODEL_COLUMNS = ("as original (95% CI)", "agree (95% CI)", "MB", "MAE")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(app, "quantize", QuantizeOptions, quantize)


def quantize(
    asked: Asked[QuantizeOptions],
    run: Path = typer.Argument(..., help="Run directory that edgetl train wrote.", readable=False, show_default=False),
    data: Path | None = typer.Option(
        None, metavar="PHOTOS", help="Path of the run's photos, if they have moved.", show_default=False
    ),
    overwrite: bool = typer.Option(
        False,
        "--overwrite",
        help="Replace int8 files made with other settings, or a bundle of another model.",
    ),
    fail_if: list[str] = FAIL_IF,
    summary: Path | None = SUMMARY,
    json: bool = JSON,
) -> None:
    """Write RUN/bundle: float32 and int8 files, each measured against the float model on held-out photos.

    Files of an existing bundle that are not made again stay in it. --fail-if takes accuracy_low_pct, accuracy_drop_pp,
    agreement_low_pct, ece, size_mb, ...; int8.accuracy_pct is about one file. The bundle is written in any case:
    --max-drop and --min-agreement look for a better one.

    Example: edgetl quantize runs/photos --max-drop 0.5
    """
    from edgetl.comparison import gates
    from edgetl.quantization.pipeline import quantize as run_quantize
    from edgetl.quantization.pipeline import variant_names
    from edgetl.runs.directory import Run

    wanted = gates.parse_gates(fail_if, gates.QUANTIZED_METRICS, {})
    opened = Run.open(run)
    gates.check_variants(wanted, variant_names(opened, asked.options))
    check_out(summary)
    report = run_quantize(opened, asked.options, data=data, overwrite=overwrite)
    outcomes = gates.judge(wanted, gates.quantized_subjects(report))
    print_calibration_notes(report.calibration)
    for warning in report.warnings:
        note(f"warning: {warning.message}")
    if json:
        print_json(report)
    else:
        _print(report, asked.options, run)
    print_outcomes(outcomes)
    lines = legend_lines(report)
    write_summary(summary, f"edgetl quantize {opened.folder.name}", outcomes, [variants_table(report)], lines)
    gates.raise_failed(outcomes)


def _print(report: QuantizeReport, options: QuantizeOptions, run: Path) -> None:
    print_report(report)
    if options.explain:
        from edgetl.cli.console.explain import print_explanation

        print_explanation(run)
    if options.int8_file is not None:
        echo(f"int8      {Path(options.int8_file).name}, as it is")
    echo(f"bundle    {run / 'bundle'}")
    echo(f"next      edgetl bench {word(run / 'bundle')}")


def print_calibration_notes(calibration: CalibrationRecord | None) -> None:
    """Print the findings of the calibration photos' audit on stderr."""
    for finding in calibration.audit.findings if calibration else ():
        note(f"{finding.severity}: {finding.message}")


def print_report(report: QuantizeReport) -> None:
    """Print the candidates that were tried, and one row per variant: size, accuracy, drop against float."""
    if report.candidates:
        _print_candidates(report.candidates)
    table = variants_table(report)
    print_table(table.columns, table.rows, title=table.title)
    for line in legend_lines(report):
        echo(line)
    if report.unknown:
        _print_unknown(report.unknown)


def variants_table(report: QuantizeReport) -> Table:
    """Return one row per variant: size, accuracy, drop against float; without photos, agreement with the original."""
    if report.truth == "model":
        title = f"float model: {accuracy_text(report.reference, report.truth)}"
        cells = [
            (one.name, *_model_cells(one.accuracy, one.agreement, size_bytes=one.bytes)) for one in report.variants
        ]
        return Table(title, ("variant", *_MODEL_COLUMNS), cells)
    title = f"held-out photos ({report.held_out.split}); float model: {accuracy_text(report.reference)}"
    rows = [(one.name, *_accuracy_cells(one.accuracy, one.agreement, size_bytes=one.bytes)) for one in report.variants]
    return Table(title, ("variant", *_ACCURACY_COLUMNS), rows)


def legend_lines(report: QuantizeReport) -> list[str]:
    """Return what the columns of the table mean, and what is not known."""
    return [LEGEND] if report.truth == "labels" else [LEGEND_OF_PICTURES, NOT_KNOWN]


def _print_unknown(variants: tuple[UnknownVariant, ...]) -> None:
    drawn = tuple(variants[0].drawn)
    rows = [
        (
            one.name,
            _share(one.held_out),
            "-" if one.unknown is None else _share(one.unknown),
            *(_share(one.drawn[name]) for name in drawn),
        )
        for one in variants
    ]
    print_table(("variant", "held-out", "unknown", *drawn), rows, title="photos taken for known (95% CI)")


def _share(found: Accepted) -> str:
    low, high = found.ci95
    return f"{found.share:.3f} ({low:.2f}..{high:.2f})"


def _print_candidates(candidates: Candidates) -> None:
    columns = ("candidate", "passed", *_ACCURACY_COLUMNS, "ms here", "seconds")
    rows = [
        (
            f"{candidate.name}, {variant.name}",
            "yes" if candidate.passed else "no",
            *_accuracy_cells(variant.accuracy, variant.agreement, size_bytes=variant.bytes),
            f"{variant.latency_ms:.2f}",
            f"{candidate.seconds:.0f}",
        )
        for candidate in candidates.tried
        for variant in candidate.variants
    ]
    photos = candidates.tried[0].variants[0].accuracy.photos
    print_table(columns, rows, title=f"candidates, measured on {photos} validation photos")
    for candidate in candidates.tried:
        if candidate.float_layers:
            echo(f"kept in float by {candidate.name!r}: {', '.join(candidate.float_layers)}")


def _model_cells(original: Accuracy, agreement: Agreement, *, size_bytes: int) -> tuple[str, ...]:
    share, _, *others = _accuracy_cells(original, agreement, size_bytes=size_bytes)
    return (share, *others)


def _accuracy_cells(accuracy: Accuracy, agreement: Agreement, *, size_bytes: int) -> tuple[str, ...]:
    low, high = accuracy.ci95
    drop_low, drop_high = agreement.drop_ci95_pp
    return (
        f"{accuracy.top1:.3f} ({low:.2f}..{high:.2f})",
        f"{agreement.drop_pp:+.2f} ({drop_low:+.1f}..{drop_high:+.1f})",
        f"{agreement.top1:.1%} ({agreement_interval(agreement)})",
        f"{size_bytes / 1e6:.2f}",
        f"{agreement.mae:.4f}",
    )
