"""The document of one bench (``edgetl.result/1``): put together, and checked when it is read back.

Not for: measuring (``bench``), and comparing results.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from importlib.resources import files
from typing import Any

from edgetl_device import __version__, jsonfile
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError

from . import predictions
from .latency import STAGES, Samples
from .percentiles import PERCENTILES, percentile, too_few

SCHEMA = "edgetl.result/1"
STATUSES = ("valid", "degraded", "invalid")

_RUN_FIELDS = {
    "variant", "format", "precision", "threads", "runtime", "delegate", "bytes", "load_ms", "first_inference_ms",
    "warmup", "samples_ns", "latency_ms", "throughput_per_s", "peak_rss_bytes", "accuracy", "agreement", "per_class",
    "answers", "verdict",
}  # fmt: skip


def assemble(
    bundle: Bundle,
    *,
    evalset: dict[str, Any],
    settings: dict[str, Any],
    environment: dict[str, Any],
    harness: dict[str, Any],
    runs: list[dict[str, Any]],
    skipped: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the document of a bench.

    Args:
        evalset: The photos (:func:`.predictions.evalset`) and their ``reference``.
        settings: What was asked for: variants, threads, delegates, batches, duration_s, min_inferences, rounds, ...
        environment: :func:`environment.describe`, with :func:`environment.state` of three times: ``before``,
            ``during`` (a list, after each round but the last) and ``after``.
        harness: What the bench itself costs (:func:`.overhead.cost`).
        runs: One row for each variant, delegate, number of threads and batch.
        skipped: Variants that this machine cannot run: ``variant`` and ``why``.
    """
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "producer": {"name": "edgetl-device", "version": __version__},
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "bundle": {
            "name": bundle.path.name,
            "digest": bundle.digest,
            "labels": list(bundle.labels),
            "preprocess": bundle.preprocess.to_json(),
        },
        "evalset": evalset,
        "settings": settings,
        "environment": environment,
        "harness": harness,
        "runs": runs,
        "skipped": skipped,
    }
    document["digest"] = jsonfile.digest(document)
    return document


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a result and check that it is whole and that its percentiles are those of its samples.

    Raises:
        InputError: It is absent, damaged, edited, or of another schema.
    """
    document = jsonfile.read_json(path, SCHEMA)
    try:
        if document.get("digest") != jsonfile.digest(document):
            raise ValueError("it does not match its own digest")
        if not document["runs"]:
            raise ValueError("it has no runs")
        for run in document["runs"]:
            _check_run(run)
        predictions.check(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{os.fspath(path)}: not a whole result", why=str(error), hint="It is damaged or edited; bench again."
        ) from None
    return document


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a result, for tools that read it without this package."""
    schema: dict[str, Any] = json.loads(files("edgetl_device").joinpath("schemas", "result-1.schema.json").read_text())
    return schema


def _check_run(run: dict[str, Any]) -> None:
    if missing := _RUN_FIELDS - set(run):
        raise ValueError(f"a run lacks {', '.join(sorted(missing))}")
    if run["verdict"]["status"] not in STATUSES:
        raise ValueError(f"verdict {run['verdict']['status']!r}")
    samples = run["samples_ns"]
    if set(samples) != set(STAGES) or len({len(column) for column in samples.values()}) != 1:
        raise ValueError("samples_ns must have every stage, all of the same length")
    columns = {stage: samples[stage] for stage in STAGES}
    columns["total"] = Samples(columns).total_ns()
    if set(columns) != set(run["latency_ms"]):
        raise ValueError("latency_ms must have every stage, and their total")
    for stage, column in columns.items():
        if {f"p{percent}" for percent in PERCENTILES} - set(run["latency_ms"][stage]):
            raise ValueError(f"latency_ms of {stage} lacks a percentile")
        if not all(_is_of(column, int(name[1:]), value) for name, value in run["latency_ms"][stage].items()):
            raise ValueError(f"the percentiles of {run['variant']} are not those of its samples")


def _is_of(column: list[int], percent: int, value: Any) -> bool:
    """Tell whether this is what the samples give; earlier versions gave percentiles of fewer samples, too."""
    if isinstance(value, dict):
        return too_few(len(column), percent) is not None
    return bool(value == percentile(column, percent) / 1e6)
