"""Format the documents of the commands as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ._lib.documents import Unknown
from .text import shown
from .truth import NOT_KNOWN, SAME, Truth, share_called

if TYPE_CHECKING:
    from .adapt.result import Adapted
    from .bench.result import Result, ResultRun
    from .classifier import Classified, Prediction
    from .doctor import Report
    from .slots import SlotsState
    from .update.run import UpdateReport
    from .verify import Check, Verification


_LEGENDS: dict[Truth, str] = {
    "labels": "drop pp: accuracy lost, percentage points",
    "model": f"as original: {SAME}; agree: with that of the float model; {NOT_KNOWN}",
}


def verification_lines(report: Verification) -> list[str]:
    """Return one line per check: status, name, what was found."""
    return _check_lines(report.checks)


def doctor_lines(report: Report) -> list[str]:
    """Return one line per check, and one with the fix for each that is not ok."""
    width = max(len(check.name) for check in report.checks)
    lines = []
    for check in report.checks:
        lines.append(shown(f"{check.status:<8} {check.name:<{width}}  {check.found}"))
        if check.fix and check.status != "ok":
            lines.append(shown(f"{'':<8} {'':<{width}}  -> {check.fix}"))
    return lines


def prediction_line(photo: str, predictions: Iterable[Prediction], error: str | None) -> str:
    """Return the predictions of one photo, or why it was not read."""
    if error is not None:
        return shown(f"not read: {error}")
    return shown(f"{photo}: " + _ranked(predictions))


def classified_line(row: Classified) -> str:
    """Return the answer for one photo, or why it was not read."""
    if row.error is None and row.unknown:
        return shown(f"{row.photo}: unknown ({_ranked(row.predictions)})")
    return prediction_line(row.photo, row.predictions, row.error)


def _ranked(predictions: Iterable[Prediction]) -> str:
    return "  ".join(f"{one.label} {one.probability:.3f}" for one in predictions)


def result_lines(result: Result) -> list[str]:
    """Return a table with one row per run, its legend, reasons of the verdicts, and the machine."""
    truth = result.evalset.truth
    scores = (share_called(truth), "drop pp" if truth == "labels" else "agree")
    columns = ("variant", "thr.", "p50 ms", "p95 ms", "photo ms", *scores, "RAM MB", "verdict")
    lines = table([columns, *(_row(run, truth) for run in result.runs)])
    lines.append(f"p50, p95: of the model alone; photo: from file to label, p50; {_LEGENDS[truth]}")
    reasons: dict[str, list[str]] = {}
    for run in result.runs:
        for reason in run.verdict.reasons:
            reasons.setdefault(f"{run.verdict.status}: {reason}", []).append(run.variant)
    lines += [f"{reason} ({', '.join(dict.fromkeys(variants))})" for reason, variants in reasons.items()]
    lines += [f"left out: {left}: {left.why}" for left in result.skipped]
    environment = result.environment
    runtimes = sorted({f"{run.runtime.name} {run.runtime.version}" for run in result.runs})
    machine = [environment.board, environment.cpu, environment.os, *runtimes]
    lines.append(", ".join(part for part in machine if isinstance(part, str)))
    return [shown(line) for line in lines]


def adapted_lines(result: Adapted) -> list[str]:
    """Return a table of what each variant gained and lost, what it takes for known, and what was left out."""
    rows = [("variant", "before", "after", "lost pp", "95% CI", f"new photos of {result.label}", "known of them")]
    known = {one.name: one.taught for one in result.unknown}
    for one in result.variants:
        low, high = one.old.drop_ci95_pp
        taught = f"{one.taught.correct} of {one.taught.photos} right"
        if one.taught_before is not None:
            taught += f", {one.taught_before.correct} before"
        rows.append(
            (
                one.name,
                f"{one.old.before.top1:.3f}",
                f"{one.old.after.top1:.3f}",
                f"{one.old.drop_pp:+.2f}",
                f"{low:+.1f} to {high:+.1f}",
                taught,
                f"{known[one.name].accepted} of {known[one.name].photos}",
            )
        )
    photos = result.variants[0].old.before.photos
    lines = [*table(rows), f"before, after, lost: on the {photos} held-out photos that the bundle had"]
    lines += [
        f"unknown photos in the bundle that {one.name} takes for known: {one.in_bundle.accepted} of "
        f"{one.in_bundle.photos}, {one.in_bundle_before.accepted} before"
        for one in result.unknown
        if one.in_bundle is not None and one.in_bundle_before is not None
    ]
    lines += [f"left out: {left.name}: {left.why}" for left in result.dropped]
    used = f"{result.label}: {result.kind}, learned from {result.photos.shots} photos in {result.seconds:.1f} s"
    if result.bundle is None:
        lines.append(f"{used}; refused, nothing was written")
    else:
        unsigned = "; the signatures of the old one do not cover it" if result.was_signed else ""
        lines.append(f"{used}; {result.bundle.name}, {result.bundle.digest[:12]}, is not signed{unsigned}")
    return [shown(line) for line in lines]


def update_lines(report: UpdateReport) -> list[str]:
    """Return the outcome, the checks, and the bundles of the slots."""
    why = f": {report.why}" if report.why else ""
    return [shown(f"{report.outcome}{why}"), *_check_lines(report.checks), *slots_lines(report.slots)]


def slots_lines(state: SlotsState) -> list[str]:
    """Return the bundles of the slots, the trusted keys, and the last event."""
    bundles = {"runs": state.confirmed, "previous": state.previous, "pending": state.pending}
    lines = [f"{name:<9} slot {one.slot}: {one.digest[:12]}" for name, one in bundles.items() if one is not None]
    lines.append(f"trusts    {', '.join(key.id for key in state.trust) or 'every bundle, signed or not'}")
    if state.events:
        lines.append(f"last      {state.events[-1].time}: {state.events[-1].what}")
    return [shown(line) for line in lines]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _row(run: ResultRun, truth: Truth) -> tuple[str, ...]:
    agreement = run.agreement
    if isinstance(agreement, Unknown):
        paired = "-"
    else:
        paired = f"{agreement.drop_pp:+.2f}" if truth == "labels" else f"{agreement.top1:.3f}"
    return (
        run.variant,
        str(run.threads),
        _ms(run.latency_ms.invoke.p50_ms),
        _ms(run.latency_ms.invoke.p95_ms),
        _ms(run.latency_ms.total.p50_ms),
        f"{run.accuracy.top1:.3f}",
        paired,
        "-" if isinstance(run.peak_rss_bytes, Unknown) else f"{run.peak_rss_bytes / 1e6:.0f}",
        run.verdict.status,
    )


def _ms(value: float | Unknown) -> str:
    return "-" if isinstance(value, Unknown) else f"{value:.2f}"


def _check_lines(checks: Sequence[Check]) -> list[str]:
    width = max((len(check.name) for check in checks), default=0)
    return [shown(f"{check.status:<8} {check.name:<{width}}  {check.detail}") for check in checks]
