"""Bench results (``edgetl.result/1``) against each other: across variants, boards and dates.

Not for: training runs (``runs``), and drawing (``edgetl.reports``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgetl import __version__
from edgetl.comparison.gates import BASELINE_METRICS, COMPARISON_METRICS, RUN_METRICS, Subject, values
from edgetl_device.bench import result
from edgetl_device.errors import InputError

from .bootstrap import BLOCKS, RESAMPLES, SEED, ratio_of_medians
from .comparability import circumstances, require_alike, require_valid, run_circumstances
from .paired import NO_DIFFERENCE, Answer, compare_answers

SCHEMA = "edgetl.comparison/1"


@dataclass(frozen=True)
class Source:
    """A result and what the comparison calls it."""

    name: str
    path: Path
    document: dict[str, Any]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The runs of the result."""
        found: list[dict[str, Any]] = self.document["runs"]
        return found


@dataclass(frozen=True)
class _Measured:
    """One run of one source."""

    source: Source
    run: dict[str, Any]

    @property
    def key(self) -> tuple[str, int]:
        return self.run["variant"], self.run["threads"]

    def called(self, *, with_source: bool) -> str:
        name = run_name(self.run)
        return f"{self.source.name}: {name}" if with_source else name


def run_name(run: Mapping[str, Any]) -> str:
    """Return what people call a run: ``int8, 2 threads``, its batch where there is one, and an unusual delegate."""
    name, delegate = f"{run['variant']}, {thread_count(run['threads'])}", run["delegate"]
    if batch_of(run) > 1:
        name += f", batch {batch_of(run)}"
    # What the runtimes for ONNX, and older results, do not say is unknown.
    if isinstance(delegate, dict) or delegate == "xnnpack":
        return name
    return f"{name}, {'no delegate' if delegate == 'none' else delegate}"


def batch_of(run: Mapping[str, Any]) -> int:
    """Return how many images an inference of a run has; results from before there was a choice do not say 1."""
    return int(run.get("batch", 1))


def thread_count(threads: int) -> str:
    """Return ``1 thread`` or ``2 threads``."""
    return f"{threads} thread{'s' if threads > 1 else ''}"


def compare_results(paths: Sequence[Path], *, baseline: str | None = None) -> dict[str, Any]:
    """Compare results with the first of them.

    Each run is compared with the run of the first result that has the same variant, batch and number of threads; where
    no number of threads is shared but each has one only, with that, and a warning. Runs of unlike batches are never
    compared: the times of one are of more images than those of the other. With one result, or with ``baseline``,
    every run is compared with one variant of the first result.

    Args:
        paths: Files of results.
        baseline: A variant of the first result. With one result the default is its first.

    Returns:
        ``edgetl.comparison/1``: ``sources``; ``baseline`` where one was chosen; ``comparisons``, each with the
        ``ratios`` of medians, the ``agreement`` of the answers, ``warnings`` and the flat ``metrics``; ``unpaired``,
        the runs without a counterpart.

    Raises:
        InputError: The results are of unlike measurements, one that is used is invalid, or nothing can be paired.
    """
    sources = _read(paths)
    first = sources[0]
    for other in sources[1:]:
        require_alike(first.document, first.name, other.document, other.name)
    if baseline is None and len(sources) == 1:
        baseline = first.runs[0]["variant"]
    pairs, unpaired = _paired(sources, baseline)
    if not pairs:
        raise InputError(
            f"{' and '.join(source.name for source in sources)} have nothing to compare",
            why="; ".join(f"{source.name} has {', '.join(map(run_name, source.runs))}" for source in sources),
            hint="Bench the same variants, or name the one to compare with: --baseline VARIANT",
        )
    for measured in {id(one.run): one for pair in pairs for one in pair}.values():
        require_valid(measured.run, measured.called(with_source=True))
    return {
        "schema": SCHEMA,
        "producer": {"name": "edgetl", "version": __version__},
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "of": "results",
        **({} if baseline is None else {"baseline": baseline}),
        "sources": [_describe(source) for source in sources],
        "bootstrap": {"resamples": RESAMPLES, "blocks": BLOCKS, "seed": SEED, "interval": "95%, percentiles"},
        "comparisons": [_compare(old, new, several=len(sources) > 1) for old, new in pairs],
        "unpaired": unpaired,
    }


def _read(paths: Sequence[Path]) -> list[Source]:
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    return [Source(name, path, result.read(path)) for name, path in zip(names, paths, strict=True)]


def _paired(sources: Sequence[Source], baseline: str | None) -> tuple[list[tuple[_Measured, _Measured]], list[str]]:
    """Return pairs (baseline, other) in the order of the results, and the names of runs that have no counterpart."""
    first = sources[0]
    known = list(dict.fromkeys(run["variant"] for run in first.runs))
    if baseline is not None and baseline not in known:
        raise InputError(f"--baseline {baseline}: is not in {first.name}", why=f"it has {', '.join(known)}")
    pairs: list[tuple[_Measured, _Measured]] = []
    alone: list[_Measured] = []
    for source in sources if baseline is not None else sources[1:]:
        for run in source.runs:
            if source is first and run["variant"] == baseline:
                continue
            new = _Measured(source, run)
            old = _counterpart(first, baseline or run["variant"], source, run)
            if old is None:
                alone.append(new)
            else:
                pairs.append((old, new))
    used = {id(one.run) for pair in pairs for one in pair}
    alone += [_Measured(first, run) for run in first.runs if id(run) not in used]
    return pairs, [one.called(with_source=True) for one in alone]


def _counterpart(first: Source, variant: str, source: Source, run: dict[str, Any]) -> _Measured | None:
    def alike(runs: Sequence[dict[str, Any]], variant: str) -> list[dict[str, Any]]:
        return [one for one in runs if one["variant"] == variant and batch_of(one) == batch_of(run)]

    candidates = alike(first.runs, variant)
    same_threads = [one for one in candidates if one["threads"] == run["threads"]]
    # Several with the same threads differ in their delegates.
    for one in [one for one in same_threads if one["delegate"] == run["delegate"]] or same_threads[:1]:
        return _Measured(first, one)
    rivals = alike(source.runs, run["variant"])
    return _Measured(first, candidates[0]) if len(candidates) == len(rivals) == 1 else None


def _describe(source: Source) -> dict[str, Any]:
    document = source.document
    environment = document["environment"]
    return {
        "name": source.name,
        "path": str(source.path),
        "created": document["created"],
        "digest": document["digest"],
        "bundle": {key: document["bundle"][key] for key in ("name", "digest")},
        "photos": len(document["evalset"]["photos"]),
        **({"folder": document["evalset"]["name"]} if document["evalset"].get("source") == "folder" else {}),
        "board": environment["board"],
        "cpu": environment["cpu"],
        "governor": environment["governor"],
    }


def _compare(old: _Measured, new: _Measured, *, several: bool) -> dict[str, Any]:
    run = new.run
    old_name, new_name = old.called(with_source=several), new.called(with_source=several)
    warnings = circumstances(old.source.document, new.source.document, f"{old.source.name} / {new.source.name}")
    warnings += run_circumstances(old.run, old_name, run, new_name)
    agreement = compare_answers(_answers(old), _answers(new))
    comparison: dict[str, Any] = {
        "baseline": _side(old),
        "other": _side(new),
        "ratios": {
            "model": _ratio(old.run["samples_ns"]["invoke"], run["samples_ns"]["invoke"]),
            "photo": _ratio(list(_totals(old.run)), list(_totals(run))),
            "size": run["bytes"] / old.run["bytes"],
        },
        "agreement": agreement,
        "warnings": warnings,
    }
    comparison["baseline_metrics"] = values(BASELINE_METRICS, old.run)
    comparison["metrics"] = values(COMPARISON_METRICS, run | comparison)
    return comparison


def _side(measured: _Measured) -> dict[str, Any]:
    run = measured.run
    shared = {key: run[key] for key in ("variant", "threads", "delegate")}
    return {"source": measured.source.name} | shared | {"batch": batch_of(run)}


def _answers(measured: _Measured) -> list[Answer]:
    document = measured.source.document
    labels = document["bundle"]["labels"]
    return [
        Answer(photo["file"], photo["sha256"], labels[photo["label"]], labels[index])
        for photo, index in zip(document["evalset"]["photos"], measured.run["answers"]["predicted"], strict=True)
    ]


def _totals(run: dict[str, Any]) -> Iterator[int]:
    return (sum(parts) for parts in zip(*run["samples_ns"].values(), strict=True))


def _ratio(old: list[int], new: list[int]) -> dict[str, Any]:
    ratio = ratio_of_medians(new, old)
    low, high = ratio.ci95
    verdict = "faster" if high < 1 else "slower" if low > 1 else NO_DIFFERENCE
    return {"ratio": ratio.value, "ci95": list(ratio.ci95), "verdict": verdict}


def gate_subjects(document: dict[str, Any]) -> list[Subject]:
    """Return what gates look at; a variant that could not run here has no numbers, so its gates fail."""
    found = []
    for run in document["runs"]:
        invalid = "; ".join(run["verdict"]["reasons"]) if run["verdict"]["status"] == "invalid" else ""
        found.append(Subject(run_name(run), run["variant"], values(RUN_METRICS, run), invalid))
    measured = {run["variant"] for run in document["runs"]}
    # What cannot run with one delegate but was measured with another has its numbers.
    for row in (row for row in document["skipped"] if row["variant"] not in measured):
        unknown = {metric.name: {"unknown": row["why"]} for metric in RUN_METRICS}
        found.append(Subject(row["variant"], row["variant"], unknown))
    return found
