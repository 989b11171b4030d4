"""The temperature is folded into the last layer, and only there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgetl._lib.extras import keras
from edgetl.data import Dataset, load_dataset
from edgetl.runs import float_model
from edgetl.runs.temperature import fit_temperature
from edgetl.training.stages import rows_of
from edgetl.training.temperature import calibrate
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess


def network(classes: int) -> object:
    layers = keras().layers
    inputs = keras().Input((32, 32, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.AveragePooling2D(8)(layers.Rescaling(1 / 255)(inputs)))
    logits = layers.Dense(classes, name="logits")(pooled)
    made = keras().Model(inputs, layers.Softmax(name="probabilities")(logits))
    # Logits that are much too large, but say something: 20 of the 30 photos are right.
    random = np.random.default_rng(15)
    made.get_layer("logits").set_weights([random.normal(0, 30, (3, classes)), random.normal(0, 1, classes)])
    return made


def logits_of(made: object, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    rows, targets = rows_of(dataset, "val")
    return float_model.logits(made, dataset.pixels.array, rows, description=""), targets


def test_kernel_and_bias_are_divided_by_the_best_temperature(photo_folder: Callable[..., Path]) -> None:
    dataset = load_dataset(
        photo_folder({"train/a": 2, "train/b": 2, "val/a": 15, "val/b": 15}), Preprocess(size=square(32))
    )
    made = network(2)
    before, targets = logits_of(made, dataset)
    fitted = calibrate(made, dataset)
    after, _ = logits_of(made, dataset)
    assert fitted == fit_temperature(before, targets)
    assert fitted.value > 2
    np.testing.assert_allclose(after * fitted.value, before, rtol=1e-4, atol=1e-4)


def test_without_validation_photos_the_model_stays_as_it_is(photo_folder: Callable[..., Path]) -> None:
    dataset = load_dataset(photo_folder({"train/a": 3, "train/b": 3}), Preprocess(size=square(32)), val=0.0, test=0.0)
    made = network(2)
    weights = made.get_weights()
    fitted = calibrate(made, dataset)
    assert fitted.why_unchanged is not None
    assert all(np.array_equal(one, other) for one, other in zip(weights, made.get_weights(), strict=True))
