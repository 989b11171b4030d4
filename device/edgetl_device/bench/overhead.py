"""What the bench itself costs: the same loop around a runtime that runs nothing. Not for: measuring models.

MLPerf's reference implementation has a null backend for the same question (``vision/classification_and_detection``,
``backend_null.py``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Prediction, ranked
from edgetl_device.runtime import Probabilities, Runtime, open_runtime

from .latency import Stopwatch, summary_ms

INFERENCES = 100


@dataclass(frozen=True)
class _Nothing:
    """Stands where a classifier stands: the bundle's preprocessing and labels around the null runtime."""

    bundle: Bundle
    runtime: Runtime

    def ranked(self, probabilities: Probabilities) -> list[Prediction]:
        return ranked(probabilities, self.bundle.labels)


def cost(bundle: Bundle, photos: Sequence[bytes], inferences: int = INFERENCES) -> dict[str, Any]:
    """Measure the harness with the null runtime, on the bundle's photos.

    Returns:
        ``runtime`` (``null``), ``inferences``, and ``latency_ms`` of ``invoke`` (copying the pixels in, calls, reading
        the clock: all of it is inside the ``invoke`` of every run, and nothing is subtracted) and ``postprocess``,
        each p50 and p90.
    """
    fields = {"size": bundle.preprocess.size, "classes": len(bundle.labels)}
    watch = Stopwatch(_Nothing(bundle, open_runtime(json.dumps(fields).encode(), "null")), photos)
    watch.warm_up()
    watch.measure(0, min_inferences=inferences)
    summary = summary_ms(watch.samples)
    return {
        "runtime": "null",
        "inferences": inferences,
        "latency_ms": {
            stage: {rank: summary[stage][rank] for rank in ("p50", "p90")} for stage in ("invoke", "postprocess")
        },
    }
