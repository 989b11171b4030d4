"""Estimate each photo's class from all other photos: ridge regression on features, with a closed form for leaving out.

The prediction for a row that was left out follows from one fit on all rows (Allen 1974, "The relationship between
variable selection and data augmentation and a method for prediction", Technometrics 16; for groups of rows see Hastie,
Tibshirani & Friedman, "The Elements of Statistical Learning", 7.10). Time and memory are linear in the number of rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import require

# The ridge penalty for rows of length 1: of 0.1 to 3, the one that finds most wrong labels among the flowers and the
# waste photos (benchmarks/label_errors.py).
PENALTY = 1.0
# Rows taken at a time.
_ROWS = 4_096


def estimates(
    features: Sequence[npt.NDArray[np.float32]],
    targets: npt.NDArray[np.int64],
    groups: Sequence[str],
    *,
    classes: int,
    penalty: float = PENALTY,
) -> npt.NDArray[np.float64]:
    """Estimate the class of each row from the rows of all other groups.

    Args:
        features: Each float32 [n, channels]; all count the same, whatever their scale and width.
        targets: int64 [n], classes.
        groups: n names; rows that show the same thing share one.
        classes: Number of classes.
        penalty: The ridge penalty, for rows of length 1.

    Returns:
        float64 [n, classes]: least-squares estimates of each class's probability. Rows sum to 1; values may be below 0
        or above 1.
    """
    linalg = require("scipy.linalg")
    shown = np.eye(classes)[targets]
    share = shown.mean(axis=0)
    widths = sum(part.shape[1] for part in features)
    gram, cross = penalty * np.eye(widths), np.zeros((widths, classes))
    for rows, part in _normalised(features):
        gram += part.T @ part
        cross += part.T @ (shown[rows] - share)
    factor = linalg.cholesky(gram, lower=True, overwrite_a=True)
    weights = linalg.cho_solve((factor, True), cross)

    found = np.empty((len(targets), classes))
    together = _of_several(groups)
    kept: dict[int, npt.NDArray[np.float32]] = {}
    for rows, part in _normalised(features):
        leverage = (linalg.solve_triangular(factor, part.T, lower=True) ** 2).sum(axis=0)
        error = shown[rows] - share - part @ weights
        found[rows] = shown[rows] - error / (1 - leverage)[:, None]
        kept |= {int(row): one for row, one in zip(rows, part, strict=True) if row in together}
    for members in {id(members): members for members in together.values()}.values():
        part = np.stack([kept[int(row)] for row in members])
        half = linalg.solve_triangular(factor, part.T, lower=True)
        error = shown[members] - share - part @ weights
        found[members] = shown[members] - np.linalg.solve(np.eye(len(members)) - half.T @ half, error)
    return found


def _of_several(groups: Sequence[str]) -> dict[int, npt.NDArray[np.int64]]:
    """Return the rows of each row's group, for groups of more than one."""
    members: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    several = [np.array(rows) for rows in members.values() if len(rows) > 1]
    return {int(row): rows for rows in several for row in rows}


def _normalised(
    features: Sequence[npt.NDArray[np.float32]],
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """Yield consecutive rows of all features side by side, standardized and of length 1, with their numbers."""
    scales = [(part.mean(axis=0), part.std(axis=0)) for part in features]
    for start in range(0, len(features[0]), _ROWS):
        parts = []
        for part, (mean, spread) in zip(features, scales, strict=True):
            standard = (part[start : start + _ROWS] - mean) / np.where(spread > 0, spread, 1)
            length = np.linalg.norm(standard, axis=1, keepdims=True)
            parts.append(standard / np.where(length > 0, length, 1))
        together = np.concatenate(parts, axis=1) / len(features) ** 0.5
        yield np.arange(start, start + len(together)), together.astype(np.float32)
