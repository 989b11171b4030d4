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
from edgetl_device.preprocess import Pixels

from .drift import StreamTest

Floats = npt.NDArray[np.float64]

# Principal components of the feature bank that are measured, and those in which drift is looked for one by one.
COMPONENTS, TESTED_COMPONENTS = 64, 8
# More held-out photos say little more, and each is classified once on the device.
MAX_REFERENCE, MIN_REFERENCE = 500, 10
CONFIDENCE, BRIGHTNESS, SHARPNESS, DISTANCE = range(4)
_NAMES = ("confidence", "brightness", "sharpness", "unknown_score")
# Every eighth row and column is enough for the mean of 160 x 160 pixels, and takes a tenth of the time of all.
_STEP = 8
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
        self.names: tuple[str, ...] = _NAMES[:DISTANCE]
        if scorer is not None:
            # Copied, so that the rest of the bank is freed.
            self._axes = scorer.bank.components[:COMPONENTS].copy()
            self._origin = self._axes @ scorer.bank.mean
            self._variances = np.asarray(scorer.bank.rows[:, :COMPONENTS].var(axis=0), np.float64)
            components = (f"component {number}" for number in range(1, len(self._axes) + 1))
            self.names = (*_NAMES, *components)
        self.tested = self.names[: len(_NAMES) + TESTED_COMPONENTS] + (("trend",) if self.bank else ())

    def row(self, observed: Observed) -> Floats:
        """Return the features of a photo, float64 [features]; they may be NaN if the model's are."""
        output = observed.output
        found = np.empty(len(self.names))
        found[CONFIDENCE] = output.probabilities.max()
        found[BRIGHTNESS], found[SHARPNESS] = light_and_sharpness(observed.pixels)
        if output.features is not None and self.bank:
            features = output.features
            found[DISTANCE] = output.unknown_score
            length = max(math.sqrt(float(features @ features)), 1e-12)
            found[DISTANCE + 1 :] = self._axes @ features / length - self._origin
        return found

    def vector(self, row: Floats, pixels: Pixels) -> Floats:
        """Return a photo as a point, for the distance between photos: its components, or a picture of 4 x 4 pixels."""
        if self.bank:
            return row[DISTANCE + 1 : DISTANCE + 1 + TESTED_COMPONENTS]
        size = len(pixels) // 4 * 4
        tiles = pixels[:size, :size].reshape(4, size // 4, 4, size // 4, 3)
        return np.asarray(tiles.mean(axis=(1, 3)).ravel() / 255, np.float64)

    def test(self, reference: Floats, window: int) -> StreamTest:
        """Return the test of windows of photos against a reference, float64 [photos, features]."""
        variances = self._variances if self.bank else np.empty(0)
        return StreamTest(reference, window, len(self.tested) - self.bank, DISTANCE + 1, variances)


def light_and_sharpness(pixels: Pixels) -> tuple[float, float]:
    """Return the mean of the green pixels, 0 to 255, and their sharpness.

    Sharpness is the mean difference of neighbours along rows and columns, divided by the standard deviation: light and
    contrast do not change it.

    Args:
        pixels: uint8 RGB [S, S, 3].
    """
    green = pixels[:, :, 1]
    rows, columns = green[::_STEP].astype(np.float32), green[:, ::_STEP].astype(np.float32)
    flat = rows.ravel()
    mean = float(flat.sum()) / len(flat)
    deviation = math.sqrt(max(float(flat @ flat) / len(flat) - mean * mean, 0.0))
    along = sum(float(np.abs(steps).mean()) for steps in (rows[:, 1:] - rows[:, :-1], columns[1:] - columns[:-1]))
    return mean, along / 2 / max(deviation, 1.0)


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
    rows: list[Floats] = []
    classes: list[int] = []
    found = _kept(kept, classifier, measures)
    if found is not None:
        return Reference(np.array(found.rows), np.array(found.classes, np.int64)), None

    class Collecting:
        def answered(self, observed: Observed) -> None:
            row = measures.row(observed)
            if np.isfinite(row).all():
                rows.append(row)
                classes.append(int(observed.output.probabilities.argmax()))

        def failed(self) -> None:
            pass

    bundle = classifier.bundle
    photos = bundle.photos()
    # Photos are listed by class: take them evenly.
    step = max(1.0, len(photos) / MAX_REFERENCE)
    for place in range(min(len(photos), MAX_REFERENCE)):
        classifier.classify(bundle.read(photos[int(place * step)].file), observer=Collecting())
    document = ReferenceDocument(
        bundle=bundle.digest,
        variant=classifier.variant.name,
        runtime=Named(classifier.runtime.name, classifier.runtime.version),
        delegate=classifier.runtime.delegate,
        names=measures.names,
        classes=tuple(classes),
        rows=tuple(tuple(round(float(value), 6) for value in row) for row in rows),
    )
    reference = Reference(np.array(rows).reshape(-1, len(measures.names)), np.array(classes, np.int64))
    return reference, documents.sealed(document)


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
    width = len(measures.names)
    if len(found.rows) != len(found.classes) or any(len(row) != width for row in found.rows):
        return None
    return found
