"""Which photos a result is about, and what was said about each: what lets two results be paired by photo.

Not for: scores made of the answers (``accuracy``), and comparing two results.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl_device.classifier import Classifier

from .photoset import PhotoSet, digest

# Enough to see how sure a model was; all digits would double the size of the file.
_DECIMALS = 4


def evalset(photos: PhotoSet) -> dict[str, Any]:
    """Return a set of photos as JSON values.

    Returns:
        ``source`` and ``name`` of the set; ``digest`` (equal for the same photos with the same labels, in any order and
        under any name); and ``photos`` in the order of the set (``file``, ``label`` as an index, ``sha256``).
    """
    return {
        "source": photos.source,
        "name": photos.name,
        "digest": photos.digest,
        "photos": [{"file": photo.file, "label": photo.index, "sha256": photo.sha256} for photo in photos.photos],
    }


def probabilities(classifier: Classifier, photos: PhotoSet) -> npt.NDArray[np.float32]:
    """Return what a classifier says about every photo, float32 [n, classes], run in batches of its own size."""
    rows, batch = [], classifier.runtime.input.shape[0]
    for start in range(0, len(photos.photos), batch):
        together = photos.photos[start : start + batch]
        rows += classifier.run_batch([classifier.pixels(photos.read(photo)) for photo in together])
    return np.stack(rows)


def answers(probabilities: npt.NDArray[np.floating[Any]]) -> dict[str, list[Any]]:
    """Return what a variant says about each photo: the class index in ``predicted``, its ``probability`` in 0..1.

    Args:
        probabilities: float [n, classes]; of equal ones the class that comes first counts, as in ``accuracy``.
    """
    best = np.asarray(probabilities, np.float64).max(axis=1)
    return {
        "predicted": probabilities.argmax(axis=1).tolist(),
        "probability": [round(value, _DECIMALS) for value in best.tolist()],
    }


def check(document: dict[str, Any]) -> None:
    """Raise ValueError when a result's answers are not for its photos, or its accuracy is not that of its answers."""
    labels, found = document["bundle"]["labels"], document["evalset"]
    photos = found["photos"]
    truth = [photo["label"] for photo in photos]
    if not all(0 <= index < len(labels) for index in truth):
        raise ValueError("evalset has a photo of a class that is not one of the labels")
    if found["digest"] != digest((labels[photo["label"]], photo["sha256"]) for photo in photos):
        raise ValueError("the digest of evalset is not that of its photos")
    if isinstance(found["reference"], dict):
        if any("unknown" not in run["agreement"] for run in document["runs"]):
            raise ValueError("a run agrees with a reference that is unknown")
    elif len(found["reference"]) != len(photos):
        raise ValueError(f"the reference answers {len(found['reference'])} of {len(photos)} photos")
    for run in document["runs"]:
        predicted = run["answers"]["predicted"]
        if not len(predicted) == len(run["answers"]["probability"]) == len(photos):
            raise ValueError(f"{run['variant']} answers {len(predicted)} of {len(photos)} photos")
        right = sum(said == label for said, label in zip(predicted, truth, strict=True))
        if right != run["accuracy"]["correct"]:
            raise ValueError(f"the accuracy of {run['variant']} is not that of its answers")
