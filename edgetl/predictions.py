"""``predictions.csv``: what a run's float model says about each photo it was not trained on. Not for: predicting."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgetl.dataset import Sample
from edgetl_device.errors import InputError
from edgetl_device.files import write_text

FILE = "predictions.csv"


@dataclass(frozen=True)
class Prediction:
    """One photo and its most likely class.

    Attributes:
        path: Relative to the data set's folder, as in ``split.csv``.
        label: The true class.
        split: ``val`` or ``test``.
        sha256: Of the file.
        predicted: The most likely class.
        probability: Its probability, 0..1.
    """

    path: str
    label: str
    split: str
    sha256: str
    predicted: str
    probability: float


_COLUMNS = tuple(field.name for field in fields(Prediction))


def predictions_of(
    samples: Sequence[Sample], labels: Sequence[str], probabilities: npt.NDArray[np.float32]
) -> list[Prediction]:
    """Name the most likely class of each sample; ``probabilities`` is float32 [samples, classes]."""
    return [
        Prediction(one.path, one.label, one.split, one.sha256, labels[row.argmax()], round(float(row.max()), 6))
        for one, row in zip(samples, probabilities, strict=True)
    ]


def write_predictions(path: str | os.PathLike[str], predictions: Iterable[Prediction]) -> None:
    """Write predictions as CSV; atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(astuple(prediction) for prediction in predictions)
    write_text(path, text.getvalue())


def read_predictions(path: str | os.PathLike[str]) -> tuple[Prediction, ...]:
    """Read what :func:`write_predictions` wrote.

    Raises:
        InputError: The file is absent, or is not such a table.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream, strict=True))
        if not rows or tuple(rows[0]) != _COLUMNS:
            raise ValueError(f"its first line must be {','.join(_COLUMNS)}")
        return tuple(_prediction(number, row) for number, row in enumerate(rows[1:], start=2))
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file", hint="Train again: earlier versions of edgetl did not write it."
        ) from None
    except (csv.Error, ValueError) as error:
        raise InputError(f"{path}: is not a table of predictions", why=str(error)) from None


def _prediction(number: int, row: list[str]) -> Prediction:
    if len(row) != len(_COLUMNS):
        raise ValueError(f"line {number} has {len(row)} fields; the file is truncated or edited")
    path, label, split, sha256, predicted, probability = row
    return Prediction(path, label, split, sha256, predicted, float(probability))
