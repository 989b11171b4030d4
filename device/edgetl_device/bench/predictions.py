"""The photos of a result and the prediction for each, for pairing results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from edgetl_device._lib.documents import Count, Is, Sha256, Share, Unknown, optional
from edgetl_device.bundle import EvalPhoto
from edgetl_device.classifier import Classifier
from edgetl_device.runtime import Predicted
from edgetl_device.truth import Truth

from .photoset import PhotoSet

# Enough to show a model's confidence; more digits would double the size of the file.
_DECIMALS = 4


@dataclass(frozen=True, kw_only=True)
class Evalset:
    """The photos that runs were measured on.

    Attributes:
        source: ``bundle`` (its held-out photos) or ``folder`` (a labelled folder); absent in older results: bundle.
        name: Name of the bundle or the folder.
        digest: Equal for the same photos with the same labels, in any order.
        photos: The photos, in the order of the set.
        reference: Class index predicted by the reference for each photo.
        reference_name: The reference: the float model that the bundle was made from, or a variant on this device.
        truth: What the photos are held against: their ``labels``, or, for pictures that edgetl drew, the answers of the
            original ``model``. Then nothing that is called accuracy here is one: it is agreement with the original.
    """

    source: Literal["bundle", "folder"] = "bundle"
    name: str | None = optional()
    digest: Sha256
    photos: Annotated[tuple[EvalPhoto, ...], Is(items=1)]
    reference: tuple[Count, ...] | Unknown
    reference_name: str | None = optional()
    truth: Truth = optional("labels")


@dataclass(frozen=True)
class Predictions:
    """Predictions of a variant, in the order of the set.

    Attributes:
        predicted: Class index of each photo.
        probability: Its probability, rounded to four decimals.
    """

    predicted: tuple[Count, ...]
    probability: tuple[Share, ...]


def evalset(photos: PhotoSet, reference: tuple[int, ...] | Unknown, reference_name: str) -> Evalset:
    """Return a set of photos and the reference's predictions in the form of a result."""
    return Evalset(
        source=photos.source,
        name=photos.name,
        digest=photos.digest,
        photos=photos.photos,
        reference=reference,
        reference_name=None if isinstance(reference, Unknown) else reference_name,
        truth=photos.truth,
    )


def predicted(classifier: Classifier, photos: PhotoSet) -> Predicted:
    """Return the probabilities of every photo, and its unknown score if the bundle can tell.

    Raises:
        InputError: The outputs are not probabilities.
    """
    return classifier.predict(classifier.pixels(photos.read(photo)) for photo in photos.photos)


def top_predictions(probabilities: npt.NDArray[np.floating[Any]]) -> Predictions:
    """Return the prediction for each photo.

    Args:
        probabilities: float [n, classes]; if equal, the first class is the prediction, as in ``accuracy``.
    """
    best = np.asarray(probabilities, np.float64).max(axis=1)
    return Predictions(
        tuple(probabilities.argmax(axis=1).tolist()), tuple(round(value, _DECIMALS) for value in best.tolist())
    )
