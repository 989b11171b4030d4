"""The feature bank of a bundle: what it says of the training photos, and the bank with a class's shots in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl_device.unknown import FeatureBank, int8_rows, unit_rows

Floats = npt.NDArray[np.float32]

# Components added, at most: those of the shots' features that the others have nothing of.
_MORE_COMPONENTS = 16


@dataclass(frozen=True, eq=False)
class GrownBank:
    """A bank with more rows.

    Attributes:
        bank: What a device makes of it.
        arrays: The arrays that a bundle stores (``docs/reference/bundle.md``).
    """

    bank: FeatureBank
    arrays: dict[str, npt.NDArray[Any]]


def directions(bank: FeatureBank, inputs: int) -> Floats:
    """Return the training photos' inputs of the last layer at unit length, float32 [rows, inputs].

    They are the first of a photo's features, as far as the components express them.
    """
    features = (bank.mean + bank.rows @ bank.components)[:, :inputs]
    return unit_rows(features)


def grown(bank: FeatureBank, shots: Floats, *, classes: int) -> GrownBank:
    """Return a bank with rows for the shots, and with components for what they have and the others do not.

    Distances between a photo and the old rows stay as they were, but for rounding. A score is the distance to the k-th
    nearest row, so a class of a few shots would be far from itself: each shot is there as often as a class of average
    size needs, at most k times.

    Args:
        bank: The bank.
        shots: Pooled features of the shots, float32 [n, features].
        classes: Number of classes of the bank.
    """
    unit = unit_rows(shots) - bank.mean
    rest = unit - (unit @ bank.components.T) @ bank.components
    _, sizes, basis = np.linalg.svd(rest, full_matrices=False)
    basis = basis[: min(_MORE_COMPONENTS, int((sizes > 1e-3).sum()))]
    stored, scales = int8_rows(np.concatenate([bank.components, basis]))
    components = np.asarray(stored * scales[:, None], np.float32)
    copies = int(np.clip(round(len(bank.rows) / classes / len(unit)), 1, bank.neighbours))
    of_shots = np.repeat(unit @ components.T, copies, axis=0)
    of_old = np.pad(bank.rows, ((0, 0), (0, len(basis))))
    rows, row_scales = int8_rows(np.concatenate([of_old, of_shots]))
    arrays: dict[str, npt.NDArray[Any]] = {
        "mean": bank.mean,
        "components": stored,
        "components_scales": scales,
        "rows": rows,
        "rows_scales": row_scales,
    }
    dense_rows = np.asarray(rows * row_scales[:, None], np.float32)
    return GrownBank(FeatureBank(bank.mean, components, dense_rows, bank.neighbours), arrays)
