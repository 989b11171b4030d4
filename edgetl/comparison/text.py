"""Render a comparison as text and tables, and as flat records for CSV and gates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from edgetl._lib.csv import Record
from edgetl.comparison.gates import Subject, Value
from edgetl_device._lib.documents import Unknown
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.truth import NOT_KNOWN, photos_called

from .document import Compared, Comparison, ResultSource, RunSide, TimeRatio, TrainedSource
from .paired import NO_DIFFERENCE
from .results import codes_of, run_name, thread_count

_CLASSES_SHOWN = 8
_TIMES = ("model", "photo")
_ASPECTS = {"model": "model time", "photo": "photo time", "accuracy": "accuracy"}


def groups(document: Comparison) -> list[tuple[str, list[Compared]]]:
    """Group comparisons by table, each group with its title."""
    first, variant = document.sources[0].name, document.baseline
    if document.of == "runs":
        return [(f"against {first}", list(document.comparisons))]
    against = first if variant is None else variant if len(document.sources) == 1 else f"{variant} of {first}"
    found = []
    for source, members in groupby(document.comparisons, lambda one: one.other.source):
        group = list(members)
        found.append((f"{source} against {against}{_shared_way(group)}", group))
    return found


def column_names(comparisons: Sequence[Compared]) -> list[str]:
    """Return the headers of a table's columns, without what all columns share (that is in the title)."""
    if _shared_way(comparisons):
        return [one.other.variant for one in comparisons if isinstance(one.other, RunSide)]
    return [name_of(one) for one in comparisons]


def table_rows(comparisons: Sequence[Compared]) -> list[list[str]]:
    """Return the rows of a table: a name, then one cell for each comparison."""
    cells = [_cells(comparison) for comparison in comparisons]
    return [[name, *(column[name] for column in cells)] for name in cells[0]]


def name_of(comparison: Compared) -> str:
    """Return the name of what is compared with the baseline: a run of a bench, or a training run."""
    other = comparison.other
    return run_name(other) if isinstance(other, RunSide) else other.source


def conclusion_lines(document: Comparison) -> list[str]:
    """Return a one-sentence conclusion per comparison, then warnings, then runs that were left out."""
    lines: list[str] = []
    tables = groups(document)
    for title, members in tables:
        for one in members:
            name = f"{title}: {name_of(one)}" if len(tables) > 1 else name_of(one)
            lines.append(f"{name}: {_conclusion(one)}")
            if classes := _classes(one):
                lines.append(f"{name}: photos right by class: {classes}")
    if any(source.truth == "model" for source in document.sources):
        lines.append(NOT_KNOWN)
    lines += caution_lines(document)
    return [*lines, *warning_lines(document), *(f"no counterpart: {name}" for name in document.unpaired)]


def warning_lines(document: Comparison) -> list[str]:
    """Return each warning once, with everything it applies to."""
    about: dict[str, dict[str, None]] = {}
    for one in document.comparisons:
        for found in one.warnings:
            about.setdefault(found.text, {})[found.about] = None
    return [f"warning: {text} ({'; '.join(names)})" for text, names in about.items()]


def source_lines(document: Comparison) -> list[str]:
    """Return one line about each result or run that was compared."""
    configs = [one.config for one in document.sources if isinstance(one, TrainedSource)]
    lines = []
    for source in document.sources:
        photos = f"{source.photos} {photos_called(source.truth)}"
        if isinstance(source, ResultSource):
            parts = [f"bundle {source.bundle.name} {source.bundle.digest[:8]}"]
            where = (source.board, source.cpu, source.governor)
            parts += [one for one in where if not isinstance(one, Unknown)]
            if source.folder is not None:
                photos = f"{source.photos} photos of {source.folder}"
        else:
            differing = [key for key in source.config if any(one.get(key) != configs[0].get(key) for one in configs)]
            parts = [f"{key} {source.config[key]}" for key in dict.fromkeys(["backbone", *differing])]
        lines.append(f"{source.name}: {', '.join([source.created[:10], *parts, photos])}")
    return lines


def subjects(document: Comparison) -> list[Subject]:
    """Return the subjects of gates."""
    several = document.of == "results" and len(document.sources) > 2
    found = []
    for one in document.comparisons:
        name = f"{one.other.source}: {name_of(one)}" if several else name_of(one)
        variant = one.other.variant if isinstance(one.other, RunSide) else one.other.source
        found.append(Subject(name, variant, one.metrics, codes=codes_of(one.codes)))
    return found


def records(document: Comparison) -> list[Record]:
    """Return a flat record for each comparison, for CSV."""
    return [
        {f"baseline_{key}": value for key, value in vars(one.baseline).items()}
        | vars(one.other)
        | {f"{what}_verdict": ratio.verdict for what, ratio in _times(one).items()}
        | ({"accuracy_verdict": one.agreement.verdict} if _has_accuracy(one) else {})
        | one.metrics
        | {f"baseline_{key}": value for key, value in one.baseline_metrics.items()}
        | {"warnings": "; ".join(f"{found.text} ({found.about})" for found in one.warnings)}
        for one in document.comparisons
    ]


def _times(comparison: Compared) -> dict[str, TimeRatio]:
    """Return the ratios of times by name; none for training runs."""
    ratios = comparison.ratios
    return {} if ratios is None else {"model": ratios.model, "photo": ratios.photo}


def _shared_way(comparisons: Sequence[Compared]) -> str:
    """Return the number of threads and the batch that all share; "" if they differ in either."""
    sides = [side for one in comparisons for side in (one.baseline, one.other) if isinstance(side, RunSide)]
    ways = {(side.threads, side.batch) for side in sides}
    if len(ways) != 1:
        return ""
    threads, batch = ways.pop()
    return f", {thread_count(threads)}" + (f", batch {batch}" if batch > 1 else "")


def _cells(comparison: Compared) -> dict[str, str]:
    old, new = comparison.baseline_metrics, comparison.metrics
    agreement, ratios = comparison.agreement, comparison.ratios
    low, high = agreement.drop_ci95_pp

    def change(name: str) -> str:
        return f"{_number(old[name])} -> {_number(new[name])}"

    cells = {"size, MB": change("size_mb")}
    if ratios is not None:
        cells |= {
            "model p50, ms": change("p50_ms"),
            "  model ratio": _ratio(ratios.model),
            "model p95, ms": change("p95_ms"),
            "photo p50, ms": change("photo_p50_ms"),
            "  photo ratio": _ratio(ratios.photo),
            "photo p95, ms": change("photo_p95_ms"),
            "peak memory, MB": change("peak_rss_mb"),
        }
    if _has_accuracy(comparison):
        cells |= {
            "top-1, %": f"{old['accuracy_pct']:.1f} -> {new['accuracy_pct']:.1f}",
            "  95% intervals": " -> ".join(
                _interval(right, agreement.photos) for right in (agreement.baseline_correct, agreement.correct)
            ),
            "  drop, pp": f"{agreement.drop_pp:+.2f} ({low:+.1f}..{high:+.1f})",
            "  lost, gained": f"{agreement.lost}, {agreement.gained}",
            "  McNemar p": f"{agreement.mcnemar_p:.2g}",
        }
    return cells | {
        "agreement": f"{new['agreement_pct']:.1f}%",
        "  95% interval": _interval(agreement.agree, agreement.photos) + "%",
    }


def _has_accuracy(comparison: Compared) -> bool:
    """Return whether accuracy is known: it takes labelled photos."""
    return not isinstance(comparison.baseline_metrics["accuracy_pct"], Unknown)


def _interval(photos: int, of: int) -> str:
    low, high = wilson95(photos, of)
    return f"{100 * low:.1f}..{100 * high:.1f}"


def _number(value: Value) -> str:
    """Format with three digits or, above 1, two decimals."""
    if isinstance(value, Unknown):
        return "unknown"
    return f"{value:.{max(2, 2 - math.floor(math.log10(value))) if 0 < value < 1 else 2 if value < 1000 else 0}f}"


def _ratio(ratio: TimeRatio) -> str:
    low, high = ratio.ci95
    return f"{ratio.ratio:.3f} ({low:.3f}..{high:.3f})"


def _conclusion(comparison: Compared) -> str:
    found: dict[str, str] = {what: ratio.verdict for what, ratio in _times(comparison).items()}
    if _has_accuracy(comparison):
        found["accuracy"] = comparison.agreement.verdict
    doubt = " (degraded)" if any(one.kind == "degraded" for one in comparison.warnings) else ""
    parts = [
        f"{what} {verdict}{doubt if what in _TIMES else ''}"
        for what, verdict in found.items()
        if verdict != NO_DIFFERENCE
    ]
    if same := [_ASPECTS[what] for what, verdict in found.items() if verdict == NO_DIFFERENCE]:
        parts.append(f"{NO_DIFFERENCE} in {', '.join(same)}")
    return "; ".join(parts) or f"{comparison.agreement.agree} of {comparison.agreement.photos} answers the same"


def caution_lines(document: Comparison) -> list[str]:
    """Return notes on what the intervals of times do not cover: the variation between benches."""
    sources = [source for source in document.sources if isinstance(source, ResultSource)]
    if len(sources) < 2:
        return []
    digests = {source.bundle.digest for source in sources}
    if len(digests) == 1:
        return ["all ran the same bundle: differences in time come from the machine or its state, not the model"]
    return [
        "intervals of times cover only these benches: two benches of the same model may also differ by a few percent"
    ]


def _classes(comparison: Compared) -> str:
    if not _has_accuracy(comparison):
        return ""
    rows = [row for row in comparison.agreement.per_class if row.correct != row.baseline_correct]
    rows.sort(key=lambda row: -abs(row.drop_pp))
    shown = [f"{row.label} {row.baseline_correct} -> {row.correct} of {row.photos}" for row in rows]
    more = len(shown) - _CLASSES_SHOWN
    return ", ".join(shown[:_CLASSES_SHOWN]) + (f", and {more} more classes" if more > 0 else "")
