"""Fit the temperature of a trained network and fold it into its last layer."""

from __future__ import annotations

from typing import Any

from edgetl.data import Dataset
from edgetl.runs import float_model
from edgetl.runs.temperature import FEWEST_PHOTOS, FittedTemperature, fit_temperature, fold, left_at_1

from .stages import rows_of


def calibrate(network: Any, dataset: Dataset) -> FittedTemperature:
    """Divide the network's logits by the temperature that fits the validation photos best, in place.

    Kernel and bias of the last layer are divided, so that all files made of the network are calibrated, at no cost.
    """
    rows, targets = rows_of(dataset, "val")
    if len(rows) < FEWEST_PHOTOS:
        return left_at_1(len(rows))
    logits = float_model.logits(network, dataset.pixels.array, rows, description="Fitting the temperature")
    fitted = fit_temperature(logits, targets)
    fold(network, fitted)
    return fitted
