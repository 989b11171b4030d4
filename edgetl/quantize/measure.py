"""An exported variant run on photos: its accuracy, its agreement with the float model and its latency here.

Not for: latencies to publish; ``edgetl bench`` measures those on the device.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl import reference
from edgetl.bundling import VariantFile
from edgetl.heldout import Photos
from edgetl.progress import track
from edgetl.quiet import quietly
from edgetl_device.accuracy import score
from edgetl_device.runtime import open_runtime


@dataclass(frozen=True, eq=False)
class Expected:
    """Photos with the float model's answers.

    Attributes:
        photos: Labelled photos of one split.
        logits: float32 [n, classes].
        probabilities: float32 [n, classes].
    """

    photos: Photos
    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]

    @property
    def accuracy(self) -> dict[str, Any]:
        """The float model's own accuracy."""
        accuracy: dict[str, Any] = score(self.probabilities, self.photos.targets, None)["accuracy"]
        return accuracy


def expected(model: Any, photos: Photos, *, description: str) -> Expected:
    """Run the float model on photos."""
    scores = reference.logits(model, photos.pixels, np.arange(len(photos.targets)), description=description)
    return Expected(photos, scores, reference.softmax(scores))


def measured(variant: VariantFile, against: Expected, labels: tuple[str, ...]) -> tuple[VariantFile, float]:
    """Run a variant on photos, one thread, and return it with accuracy and agreement, and its median latency in ms."""
    with quietly():
        runtime = open_runtime(variant.data, variant.format)
    answers = np.empty_like(against.probabilities)
    latencies_ns = []
    with track(f"Measuring {variant.name}", len(answers)) as advance:
        for row, pixels in enumerate(against.photos.pixels):
            runtime.feed(pixels)
            started = time.perf_counter_ns()
            runtime.invoke()
            latencies_ns.append(time.perf_counter_ns() - started)
            answers[row] = runtime.probabilities()
            advance(1)
    runtime.close()
    result = score(answers, against.photos.targets, against.probabilities, names=labels)
    scored = replace(variant, accuracy=result["accuracy"], agreement=result["agreement"])
    return scored, float(np.median(latencies_ns)) / 1e6
