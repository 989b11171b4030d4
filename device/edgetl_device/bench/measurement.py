"""One setup of a bench: load it, measure it in rounds, and turn it into a run of the result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgetl_device._lib.documents import Named, Unknown
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.machine import energy
from edgetl_device.scores import AmongAccepted, Scores

from . import accuracy, latency, percentiles, predictions
from .latency import StageSamples, Stopwatch
from .loadgen import LoadgenRun
from .operators import OperatorTimes
from .photoset import PhotoSet
from .reference import BenchReference
from .result import ResultRun, Warmup, Window
from .sweep import Setup
from .verdict import Verdict

# Of ONNX variants.
_NO_DELEGATES = Unknown("delegates exist for TFLite only; ONNX Runtime used its CPU provider")


@dataclass
class Measurement:
    """One loaded setup and its measurements so far."""

    setup: Setup
    classifier: Classifier
    load_ns: int
    stopwatch: Stopwatch
    windows: list[Window] = field(default_factory=list)
    usage: energy.Usage = field(default_factory=energy.Usage)

    def sample(self, duration_s: float, min_inferences: int, meter: energy.Meter | None) -> None:
        """Measure one more window."""

        def measure() -> int:
            first, started_s = len(invoke), time.monotonic()
            self.stopwatch.measure(duration_s, min_inferences=min_inferences)
            taken = invoke[first:]
            self.windows.append(
                Window(
                    clock_s=started_s,
                    duration_s=time.monotonic() - started_s,
                    inferences=len(taken),
                    p50_ms=percentiles.percentile(taken, 50) / 1e6,
                    max_ms=max(taken) / 1e6,
                )
            )
            return len(taken)

        invoke = self.stopwatch.samples.stages_ns["invoke"]
        if meter is None:
            measure()
        else:
            meter.during(self.usage, measure)


def load(bundle: Bundle, setup: Setup, files: Sequence[bytes], prefer: str | None) -> Measurement:
    """Load a setup; ``files`` are the photos to measure with."""
    started = time.perf_counter_ns()
    classifier = Classifier(
        bundle, setup.variant.name, setup.threads, prefer=prefer, delegate=setup.delegate, batch=setup.batch
    )
    return Measurement(setup, classifier, time.perf_counter_ns() - started, Stopwatch(classifier, files))


@dataclass(frozen=True)
class Scored:
    """Predictions of a setup for all photos, and their scores."""

    scores: Scores
    answers: predictions.Predictions
    among_accepted: AmongAccepted | None


def score(classifier: Classifier, photos: PhotoSet, reference: BenchReference) -> Scored:
    """Return the predictions of a setup for all photos, and their scores."""
    found = predictions.predicted(classifier, photos)
    probabilities, unknown = found.probabilities, found.unknown_scores
    labels = np.array([photo.index for photo in photos.photos], np.int64)
    scores = accuracy.score(probabilities, labels, reference.probabilities, names=classifier.labels)
    if len(classifier.labels) > accuracy.TOP:
        scores = replace(scores, accuracy=replace(scores.accuracy, top5=accuracy.top5(probabilities, labels)))
    right = probabilities.argmax(axis=1) == labels
    accepted = None if unknown is None else accuracy.among_accepted(unknown, right)
    return Scored(scores, predictions.top_predictions(probabilities), accepted)


def row(
    measurement: Measurement,
    scored: Scored,
    verdict: Verdict,
    *,
    peak_rss_bytes: int | Unknown,
    energy: energy.Energy | Unknown | None = None,
    operators: OperatorTimes | Unknown | None = None,
    loadgen: LoadgenRun | None = None,
) -> ResultRun:
    """Return a setup's measurements as a run of the result; None for what was not requested."""
    variant, samples, runtime = measurement.setup.variant, measurement.stopwatch.samples, measurement.classifier.runtime
    return ResultRun(
        variant=variant.name,
        format=variant.format,
        precision=variant.precision,
        threads=runtime.threads,
        batch=measurement.setup.batch,
        runtime=Named(runtime.name, runtime.version),
        delegate=runtime.delegate or _NO_DELEGATES,
        delegated=runtime.share,
        bytes=variant.bytes,
        load_ms=measurement.load_ns / 1e6,
        first_inference_ms=samples.first_inference_ns / 1e6,
        warmup=Warmup(samples.warmup_inferences, samples.steady),
        samples_ns=StageSamples(*map(tuple, samples.stages_ns.values())),
        windows=tuple(measurement.windows),
        latency_ms=latency.summary_ms(samples),
        latency_ci95_ms=latency.intervals_ms(samples),
        throughput_per_s=latency.throughput_per_s(samples, measurement.setup.batch),
        accuracy=scored.scores.accuracy,
        agreement=scored.scores.agreement,
        per_class=scored.scores.per_class,
        among_accepted=scored.among_accepted,
        answers=scored.answers,
        peak_rss_bytes=peak_rss_bytes,
        energy=energy,
        operators=operators,
        loadgen=loadgen,
        verdict=verdict,
    )
