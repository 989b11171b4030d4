"""A comparison in words and cells for people, and flat for CSV and gates. Not for: its numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from edgetl.comparison.gates import Subject
from edgetl_device.bench.accuracy import wilson95

from .paired import NO_DIFFERENCE
from .results import batch_of, run_name, thread_count

Document = Mapping[str, Any]
Comparison = Mapping[str, Any]
_CLASSES_SHOWN = 8
_TIMES = ("model", "photo")
_ASPECTS = {"model": "model time", "photo": "photo time", "accuracy": "accuracy"}


def groups(document: Document) -> list[tuple[str, list[Comparison]]]:
    """Return the comparisons that belong into one table, each group with its title."""
    first = document["sources"][0]["name"]
    if document["of"] == "runs":
        return [(f"against {first}", document["comparisons"])]
    variant = document.get("baseline")
    against = first if variant is None else variant if len(document["sources"]) == 1 else f"{variant} of {first}"
    found = []
    for source, members in groupby(document["comparisons"], lambda one: one["other"]["source"]):
        group = list(members)
        found.append((f"{source} against {against}{_shared_way(group)}", group))
    return found


def column_names(comparisons: Sequence[Comparison]) -> list[str]:
    """Return what the columns of a table are called; what all share but the variant is left to its title."""
    if "variant" in comparisons[0]["other"] and _shared_way(comparisons):
        return [one["other"]["variant"] for one in comparisons]
    return [name_of(one) for one in comparisons]


def table_rows(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """Return the rows of a table: a name, then one cell for each comparison."""
    cells = [_cells(comparison) for comparison in comparisons]
    return [[name, *(column[name] for column in cells)] for name in cells[0]]


def name_of(comparison: Comparison) -> str:
    """Return what is compared with the baseline: the run of a bench, or the training run."""
    other = comparison["other"]
    return run_name(other) if "variant" in other else str(other["source"])


def conclusion_lines(document: Document) -> list[str]:
    """Return what each comparison shows in a sentence, then warnings, then what was left out."""
    lines: list[str] = []
    tables = groups(document)
    for title, members in tables:
        for one in members:
            name = f"{title}: {name_of(one)}" if len(tables) > 1 else name_of(one)
            lines.append(f"{name}: {_conclusion(one)}")
            if classes := _classes(one):
                lines.append(f"{name}: photos right by class: {classes}")
    lines += _caution_lines(document)
    return [*lines, *warning_lines(document), *(f"no counterpart: {name}" for name in document["unpaired"])]


def warning_lines(document: Document) -> list[str]:
    """Return the warnings, each once with everything it is about."""
    about: dict[str, dict[str, None]] = {}
    for one in document["comparisons"]:
        for found in one["warnings"]:
            about.setdefault(found["text"], {})[found["about"]] = None
    return [f"warning: {text} ({'; '.join(names)})" for text, names in about.items()]


def source_lines(document: Document) -> list[str]:
    """Return one line about each thing that was compared."""
    lines = []
    for source in document["sources"]:
        if document["of"] == "results":
            parts = [f"bundle {source['bundle']['name']} {source['bundle']['digest'][:8]}"]
            parts += [str(source[key]) for key in ("board", "cpu", "governor") if not isinstance(source[key], dict)]
        else:
            configs = [one["config"] for one in document["sources"]]
            differing = [key for key in source["config"] if any(one.get(key) != configs[0].get(key) for one in configs)]
            parts = [f"{key} {source['config'][key]}" for key in dict.fromkeys(["backbone", *differing])]
        photos = f"{source['photos']} photos of {source['folder']}" if "folder" in source else ""
        photos = photos or f"{source['photos']} held-out photos"
        lines.append(f"{source['name']}: {', '.join([source['created'][:10], *parts, photos])}")
    return lines


def subjects(document: Document) -> list[Subject]:
    """Return what gates look at."""
    several = document["of"] == "results" and len(document["sources"]) > 2
    found = []
    for one in document["comparisons"]:
        source = one["other"]["source"]
        name = f"{source}: {name_of(one)}" if several else name_of(one)
        found.append(Subject(name, one["other"].get("variant", source), one["metrics"]))
    return found


def records(document: Document) -> list[dict[str, Any]]:
    """Return a flat record for each comparison, for CSV."""
    return [
        {f"baseline_{key}": value for key, value in one["baseline"].items()}
        | one["other"]
        | {f"{what}_verdict": one["ratios"][what]["verdict"] for what in _TIMES if "ratios" in one}
        | {"accuracy_verdict": one["agreement"]["verdict"]}
        | one["metrics"]
        | {f"baseline_{key}": value for key, value in one["baseline_metrics"].items()}
        | {"warnings": "; ".join(f"{found['text']} ({found['about']})" for found in one["warnings"])}
        for one in document["comparisons"]
    ]


def _shared_way(comparisons: Sequence[Comparison]) -> str:
    """Return the number of threads and the batch that all have, or "" where they do not share both."""
    ways = {(side["threads"], batch_of(side)) for one in comparisons for side in (one["baseline"], one["other"])}
    if len(ways) > 1:
        return ""
    threads, batch = ways.pop()
    return f", {thread_count(threads)}" + (f", batch {batch}" if batch > 1 else "")


def _cells(comparison: Comparison) -> dict[str, str]:
    old, new = comparison["baseline_metrics"], comparison["metrics"]
    agreement = comparison["agreement"]
    low, high = agreement["drop_ci95_pp"]

    def change(name: str) -> str:
        return f"{_number(old[name])} -> {_number(new[name])}"

    cells = {"size, MB": change("size_mb")}
    if "ratios" in comparison:
        cells |= {
            "model p50, ms": change("p50_ms"),
            "  model ratio": _ratio(comparison["ratios"]["model"]),
            "model p95, ms": change("p95_ms"),
            "photo p50, ms": change("photo_p50_ms"),
            "  photo ratio": _ratio(comparison["ratios"]["photo"]),
            "photo p95, ms": change("photo_p95_ms"),
            "peak memory, MB": change("peak_rss_mb"),
        }
    return cells | {
        "top-1, %": f"{old['accuracy_pct']:.1f} -> {new['accuracy_pct']:.1f}",
        "  95% intervals": " -> ".join(
            _interval(agreement[right], agreement["photos"]) for right in ("baseline_correct", "correct")
        ),
        "  drop, pp": f"{agreement['drop_pp']:+.2f} ({low:+.1f}..{high:+.1f})",
        "  lost, gained": f"{agreement['lost']}, {agreement['gained']}",
        "  McNemar p": f"{agreement['mcnemar_p']:.2g}",
        "agreement": f"{new['agreement_pct']:.1f}%",
        "  95% interval": _interval(agreement["agree"], agreement["photos"]) + "%",
    }


def _interval(photos: int, of: int) -> str:
    low, high = wilson95(photos, of)
    return f"{100 * low:.1f}..{100 * high:.1f}"


def _number(value: Any) -> str:
    """Write three digits or, above 1, two decimals."""
    if isinstance(value, dict):
        return "unknown"
    return f"{value:.{max(2, 2 - math.floor(math.log10(value))) if 0 < value < 1 else 2 if value < 1000 else 0}f}"


def _ratio(ratio: Mapping[str, Any]) -> str:
    low, high = ratio["ci95"]
    return f"{ratio['ratio']:.3f} ({low:.3f}..{high:.3f})"


def _conclusion(comparison: Comparison) -> str:
    found = {what: comparison["ratios"][what]["verdict"] for what in _TIMES if "ratios" in comparison}
    found["accuracy"] = comparison["agreement"]["verdict"]
    doubt = " (degraded)" if any(one["text"].startswith("degraded") for one in comparison["warnings"]) else ""
    parts = [
        f"{what} {verdict}{doubt if what in _TIMES else ''}"
        for what, verdict in found.items()
        if verdict != NO_DIFFERENCE
    ]
    if same := [_ASPECTS[what] for what, verdict in found.items() if verdict == NO_DIFFERENCE]:
        parts.append(f"{NO_DIFFERENCE} in {', '.join(same)}")
    return "; ".join(parts)


def _caution_lines(document: Document) -> list[str]:
    """Say what the intervals of times do not cover: that the next bench of the same model comes out otherwise."""
    if document["of"] != "results" or len(document["sources"]) == 1:
        return []
    digests = {source["bundle"]["digest"] for source in document["sources"]}
    if len(digests) == 1:
        return ["all ran the same bundle: where times differ, it is the machine or its state, not the model"]
    return ["intervals of times are about these benches: two of the same model may differ by some percent, too"]


def _classes(comparison: Comparison) -> str:
    rows = [row for row in comparison["agreement"]["per_class"] if row["correct"] != row["baseline_correct"]]
    rows.sort(key=lambda row: -abs(row["drop_pp"]))
    shown = [f"{row['label']} {row['baseline_correct']} -> {row['correct']} of {row['photos']}" for row in rows]
    more = len(shown) - _CLASSES_SHOWN
    return ", ".join(shown[:_CLASSES_SHOWN]) + (f", and {more} more classes" if more > 0 else "")
