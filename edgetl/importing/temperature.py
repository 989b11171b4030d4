"""Fit the temperature of an imported model and fold it into its last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgetl.data import Dataset, Sample, targets_of
from edgetl.runs import float_model
from edgetl.runs.temperature import FittedTemperature, fit_temperature, fold
from edgetl_device.errors import OptionError

from .plain import kind


def check_last_layer(model: Any) -> None:
    """Refuse a model whose logits do not come from a dense layer.

    Raises:
        OptionError: They do not, so that there is nothing to fold a temperature into.
    """
    layer = model.get_layer("logits")
    if kind(layer) != "Dense":
        raise OptionError(
            "{temperature=}: the model does not end in a dense layer",
            why=f"the temperature is folded into its weights; this one ends in {kind(layer)}",
            hint="Leave out {temperature}.",
            temperature=True,
        )


def calibrate(model: Any, dataset: Dataset, samples: Sequence[Sample], labels: Sequence[str]) -> FittedTemperature:
    """Divide a model's logits, in place, by the temperature that fits some photos best.

    Args:
        model: keras.Model with a dense layer ``logits``.
        dataset: The data set, in the fit of the model.
        samples: Photos of it that no result is reported on.
        labels: Labels in the order of the outputs.
    """
    rows = dataset.pixels.rows(samples)
    logits = float_model.logits(model, dataset.pixels.array, rows, description="Fitting the temperature")
    fitted = fit_temperature(logits, targets_of(samples, labels))
    fold(model, fitted)
    return fitted
