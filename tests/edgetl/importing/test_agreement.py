"""The gate of an import: equal within 1e-5, or within what rounding explains, and the same labels."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from edgetl._lib.extras import keras
from edgetl.importing.agreement import agreement, gate
from edgetl.importing.inputs import RAW
from edgetl.importing.plain import Finished
from edgetl.runs.import_record import ImportAgreement
from edgetl_device.errors import GateFailed


@pytest.mark.parametrize(
    ("max_abs", "rounding", "passes"),
    [
        (9e-6, 0, True),
        (1.1e-5, 1e-7, False),
        (3e-5, 1e-5, True),
        (2e-4, 1e-5, False),
        (math.nan, 1e-7, False),
        (9e-4, 1e-2, True),
        (2e-3, 1e-2, False),
    ],
)
def test_a_difference_is_allowed_as_far_as_rounding_goes(max_abs: float, rounding: float, passes: bool) -> None:
    found = ImportAgreement(50, 49, max_abs, rounding, near_ties=1)
    if passes:
        gate(found, shown="theirs.onnx", runtime="onnxruntime 1")
        return
    with pytest.raises(GateFailed, match=r"theirs\.onnx: the imported model differs from the original") as failed:
        gate(found, shown="theirs.onnx", runtime="onnxruntime 1")
    assert "49 of 50 photos have the same label" in failed.value.why


class Shifted:
    """A model whose outputs are those of a Keras model with something added, float32 [n, 3]."""

    runtime = "numpy"

    def __init__(self, model: object, added: float) -> None:
        self._model, self._added = model, added

    def outputs(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        found = np.array(self._model.predict_on_batch(inputs))  # type: ignore[attr-defined]
        found[:, 1] += self._added
        return found


@pytest.mark.parametrize(("apart", "passes"), [(0.0, True), (1e-3, False)])
def test_labels_may_differ_where_the_best_two_are_as_good(apart: float, passes: bool) -> None:
    k = keras().layers
    pixels = k.Input((16, 16, 3), name="pixels")
    dense = k.Dense(3, name="logits")
    model = keras().Model(pixels, k.Softmax(name="probabilities")(dense(k.GlobalAveragePooling2D()(pixels))))
    dense.set_weights([np.zeros((3, 3), np.float32), np.array([apart, 0, -1], np.float32)])
    # Probabilities differ by less than 1e-3 and, but for a tie, have another order.
    original = Shifted(model, 1e-6 if passes else 6e-4)
    photos = np.zeros((4, 16, 16, 3), np.uint8)
    found = agreement(Finished(model, "softmax"), original, RAW, photos)
    assert (found.agree, found.near_ties) == (0, 4 if passes else 0)
    rounded = replace(found, rounding=1.0, near_ties=found.near_ties)
    if passes:
        gate(rounded, shown="theirs.onnx", runtime="numpy")
        return
    with pytest.raises(GateFailed, match="has other labels than the original in numpy"):
        gate(rounded, shown="theirs.onnx", runtime="numpy")
