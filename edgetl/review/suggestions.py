"""What a run's model takes photos for, and which of its training photos look most like them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgetl._lib.progress import note
from edgetl.data import Sample
from edgetl.data.pixels import PixelCache, decode_files, hash_files
from edgetl.runs import float_model
from edgetl.runs.directory import Run
from edgetl_device.errors import EdgetlError
from edgetl_device.unknown import unit_rows

NEIGHBOURS = 4
# Photos compared with all training photos at a time.
_ROWS = 256


@dataclass(frozen=True, eq=False)
class Suggestions:
    """What is suggested for some photos.

    Attributes:
        labels: Classes of the model.
        probabilities: float32 [photos, classes]; NaN in the row of a photo that cannot be read.
        nearest: Indices of the most similar training photos, most similar first, int64 [photos, neighbours]; 0
            neighbours if the training photos are not there.
        training: The training photos.
        folder: The folder that their paths are relative to.
    """

    labels: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    nearest: npt.NDArray[np.int64]
    training: tuple[Sample, ...]
    folder: Path

    def order(self) -> npt.NDArray[np.int64]:
        """Return the photos' indices, those that the model is least sure of first, int64 [photos]."""
        sure = np.nan_to_num(self.probabilities.max(axis=1), nan=2.0)
        return np.argsort(sure, kind="stable")


def suggest(run: Run, folder: Path, photos: Sequence[str]) -> Suggestions:
    """Classify photos with a run's float model and find the training photos with the most similar features.

    Args:
        run: The run. Where its training photos are not on this machine, there are no neighbours.
        folder: The folder of the photos.
        photos: Their paths in it.

    Raises:
        Unavailable: TensorFlow is not installed.
    """
    hashes = hash_files([folder / path for path in photos])
    files = {sha256: folder / path for sha256, path in zip(hashes, photos, strict=True) if isinstance(sha256, str)}
    pixels = decode_files(files, run.preprocess) if files else None
    rows = {
        place: pixels.row[one]
        for place, one in enumerate(hashes)
        if pixels and isinstance(one, str) and one in pixels.row
    }
    readable = list(rows)
    probabilities = np.full((len(photos), len(run.labels)), np.nan, np.float32)
    training, place_of_training = _training(run)
    nearest = np.zeros((len(photos), min(NEIGHBOURS, len(training))), np.int64)
    if pixels and rows:
        model = run.load_model()
        features, logits = float_model.features_and_logits(
            model, pixels.array, np.array(list(rows.values()), np.int64), description="Suggesting labels"
        )
        probabilities[readable] = float_model.softmax(logits)
        cache = _decoded(training, place_of_training, run)
        training = tuple(one for one in training if cache and one.sha256 in cache.row)
        nearest = nearest[:, : len(training)]
        if cache and training:
            known, _ = float_model.features_and_logits(
                model, cache.array, cache.rows(training), description="Reading training photos"
            )
            nearest[readable] = _nearest(features, known, nearest.shape[1])
    return Suggestions(run.labels, probabilities, nearest, training, place_of_training)


def _training(run: Run) -> tuple[tuple[Sample, ...], Path]:
    """Return the training photos that are as they were, and their folder."""
    if run.truth == "model":
        note(f"no training photos beside the suggestions: {run.folder.name} was imported without photos")
        return (), run.data_root
    try:
        folder = run.photos_folder()
    except EdgetlError as error:
        note(f"no training photos beside the suggestions: {error.what}")
        return (), run.data_root
    found = tuple(one for one in run.of("train") if (folder / one.path).is_file())
    if not found:
        note(f"no training photos beside the suggestions: {run.data_root} does not have them")
    return found, folder


def _decoded(training: Sequence[Sample], folder: Path, run: Run) -> PixelCache | None:
    """Decode training photos; None if there are none, or one was changed since."""
    try:
        return decode_files({one.sha256: folder / one.path for one in training}, run.preprocess) if training else None
    except EdgetlError as error:
        note(f"no training photos beside the suggestions: {error.what}")
        return None


def _nearest(features: npt.NDArray[np.float32], known: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """Return the rows of ``known`` with the highest cosine similarity, highest first, int64 [n, count]."""
    one, other = unit_rows(features), unit_rows(known)
    found = []
    for start in range(0, len(one), _ROWS):
        similar = one[start : start + _ROWS] @ other.T
        found.append(np.argsort(-similar, axis=1, kind="stable")[:, :count])
    return np.concatenate(found)
