"""Rank the photos of a data set by how much their features speak for another class than their label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import check_installed
from edgetl.advice.depths import depths_of
from edgetl.backbones import build_base, resolve_weights
from edgetl.data import Dataset, LabelCheck, LabelSuspect, targets_of
from edgetl.data.copies import copy_groups
from edgetl.data.pixels import decode_files
from edgetl.features import frozen_base
from edgetl_device.errors import InputError
from edgetl_device.input_size import square

from .leave_one_out import PENALTY, estimates

# What it finds was measured with these.
_BACKBONES = ("mobilenet_v2", "efficientnet_lite0")
# The size that the backbones' weights were trained at.
_SIZE = 224
# Features of the last blocks, besides those of the last layer, tell materials and textures apart: of 1 to 8, the number
# that finds most wrong labels among the flowers and the waste photos (benchmarks/label_errors.py).
DEPTHS = 4
# With fewer, a photo's own class is hardly known when the photo is left out.
_FEWEST = 5


def check_labels(dataset: Dataset) -> LabelCheck:
    """Find the photos of a data set whose label is probably wrong.

    The class of each photo is estimated from all others, of every split, on features of two backbones that ship with
    edgetl. Photos of which another class is likelier than the label are listed, the clearest first.

    Raises:
        InputError: Fewer than two classes have five photos.
        Unavailable: TensorFlow or SciPy is not installed.
    """
    for package in ("tensorflow", "scipy"):
        check_installed(package)
    if len(dataset.labels) - len(_small(dataset)) < 2:
        raise InputError(
            f"{dataset.root}: has too few photos to check labels",
            why=f"fewer than two classes have {_FEWEST} photos",
            hint="Check them by eye, or add photos.",
        )
    return rank(dataset, features_of(dataset))


def features_of(dataset: Dataset, *, depths: int = DEPTHS) -> list[npt.NDArray[np.float32]]:
    """Return pooled features of all samples, float32 [samples, channels]: the last depths of each backbone, in turn."""
    files = {sample.sha256: dataset.folder / sample.path for sample in dataset.samples}
    pixels = decode_files(files, replace(dataset.spec, size=square(_SIZE)))
    rows = pixels.rows(dataset.samples)
    found: list[npt.NDArray[np.float32]] = []
    for name in _BACKBONES:
        weights = resolve_weights(name, width=1.0, request="auto", size=square(_SIZE))
        base = build_base(name, size=square(_SIZE), width=1.0, weights=weights)
        last = depths_of(name, base, classes=len(dataset.labels))[-depths:]
        frozen = frozen_base.freeze_depths(base, [depth.layer for depth in last])
        pooled = np.asarray(frozen_base.row_activations(frozen, pixels, rows).pooled)
        found += np.split(pooled, np.cumsum([depth.channels for depth in last])[:-1], axis=1)
    return found


def rank(dataset: Dataset, features: Sequence[npt.NDArray[np.float32]], *, penalty: float = PENALTY) -> LabelCheck:
    """List the samples of which another class is likelier than the label, the clearest first.

    Args:
        dataset: Its samples' labels are judged. Near-duplicates of a photo are left out together with it.
        features: As from :func:`features_of`.
        penalty: As for :func:`~edgetl.labels.leave_one_out.estimates`.
    """
    targets = targets_of(dataset.samples, dataset.labels)
    groups = copy_groups(dataset.samples, dataset.pixels)
    found = estimates(features, targets, groups, classes=len(dataset.labels), penalty=penalty)
    small = _small(dataset)
    found[:, [dataset.labels.index(label) for label in small]] = -np.inf
    every = np.arange(len(targets))
    own = found[every, targets]
    found[every, targets] = -np.inf
    margins = found.max(axis=1) - own
    suspects = tuple(
        LabelSuspect(
            path=dataset.samples[row].path,
            label=dataset.samples[row].label,
            suggested=dataset.labels[int(found[row].argmax())],
            margin=round(float(margins[row]), 4),
        )
        for row in np.argsort(-margins, kind="stable")
        if margins[row] > 0 and dataset.samples[row].label not in small
    )
    checked = sum(sample.label not in small for sample in dataset.samples)
    return LabelCheck(_BACKBONES, _SIZE, checked, small, suspects)


def _small(dataset: Dataset) -> tuple[str, ...]:
    counts = Counter(sample.label for sample in dataset.samples)
    return tuple(label for label in dataset.labels if counts[label] < _FEWEST)
