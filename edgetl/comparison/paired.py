"""Accuracy of two models on the same photos, photo by photo. Not for: latency (``bootstrap``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetl_device.bench.accuracy import Bools, mcnemar_exact, paired_drop

# The level at which the exact McNemar test counts as a difference.
ALPHA = 0.05
NO_DIFFERENCE = "no difference that this data can show"


@dataclass(frozen=True)
class Answer:
    """What one model says about one photo: its file's name and SHA-256, its true class, the class it was given."""

    file: str
    sha256: str
    label: str
    predicted: str


def compare_answers(baseline: Sequence[Answer], other: Sequence[Answer]) -> dict[str, Any]:
    """Return how the accuracy of ``other`` differs from that of ``baseline``, as JSON values.

    Args:
        baseline: Answers to some photos, at least one.
        other: Answers to the same photos, in any order.

    Returns:
        ``photos``, ``baseline_correct``, ``correct``; ``agree`` (photos of the same class) and its share ``top1``;
        ``drop_pp`` (baseline minus other, percentage points) with ``drop_ci95_pp``; ``lost`` and ``gained`` (photos
        that only the baseline, or only the other, has right) and their exact two-sided ``mcnemar_p``; ``verdict``
        (``better``, ``worse`` or :data:`NO_DIFFERENCE`); ``per_class``; ``changed``, every photo of another class.
    """
    pairs = list(zip(_ordered(baseline), _ordered(other), strict=True))
    if not pairs or any((one.sha256, one.label) != (two.sha256, two.label) for one, two in pairs):
        raise ValueError("the answers are not to the same photos")
    was_right = np.array([one.predicted == one.label for one, _ in pairs])
    is_right = np.array([two.predicted == two.label for _, two in pairs])
    drop = paired_drop(was_right, is_right)
    p = mcnemar_exact(drop.lost, drop.gained)
    changed = [(one, two) for one, two in pairs if one.predicted != two.predicted]
    return {
        "photos": len(pairs),
        "baseline_correct": int(was_right.sum()),
        "correct": int(is_right.sum()),
        "agree": len(pairs) - len(changed),
        "top1": 1 - len(changed) / len(pairs),
        "drop_pp": drop.drop_pp,
        "drop_ci95_pp": list(drop.ci95_pp),
        "lost": drop.lost,
        "gained": drop.gained,
        "mcnemar_p": p,
        "verdict": NO_DIFFERENCE if p >= ALPHA else "worse" if drop.lost > drop.gained else "better",
        "per_class": _per_class([one.label for one, _ in pairs], was_right, is_right),
        "changed": [
            {
                "file": one.file,
                "sha256": one.sha256,
                "label": one.label,
                "baseline": one.predicted,
                "other": two.predicted,
            }
            for one, two in sorted(changed, key=lambda pair: pair[0].file)
        ],
    }


def _ordered(answers: Sequence[Answer]) -> list[Answer]:
    # Copies of a photo have the same answer, so their order among themselves does not matter.
    return sorted(answers, key=lambda answer: (answer.sha256, answer.label))


def _per_class(labels: Sequence[str], was_right: Bools, is_right: Bools) -> list[dict[str, Any]]:
    rows = []
    for label in sorted(set(labels)):
        mine = np.array([one == label for one in labels])
        photos, was, now = int(mine.sum()), int(was_right[mine].sum()), int(is_right[mine].sum())
        drop_pp = 100 * (was - now) / photos
        rows.append({"label": label, "photos": photos, "baseline_correct": was, "correct": now, "drop_pp": drop_pp})
    return rows
