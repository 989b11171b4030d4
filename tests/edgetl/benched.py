"""A real bench of the tiny bundle, run once per process, and copies of its result with single changes."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgetl_device._lib import documents, jsonfile
from edgetl_device.bench import accuracy, latency, photoset
from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.result import Result
from edgetl_device.bench.run import run_bench
from edgetl_device.bundle import Bundle

TINY = Path(__file__).parent.parent / "golden" / "tiny.edgetl"
Document = dict[str, Any]
Change = Callable[[Document], Any]


@functools.cache
def _bench() -> Document:
    document = run_bench(Bundle.open(TINY), BenchOptions(variants=["float32", "int8"], duration=0.05)).to_json()
    # The test machine is busy; how a bench reports that is tested with the bench.
    for run in document["runs"]:
        run["verdict"] = {"status": "valid", "reasons": [], "advice": [], "codes": []}
    return document


def result(change: Change | None = None) -> Document:
    """Return a complete result with ``change`` applied."""
    document = copy.deepcopy(_bench())
    if change is not None:
        change(document)
    photos, labels = document["evalset"]["photos"], document["bundle"]["labels"]
    document["evalset"]["digest"] = photoset.digest((labels[photo["label"]], photo["sha256"]) for photo in photos)
    document["digest"] = jsonfile.digest(document)
    return document


def save(path: Path, change: Change | None = None) -> Path:
    """Write a result with ``change`` applied, and return ``path``."""
    jsonfile.write_json(path, result(change))
    return path


def pair(tmp_path: Path, change: Change | None = None, before: Change | None = None) -> list[Path]:
    """Write two results: ``before`` and ``after``, each with its change."""
    return [save(tmp_path / "before.json", before), save(tmp_path / "after.json", change)]


def environment(**fields: Any) -> Change:
    """Return a change of fields of the environment."""
    return lambda document: document["environment"].update(fields)


def first_run(**fields: Any) -> Change:
    """Return a change of fields of the first run."""
    return lambda document: document["runs"][0].update(fields)


def set_times(document: Document, variant: str, invoke_ns: Sequence[int]) -> None:
    """Set a variant's model times; the other stages take 1 ns each."""
    run = run_of(document, variant)
    run["samples_ns"] = {stage: [1] * len(invoke_ns) for stage in latency.STAGES} | {"invoke": list(invoke_ns)}
    run["latency_ms"] = documents.to_json(latency.summary_ms(latency.Samples(run["samples_ns"])))


def set_wrong(document: Document, variant: str, wrong: Sequence[int]) -> None:
    """Make a variant's predictions correct except at these positions."""
    run, photos = run_of(document, variant), document["evalset"]["photos"]
    classes = len(document["bundle"]["labels"])
    run["answers"]["predicted"] = [(photo["label"] + (place in wrong)) % classes for place, photo in enumerate(photos)]
    n, correct = len(photos), len(photos) - len(wrong)
    run["accuracy"] = {
        "photos": n, "correct": correct, "top1": correct / n, "ci95": list(accuracy.wilson95(correct, n)),
    }  # fmt: skip


def run_of(document: Document, variant: str) -> Document:
    """Return the first run of a variant."""
    run: Document = next(run for run in document["runs"] if run["variant"] == variant)
    return run


def typed(change: Change | None = None) -> Result:
    """Return a result with ``change`` applied, as read from a file."""
    return documents.of_json(Result, result(change), name="result.json")
