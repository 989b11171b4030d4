"""``predictions.csv``: the float model's prediction for each held-out photo of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt

from edgetl._lib.csv import read_table, write_table
from edgetl.data import Sample
from edgetl_device.errors import InputError

FILE = "predictions.csv"


@dataclass(frozen=True)
class HeldOutPrediction:
    """One photo and its most likely class.

    Attributes:
        path: Relative to the data set's folder, as in ``split.csv``.
        label: True class.
        split: ``val`` or ``test``.
        sha256: SHA-256 of the file.
        predicted: Most likely class.
        probability: Probability of the most likely class, 0..1.
    """

    path: str
    label: str
    split: str
    sha256: str
    predicted: str
    probability: float


_COLUMNS = tuple(field.name for field in fields(HeldOutPrediction))


def predictions_of(
    samples: Sequence[Sample], labels: Sequence[str], probabilities: npt.NDArray[np.float32]
) -> list[HeldOutPrediction]:
    """Return the most likely class of each sample; ``probabilities`` is float32 [samples, classes]."""
    return [
        HeldOutPrediction(one.path, one.label, one.split, one.sha256, labels[row.argmax()], round(float(row.max()), 6))
        for one, row in zip(samples, probabilities, strict=True)
    ]


def write_predictions(path: str | os.PathLike[str], predictions: Iterable[HeldOutPrediction]) -> None:
    """Write predictions as CSV, atomically."""
    write_table(path, _COLUMNS, map(astuple, predictions))


def read_predictions(path: str | os.PathLike[str]) -> tuple[HeldOutPrediction, ...]:
    """Read a file written by :func:`write_predictions`.

    Raises:
        InputError: The file is missing or not such a table.
    """
    rows = read_table(
        path,
        _COLUMNS,
        what="a table of predictions",
        hint="Train again: earlier versions of edgetl did not write it.",
    )
    return tuple(_prediction(path, number, row) for number, row in rows)


def _prediction(file: str | os.PathLike[str], number: int, row: list[str]) -> HeldOutPrediction:
    path, label, split, sha256, predicted, probability = row
    try:
        return HeldOutPrediction(path, label, split, sha256, predicted, float(probability))
    except ValueError as error:
        raise InputError(f"{os.fspath(file)}: is not a table of predictions", why=f"line {number}: {error}") from None
