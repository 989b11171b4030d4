"""Run a variant under MLPerf Inference's LoadGen (``mlcommons-loadgen``), with its scenarios, log and verdict.

As in MLPerf, only the model is timed, from preprocessed pixels to probabilities; photos are decoded in advance.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from edgetl_device._lib.documents import Milliseconds, Unknown
from edgetl_device.classifier import Classifier
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.preprocess import Pixels

from .photoset import TIMED_BYTES

PACKAGE = "mlcommons-loadgen"
SCENARIOS = {"single-stream": "SingleStream", "offline": "Offline"}
SUMMARY = "mlperf_log_summary.txt"

# LoadGen expects 64-bit integers; responses are not scored in performance mode, so they carry no data.
_NO_DATA = (0, 0)


@dataclass(frozen=True)
class LoadgenSummary:
    """LoadGen's summary.

    Attributes:
        verdict: VALID or INVALID.
        metric: ``p90_ms`` is the early stopping estimate of SingleStream.
        value: Value of the metric.
        summary: mlperf_log_summary.txt
    """

    verdict: str
    metric: Literal["p90_ms", "samples_per_s", "none"]
    value: Milliseconds | Unknown
    summary: str


@dataclass(frozen=True)
class _Driven:
    scenario: Literal["single-stream", "offline"]
    version: str
    log: str


@dataclass(frozen=True)
class LoadgenRun(LoadgenSummary, _Driven):
    """Result of a run driven by MLPerf Inference's LoadGen.

    Attributes:
        scenario: ``single-stream`` (one photo, the next when it is done) or ``offline`` (all at once).
        version: Version of mlcommons-loadgen.
        log: The name of the folder of its log.
        verdict: VALID or INVALID.
        metric: ``p90_ms`` is the early stopping estimate of SingleStream.
        value: Value of the metric.
        summary: mlperf_log_summary.txt
    """


def require(scenario: str) -> ModuleType:
    """Return LoadGen's module.

    Raises:
        InputError: There is no such scenario.
        Unavailable: LoadGen is not installed here.
    """
    if scenario not in SCENARIOS:
        raise InputError(f"scenario {scenario!r}", why=f"must be one of {', '.join(SCENARIOS)}")
    try:
        return importlib.import_module("mlperf_loadgen")
    except ImportError as error:
        raise Unavailable(
            "MLPerf's LoadGen is not installed here", why=str(error), hint=f"Install it: pip install {PACKAGE}"
        ) from None


def drive(
    classifier: Classifier,
    photos: Sequence[bytes],
    *,
    scenario: str,
    duration_s: float,
    min_inferences: int,
    fastest_ms: float,
    folder: Path,
) -> LoadgenRun:
    """Let LoadGen run a scenario in performance mode, and keep its log.

    Args:
        classifier: Loaded and warm.
        photos: Image files; as many as fit into 64 MB are decoded before the clock starts, and stay in memory.
        scenario: ``single-stream`` (one photo, the next when it is done) or ``offline`` (all at once).
        duration_s: Minimum duration.
        min_inferences: Minimum number of inferences.
        fastest_ms: Shortest time of one inference, for LoadGen's planning: a query that ends too early is invalid.
        folder: Folder for LoadGen's log; created if missing.

    Raises:
        Unavailable: LoadGen is not installed here.
        OSError: Its log cannot be written.
    """
    module = require(scenario)
    folder.mkdir(parents=True, exist_ok=True)
    most = max(1, TIMED_BYTES // math.prod(classifier.bundle.preprocess.size.shape))
    pixels = [classifier.pixels(photo) for photo in photos[:most]]
    failures: list[BaseException] = []

    def issue(queries: Sequence[Any]) -> None:
        # An exception must not pass through LoadGen's C++: it would end the process.
        for query in queries:
            if not failures:
                _run(classifier, pixels[query.index], failures)
            module.QuerySamplesComplete([module.QuerySampleResponse(query.id, *_NO_DATA)])

    settings, log = module.TestSettings(), module.LogSettings()
    settings.scenario = getattr(module.TestScenario, SCENARIOS[scenario])
    settings.mode = module.TestMode.PerformanceOnly
    settings.min_duration_ms = round(1000 * duration_s)
    settings.min_query_count = min_inferences
    settings.single_stream_expected_latency_ns = max(1, round(1e6 * fastest_ms))
    # Offline's one query has expected rate times duration (plus a tenth) samples, or at least min_query_count.
    # Twice, as a small model runs faster back to back than it was timed between the other stages of the bench.
    settings.offline_expected_qps = 2 * max(1000 / fastest_ms, min_inferences / duration_s)
    log.log_output.outdir = str(folder)
    log.log_output.copy_summary_to_stdout = False
    log.enable_trace = False
    under_test = module.ConstructSUT(issue, lambda: None)
    library = module.ConstructQSL(len(pixels), len(pixels), lambda _: None, lambda _: None)
    try:
        module.StartTestWithLogSettings(under_test, library, settings, log)
    finally:
        module.DestroyQSL(library)
        module.DestroySUT(under_test)
    if failures:
        raise failures[0]
    found = read_summary((folder / SUMMARY).read_text(encoding="utf-8", errors="replace"))
    return LoadgenRun(
        scenario=scenario,  # type: ignore[arg-type]  # require() has checked it
        version=importlib.metadata.version(PACKAGE),
        log=folder.name,
        **vars(found),
    )


def read_summary(text: str) -> LoadgenSummary:
    """Return what LoadGen's summary says; its metric is ``p90_ms`` for SingleStream, ``samples_per_s`` for Offline."""
    verdict = re.search(r"^Result is : (\w+)$", text, re.MULTILINE)
    p90 = re.search(r"Early stopping 90\.0th percentile estimate: (\d+)", text)
    rate = re.search(r"^Samples per second: ([\d.e+]+)$", text, re.MULTILINE)
    if verdict is None:
        raise Unavailable("LoadGen wrote no verdict", why=text.strip()[:200] or "its summary is empty")
    if p90:
        return LoadgenSummary(verdict[1], "p90_ms", int(p90[1]) / 1e6, text)
    if rate:
        return LoadgenSummary(verdict[1], "samples_per_s", float(rate[1]), text)
    return LoadgenSummary(verdict[1], "none", Unknown("the summary has no estimate: too few queries"), text)


def _run(classifier: Classifier, pixels: Pixels, failures: list[BaseException]) -> None:
    try:
        classifier.run(pixels)
    except BaseException as error:
        failures.append(error)
