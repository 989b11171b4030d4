"""What is measured of each photo, and of the held-out photos of a bundle, to which it is compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgetl_device._lib import documents
from edgetl_device._lib.documents import Count, Named, Sha256, Text
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier, Observed
from edgetl_device.errors import EdgetlError
from edgetl_device.input_size import InputSize
from edgetl_device.preprocess import Pixels
from edgetl_device.runtime import Features

from .drift import StreamTest

Floats = npt.NDArray[np.float64]

# Principal components of the feature bank that are measured, and those in which drift is looked for one by one.
COMPONENTS, TESTED_COMPONENTS = 64, 8
# More held-out photos say little more, and each is classified once on the device.
MAX_REFERENCE, MIN_REFERENCE = 500, 10
CONFIDENCE, BRIGHTNESS, SHARPNESS, DISTANCE = range(4)
_NAMES = ("confidence", "brightness", "sharpness", "unknown_score")
# Photos that are measured together.
BATCH = 50
# Ten pairs of lines are enough for a mean; of small pictures, one in every eight lines.
_STEP, _PAIRS = 8, 10
# Their pixels fit the cache.
_TOGETHER = 5
_MAX_REFERENCE_BYTES = 4 << 20


class Measures:
    """Measures photos for one bundle and variant.

    Args:
        bundle: The bundle.
        variant: Name of the variant.

    Attributes:
        names: Names of the features, in the order of :meth:`row`.
        tested: Names of those that are tested, as of :class:`.drift.StreamTest`.
        bank: Whether the bundle has a feature bank for the variant.
    """

    def __init__(self, bundle: Bundle, variant: str) -> None:
        scorer = bundle.unknown_scorer(variant)
        self.bank = scorer is not None
        self._size, self._features = bundle.preprocess.size, len(scorer.bank.mean) if scorer else 0
        self.names: tuple[str, ...] = _NAMES[:DISTANCE]
        if scorer is not None:
            # Copied, so that the rest of the bank is freed.
            self._axes = scorer.bank.components[:COMPONENTS].copy()
            self._origin = self._axes @ scorer.bank.mean
            self._variances = np.asarray(scorer.bank.rows[:, :COMPONENTS].var(axis=0), np.float64)
            components = (f"component {number}" for number in range(1, len(self._axes) + 1))
            self.names = (*_NAMES, *components)
        self.tested = self.names[: len(_NAMES) + TESTED_COMPONENTS] + (("trend",) if self.bank else ())

    def batch(self) -> Batch:
        """Return an empty batch for photos of this bundle."""
        return Batch(self._size, BATCH, self._features)

    def rows(self, batch: Batch) -> Floats:
        """Return the features of the photos of a batch, float64 [photos, features]; NaN where the model's are."""
        count = len(batch.labels)
        found = np.empty((count, len(self.names)))
        found[:, CONFIDENCE] = batch.confidences
        found[:, BRIGHTNESS], found[:, SHARPNESS] = light_and_sharpness(batch.lines[:count])
        if self.bank:
            found[:, DISTANCE] = batch.scores
            found[:, DISTANCE + 1 :] = self._places(batch.features[:count])
        return found

    def place(self, features: Features | None, pixels: Pixels) -> tuple[float, ...]:
        """Return a photo as a point, for the distance between photos: its components, or a picture of 4 x 4 pixels."""
        if self.bank and features is not None:
            found = self._places(features[None])[0, :TESTED_COMPONENTS]
        else:
            height, width = (side // 4 for side in pixels.shape[:2])
            tiles = pixels[: 4 * height, : 4 * width].reshape(4, height, 4, width, -1)
            found = tiles.mean(axis=(1, 3)).ravel() / 255
        return tuple(round(float(one), 5) for one in found)

    def _places(self, features: Features) -> npt.NDArray[np.float32]:
        lengths = np.sqrt(np.square(features).sum(axis=1, keepdims=True))
        return np.asarray((features / np.maximum(lengths, 1e-12)) @ self._axes.T - self._origin)

    def test(self, reference: Floats, window: int) -> StreamTest:
        """Return the test of windows of photos against a reference, float64 [photos, features]."""
        variances = self._variances if self.bank else np.empty(0)
        return StreamTest(reference, window, len(self.tested) - self.bank, DISTANCE + 1, variances)


class Batch:
    """What is copied of some photos, to be measured together later.

    A photo is added between two inferences, when the caches are full of the model: a few copies take a fraction of the
    time that measuring it alone would.

    Attributes:
        lines: Two neighbouring lines of the green or grey pixels at every so many, uint8 [capacity, pairs, 2, W].
        features: The model's features, float32 [capacity, features]; no photos without a bank.
        labels: Index of the likeliest class of each photo.
        confidences: Its probability.
        scores: The unknown scores; NaN without.
        latencies: The latencies in ms.
        counted: Whether drift is looked for in the photo.
    """

    def __init__(self, size: InputSize, capacity: int, features: int) -> None:
        self._step = max(_STEP, size.height // _PAIRS)
        self._pairs = size.height // self._step
        self.lines = np.empty((capacity, self._pairs, 2, size.width), np.uint8)
        self.features = np.empty((capacity if features else 0, features), np.float32)
        self.labels: list[int] = []
        self.confidences: list[float] = []
        self.scores: list[float] = []
        self.latencies: list[float] = []
        self.counted: list[bool] = []

    @property
    def is_full(self) -> bool:
        """Whether there is no place for another photo."""
        return len(self.labels) == len(self.lines)

    def add(self, observed: Observed, *, counted: bool = True) -> None:
        """Add a photo."""
        place, output = len(self.labels), observed.output
        pixels = observed.pixels[: self._pairs * self._step]
        channels = pixels.shape[2]
        self.lines[place] = pixels.reshape(self._pairs, self._step, -1, channels)[:, :2, :, channels // 2]
        if len(self.features) and output.features is not None:
            self.features[place] = output.features
        label = int(output.probabilities.argmax())
        self.confidences.append(float(output.probabilities[label]))
        self.scores.append(math.nan if output.unknown_score is None else output.unknown_score)
        self.latencies.append(observed.latency_ms)
        self.counted.append(counted)
        # Last: the photo counts from now on.
        self.labels.append(label)


def light_and_sharpness(lines: Pixels) -> tuple[Floats, Floats]:
    """Return the mean of the green or grey pixels, 0 to 255, and their sharpness, float64 [photos] each.

    Sharpness is the mean difference of neighbours, along a line and across, divided by the standard deviation: light
    and contrast do not change it.

    Args:
        lines: As of :class:`Batch`.
    """
    light, sharpness = np.empty(len(lines)), np.empty(len(lines))
    for first in range(0, len(lines), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        green = lines[part].astype(np.float32)
        photos, pixels = len(green), green[0].size
        steps = [
            np.abs(differences).reshape(photos, -1).sum(axis=1) / differences[0].size
            for differences in (green[..., 1:] - green[..., :-1], green[:, :, 1] - green[:, :, 0])
        ]
        flat = green.reshape(photos, -1)
        light[part] = flat.sum(axis=1) / pixels
        variance = np.einsum("np,np->n", flat, flat) / pixels - np.square(light[part])
        sharpness[part] = (steps[0] + steps[1]) / 2 / np.sqrt(np.maximum(variance, 1))
    return light, sharpness


@dataclass(frozen=True, kw_only=True)
class ReferenceDocument:
    """Features of the held-out photos of a bundle, as this device computes them: kept, to be computed once.

    Attributes:
        bundle: Digest of the bundle.
        variant: Its variant.
        runtime: The runtime that ran it.
        delegate: The delegate, if the runtime has them.
        names: Names of the features.
        classes: Index of the predicted class of each photo.
        rows: Features of each photo.
        digest: SHA-256 of the rest.
    """

    SCHEMA: ClassVar[str] = "edgetl.monitor-reference/1"
    SEALED: ClassVar[bool] = True

    bundle: Sha256
    variant: Text
    runtime: Named
    delegate: str | None
    names: tuple[str, ...]
    classes: tuple[Count, ...]
    rows: tuple[tuple[float, ...], ...]
    digest: str = ""


@dataclass(frozen=True, eq=False)
class Reference:
    """Features of the held-out photos of a bundle.

    Attributes:
        rows: float64 [photos, features].
        classes: Index of the predicted class, int64 [photos].
    """

    rows: Floats
    classes: npt.NDArray[np.int64]


def reference_of(classifier: Classifier, measures: Measures, kept: Path) -> tuple[Reference, ReferenceDocument | None]:
    """Return the reference of a classifier, from a file if it was kept there, else from the held-out photos.

    Args:
        classifier: Classifies up to 500 of its held-out photos, once.
        measures: Measures them.
        kept: The file, which need not exist.

    Returns:
        The reference, and the document to keep; None if it is the one in the file.

    Raises:
        InputError: The bundle is damaged.
    """
    found = _kept(kept, classifier, measures)
    if found is not None:
        return Reference(np.array(found.rows), np.array(found.classes, np.int64)), None
    parts: list[Floats] = []
    classes: list[int] = []

    class Collecting:
        batch = measures.batch()

        def answered(self, observed: Observed) -> None:
            self.batch.add(observed)
            if self.batch.is_full:
                self.measure()

        def failed(self) -> None:
            pass

        def measure(self) -> None:
            rows = measures.rows(self.batch)
            finite = np.isfinite(rows).all(axis=1)
            parts.append(rows[finite])
            classes.extend(np.array(self.batch.labels, np.int64)[finite].tolist())
            self.batch = measures.batch()

    bundle, collecting = classifier.bundle, Collecting()
    photos = bundle.photos()
    # Photos are listed by class: take them evenly.
    step = max(1.0, len(photos) / MAX_REFERENCE)
    for place in range(min(len(photos), MAX_REFERENCE)):
        classifier.classify(bundle.read(photos[int(place * step)].file), observer=collecting)
    if collecting.batch.labels:
        collecting.measure()
    rows = np.concatenate([np.empty((0, len(measures.names))), *parts])
    document = ReferenceDocument(
        bundle=bundle.digest,
        variant=classifier.variant.name,
        runtime=Named(classifier.runtime.name, classifier.runtime.version),
        delegate=classifier.runtime.delegate,
        names=measures.names,
        classes=tuple(classes),
        rows=tuple(tuple(round(float(value), 6) for value in row) for row in rows),
    )
    return Reference(rows, np.array(classes, np.int64)), documents.sealed(document)


def _kept(path: Path, classifier: Classifier, measures: Measures) -> ReferenceDocument | None:
    """Return the document if it is of this classifier; a damaged one is made again."""
    try:
        found = documents.read(ReferenceDocument, path, max_bytes=_MAX_REFERENCE_BYTES)
    except (EdgetlError, OSError):
        return None
    runtime = classifier.runtime
    wanted = (classifier.bundle.digest, classifier.variant.name, Named(runtime.name, runtime.version), runtime.delegate)
    if (found.bundle, found.variant, found.runtime, found.delegate) != wanted or found.names != measures.names:
        return None
    width, labels = len(measures.names), len(classifier.bundle.labels)
    if len(found.rows) > MAX_REFERENCE or any(one >= labels for one in found.classes):
        return None
    if len(found.rows) != len(found.classes) or any(len(row) != width for row in found.rows):
        return None
    return found
