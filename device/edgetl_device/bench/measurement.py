"""One setup of a bench: loaded, measured piece by piece, and told as a row of the result.

Not for: the order of setups (``sweep``, ``bench``), and whether the times can be believed (``verdict``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.machine import energy

from . import accuracy, latency, percentiles, predictions
from .latency import Stopwatch
from .photoset import PhotoSet
from .reference import Reference
from .sweep import Setup

# Of ONNX variants.
_NO_DELEGATES = {"unknown": "delegates are TFLite's; ONNX Runtime ran it with its CPU provider"}


@dataclass
class Measurement:
    """One setup, loaded, and what was measured of it so far."""

    setup: Setup
    classifier: Classifier
    load_ns: int
    stopwatch: Stopwatch
    windows: list[dict[str, Any]] = field(default_factory=list)
    usage: energy.Usage = field(default_factory=energy.Usage)

    def sample(self, duration_s: float, min_inferences: int, meter: energy.Meter | None) -> None:
        """Measure for a while; what it took is one more window."""

        def measure() -> int:
            first, started_s = len(invoke), time.monotonic()
            self.stopwatch.measure(duration_s, min_inferences=min_inferences)
            taken = invoke[first:]
            self.windows.append(
                {
                    "clock_s": started_s,
                    "duration_s": time.monotonic() - started_s,
                    "inferences": len(taken),
                    "p50_ms": percentiles.percentile(taken, 50) / 1e6,
                    "max_ms": max(taken) / 1e6,
                }
            )
            return len(taken)

        invoke = self.stopwatch.samples.stages_ns["invoke"]
        if meter is None:
            measure()
        else:
            meter.during(self.usage, measure)


def load(bundle: Bundle, setup: Setup, files: Sequence[bytes], prefer: str | None) -> Measurement:
    """Load a setup; ``files`` are the photos that it will be measured with."""
    started = time.perf_counter_ns()
    classifier = Classifier(
        bundle, setup.variant.name, setup.threads, prefer=prefer, delegate=setup.delegate, batch=setup.batch
    )
    return Measurement(setup, classifier, time.perf_counter_ns() - started, Stopwatch(classifier, files))


def row(measurement: Measurement) -> dict[str, Any]:
    """Return what is known of a setup from its times alone, as fields of a run."""
    variant, samples, runtime = measurement.setup.variant, measurement.stopwatch.samples, measurement.classifier.runtime
    share = runtime.share
    return {
        "variant": variant.name,
        "format": variant.format,
        "precision": variant.precision,
        "threads": runtime.threads,
        "batch": measurement.setup.batch,
        "runtime": {"name": runtime.name, "version": runtime.version},
        "delegate": share["name"] if share else _NO_DELEGATES,
        **({"delegated": {key: share[key] for key in ("operators", "of", "partitions")}} if share else {}),
        "bytes": variant.bytes,
        "load_ms": measurement.load_ns / 1e6,
        "first_inference_ms": samples.first_inference_ns / 1e6,
        "warmup": {"inferences": samples.warmup_inferences, "steady": samples.steady},
        "samples_ns": samples.stages_ns,
        "windows": measurement.windows,
        "latency_ms": latency.summary_ms(samples),
        "latency_ci95_ms": latency.intervals_ms(samples),
        "throughput_per_s": latency.throughput_per_s(samples, measurement.setup.batch),
    }


def score(classifier: Classifier, photos: PhotoSet, reference: Reference) -> dict[str, Any]:
    """Return ``accuracy``, ``agreement``, ``per_class`` and ``answers`` on all photos."""
    probabilities = predictions.probabilities(classifier, photos)
    labels = np.array([photo.index for photo in photos.photos], np.int64)
    scores = accuracy.score(probabilities, labels, reference.probabilities, names=classifier.labels)
    if reference.probabilities is None:
        scores["agreement"] = {"unknown": reference.why_not}
    if len(classifier.labels) > accuracy.TOP:
        scores["accuracy"]["top5"] = accuracy.top5(probabilities, labels)
    return scores | {"answers": predictions.answers(probabilities)}
