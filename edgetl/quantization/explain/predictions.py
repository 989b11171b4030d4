"""Accuracy lost by class, and the photos on which int8 and float disagree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgetl.runs.explain_report import ClassDrop, Flip
from edgetl_device.bench.accuracy import paired_drop

Floats = npt.NDArray[np.float32]


def drop_by_class(
    expected: Floats, found: Floats, targets: npt.NDArray[np.int64], labels: Sequence[str]
) -> tuple[ClassDrop, ...]:
    """Return one entry per class that has photos, in the order of the labels.

    Args:
        expected: The float model's probabilities, float32 [n, classes].
        found: The int8 model's.
        targets: int64 [n], the true classes.
        labels: Class names in the order of the outputs.
    """
    right, still_right = (probabilities.argmax(1) == targets for probabilities in (expected, found))
    drops = []
    for index, label in enumerate(labels):
        here = targets == index
        photos, before, after = (int(np.count_nonzero(mask & here)) for mask in (here, right, still_right))
        if photos:
            drop = paired_drop(right[here], still_right[here])
            drops.append(ClassDrop(label, photos, before, after, drop.drop_pp, drop.ci95_pp))
    return tuple(drops)


def flips(
    expected: Floats, found: Floats, targets: npt.NDArray[np.int64], labels: Sequence[str], paths: Sequence[str]
) -> tuple[Flip, ...]:
    """Return the photos whose predicted class differs, by falling confidence of the float model.

    Args:
        expected: The float model's probabilities, float32 [n, classes].
        found: The int8 model's.
        targets: int64 [n], the true classes.
        labels: Class names in the order of the outputs.
        paths: Paths of the n photos.
    """
    ours, theirs = expected.argmax(1), found.argmax(1)
    rows = sorted(np.flatnonzero(ours != theirs).tolist(), key=lambda row: -expected[row, ours[row]])
    return tuple(
        Flip(
            row=row,
            path=paths[row],
            label=labels[targets[row]],
            float_answer=labels[ours[row]],
            float_probability=float(expected[row, ours[row]]),
            int8_answer=labels[theirs[row]],
            int8_probability=float(found[row, theirs[row]]),
            tied=int(np.count_nonzero(found[row] == found[row].max())) > 1,
        )
        for row in rows
    )
