"""Measure accuracy, agreement with the float model and latency of an exported variant.

Latencies here only rank candidates; publish those measured by ``edgetl bench`` on the device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.progress import track
from edgetl._lib.quiet import quietly
from edgetl.export.bundle import VariantFile
from edgetl.runs import float_model
from edgetl.runs.calibration_error import CalibrationError, calibration_error
from edgetl.runs.held_out import Photos
from edgetl_device._lib.documents import Unknown
from edgetl_device.bench.accuracy import score
from edgetl_device.runtime import open_runtime, predict, run_batch
from edgetl_device.scores import Accuracy, Agreement


@dataclass(frozen=True, eq=False)
class Expected:
    """Photos with the float model's predictions.

    Attributes:
        photos: Labelled photos of one split.
        logits: Float logits, float32 [n, classes].
        probabilities: Float probabilities, float32 [n, classes].
    """

    photos: Photos
    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]

    @property
    def accuracy(self) -> Accuracy:
        """Accuracy of the float model."""
        return score(self.probabilities, self.photos.targets, Unknown("it is the reference")).accuracy

    def scores(self, probabilities: npt.NDArray[np.float32], labels: tuple[str, ...]) -> tuple[Accuracy, Agreement]:
        """Return accuracy and agreement of a variant's probabilities for these photos, float32 [n, classes]."""
        found = score(probabilities, self.photos.targets, self.probabilities, names=labels)
        if not isinstance(found.agreement, Agreement):
            raise TypeError("there is a reference for these photos")
        return found.accuracy, found.agreement


@dataclass(frozen=True, eq=False)
class Measured:
    """An exported variant with its measurements.

    Attributes:
        variant: The model file, with its scores.
        accuracy: Top-1 accuracy.
        agreement: Agreement with the float model.
        latency_ms: Median latency of one inference on one thread.
        calibration: Calibration error of its probabilities.
    """

    variant: VariantFile
    accuracy: Accuracy
    agreement: Agreement
    latency_ms: float
    calibration: CalibrationError


def expected(model: Any, photos: Photos, *, description: str) -> Expected:
    """Run the float model on photos."""
    scores = float_model.logits(model, photos.pixels, np.arange(len(photos.targets)), description=description)
    return Expected(photos, scores, float_model.softmax(scores))


def measured(variant: VariantFile, against: Expected, labels: tuple[str, ...]) -> Measured:
    """Run a variant on photos on one thread and score it."""
    predictions, latency_ms = predict_file(
        variant.data, variant.format, against.photos.pixels, description=f"Measuring {variant.name}"
    )
    accuracy, agreement = against.scores(predictions, labels)
    correct = predictions.argmax(axis=1) == against.photos.targets
    return Measured(
        replace(variant, accuracy=accuracy, agreement=agreement),
        accuracy,
        agreement,
        latency_ms,
        calibration_error(predictions.max(axis=1), correct),
    )


def predict_file(
    model: bytes, format: str, pixels: npt.NDArray[np.uint8], *, description: str
) -> tuple[npt.NDArray[np.float32], float]:
    """Run an exported model on photos on one thread.

    Args:
        model: Content of the model file.
        format: ``tflite`` or ``onnx``.
        pixels: uint8 [n, H, W, C], n at least 1.
        description: Label of the progress bar.

    Returns:
        Probabilities, float32 [n, classes], and the median latency in ms.
    """
    with quietly():
        runtime = open_runtime(model, format)
    with track(description, len(pixels)) as advance:
        found = predict(partial(run_batch, runtime), pixels, advance=advance)
    runtime.close()
    return found.probabilities, float(np.median(found.inference_ns)) / 1e6
