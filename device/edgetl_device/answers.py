"""Which held-out photos a result is about, and what was said about each: what lets two results be paired by photo.

Not for: scores made of the answers (``accuracy``), and comparing two results.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from . import jsonfile
from .bundle import EVALSET, Bundle

# Enough to see how sure a model was; all digits would double the size of the file.
_DECIMALS = 4


def evalset(bundle: Bundle) -> dict[str, Any]:
    """Return the held-out photos of a bundle as JSON values.

    Returns:
        ``digest`` (equal for the same photos with the same labels, in any order and under any name), ``photos`` in the
        order of the bundle (``file``, ``label`` as an index, ``sha256``), and ``reference``: the class index that the
        float model gives to each photo.
    """
    photos = bundle.photos()
    hashes = [bundle.files[photo.file].sha256 for photo in photos]
    return {
        "digest": evalset_digest(zip((photo.label for photo in photos), hashes, strict=True)),
        "photos": [
            {"file": photo.file.removeprefix(EVALSET), "label": photo.index, "sha256": sha256}
            for photo, sha256 in zip(photos, hashes, strict=True)
        ],
        "reference": bundle.reference().probabilities.argmax(axis=1).tolist(),
    }


def evalset_digest(photos: Iterable[tuple[str, str]]) -> str:
    """Return one hash for a set of photos, each given as its label's name and its file's SHA-256."""
    return jsonfile.digest({"photos": sorted(photos)})


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
    if found["digest"] != evalset_digest((labels[photo["label"]], photo["sha256"]) for photo in photos):
        raise ValueError("the digest of evalset is not that of its photos")
    if len(found["reference"]) != len(photos):
        raise ValueError(f"the reference answers {len(found['reference'])} of {len(photos)} photos")
    for run in document["runs"]:
        predicted = run["answers"]["predicted"]
        if not len(predicted) == len(run["answers"]["probability"]) == len(photos):
            raise ValueError(f"{run['variant']} answers {len(predicted)} of {len(photos)} photos")
        right = sum(said == label for said, label in zip(predicted, truth, strict=True))
        if right != run["accuracy"]["correct"]:
            raise ValueError(f"the accuracy of {run['variant']} is not that of its answers")
