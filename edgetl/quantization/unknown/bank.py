"""Choose the training features that a device keeps, and the threshold on the distance to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl_device.unknown import FeatureBank, int8_rows, unit_rows

BANK_BYTES = 300_000
# Chosen on one set, flowers, among 16 to 128 components and 1 to 10 neighbours (benchmarks/unknown.py).
COMPONENTS, NEIGHBOURS = 128, 5
# Of the bytes, for components: the rest is for rows.
_COMPONENTS_BYTES = 200_000
# Of the .npz beside its arrays: headers, and the zip's own.
_FILE_BYTES = 2_000


@dataclass(frozen=True, eq=False)
class Bank:
    """A feature bank, and the arrays that a bundle stores of it.

    Attributes:
        arrays: ``mean`` float32 [features]; ``components`` int8 [components, features] and ``rows`` int8
            [rows, components], each with the scale of every row, float32, in ``components_scales`` and ``rows_scales``.
        bank: What a device makes of them.
    """

    arrays: dict[str, npt.NDArray[Any]]
    bank: FeatureBank


def feature_bank(features: npt.NDArray[np.float32]) -> Bank:
    """Return the feature bank of training photos, at most :data:`BANK_BYTES` in size.

    Args:
        features: float32 [n, features]; of more photos than fit, a part is drawn.
    """
    unit = unit_rows(features)
    width = features.shape[1]
    count = max(1, min(COMPONENTS, len(unit) - 1, width, _COMPONENTS_BYTES // width))
    mean = unit.mean(axis=0)
    components = np.linalg.svd(unit - mean, full_matrices=False)[2][:count]
    # float32 for the mean and for the scale of each row and component.
    most = max(1, (BANK_BYTES - _FILE_BYTES - count * (width + 4) - 4 * width) // (count + 4))
    if len(unit) > most:
        unit = unit[np.sort(np.random.default_rng(0).permutation(len(unit))[:most])]
    stored, scales = int8_rows(components)
    components = np.asarray(stored * scales[:, None], np.float32)
    rows, row_scales = int8_rows((unit - mean) @ components.T)
    return Bank(
        {
            "mean": mean,
            "components": stored,
            "components_scales": scales,
            "rows": rows,
            "rows_scales": row_scales,
        },
        FeatureBank(mean, components, np.asarray(rows * row_scales[:, None], np.float32), min(NEIGHBOURS, len(rows))),
    )


def distances(bank: FeatureBank, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the distance of each photo's features, float32 [n, features], as a device computes it."""
    return np.array([bank.distance(row) for row in features])


def threshold(distances: npt.NDArray[np.float64], kept: float) -> float:
    """Return the smallest distance that keeps at least a share ``kept`` of the photos, 0 to 1."""
    place = max(0, math.ceil(kept * len(distances)) - 1)
    return float(np.sort(distances)[place])
