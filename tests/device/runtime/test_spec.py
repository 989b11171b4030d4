"""Checks and conversions shared by all runtimes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgetl_device.errors import InputError
from edgetl_device.runtime import TensorSpec, check_probabilities, spec

PHOTO = TensorSpec("uint8", (1, 32, 32, 3), 1.0, 0)
SCORES = TensorSpec("float32", (1, 4))


def test_a_classifier_of_each_type_is_taken() -> None:
    spec.check_classifier(PHOTO, SCORES)
    spec.check_classifier(TensorSpec("float32", (4, 32, 32, 3)), TensorSpec("uint8", (4, 4), 1 / 256, 0), batch=4)
    spec.check_classifier(replace(PHOTO, dtype="int8", zero_point=-128), TensorSpec("int8", (1, 4), 1 / 256, -128))
    spec.check_classifier(TensorSpec("int8", PHOTO.shape, 1 / 255, -128), SCORES)


@pytest.mark.parametrize(
    ("input", "output", "batch", "said"),
    [
        (
            replace(PHOTO, shape=(1, 32, 31, 2)),
            SCORES,
            1,
            r"shape \[1, 32, 31, 2\]\nexpected \[1, H, W, 3\] or \[1, H, W, 1\]: one RGB or grey photo",
        ),
        (replace(PHOTO, shape=(1, 3, 32, 32)), SCORES, 1, r"expected \[1, H, W, 3\]"),
        (replace(PHOTO, shape=(32, 32, 3)), SCORES, 1, r"expected \[1, H, W, 3\]"),
        (PHOTO, SCORES, 2, r"expected \[2, H, W, 3\] or \[2, H, W, 1\]: 2 RGB or grey photos"),
        (PHOTO, replace(SCORES, shape=(1, 1, 1, 4)), 1, r"output has shape \[1, 1, 1, 4\]\nexpected \[1, classes\]"),
        (PHOTO, replace(SCORES, shape=(2, 4)), 1, r"expected \[1, classes\]"),
        (replace(PHOTO, dtype="int16"), SCORES, 1, "input is of type int16"),
        (PHOTO, replace(SCORES, dtype="float16"), 1, "output is of type float16"),
        (PHOTO, replace(SCORES, dtype="uint8"), 1, "uint8 output has no scale"),
    ],
)
def test_what_is_no_image_classifier_is_refused(input: TensorSpec, output: TensorSpec, batch: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        spec.check_classifier(input, output, batch)


def test_a_model_of_several_inputs_is_refused() -> None:
    assert spec.only(["a"], "input") == "a"
    for tensors in ([], ["a", "b"]):
        with pytest.raises(InputError, match=f"the model has {len(tensors)} inputs"):
            spec.only(tensors, "input")


@pytest.mark.parametrize(("dtype", "zero_point"), [("uint8", 0), ("int8", -128)])
def test_scores_of_a_grid_are_looked_up(dtype: str, zero_point: int) -> None:
    output = TensorSpec(dtype, (1, 3), 1 / 256, zero_point)
    scores = (np.array([0, 64, 255]) + zero_point).astype(dtype)
    np.testing.assert_allclose(spec.real(scores, spec.grid(output)), [0, 0.25, 255 / 256])


def test_floats_are_as_they_are_and_the_callers_own() -> None:
    scores = np.array([0.25, 0.75], np.float32)
    found = spec.real(scores, spec.grid(SCORES))
    scores[0] = 9
    assert found.tolist() == [0.25, 0.75]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.5, np.nan], "outputs NaN"),
        ([-3.0, 7.5], "numbers from -3 to 7.5"),
        ([0.0, np.inf], "numbers from 0 to inf"),
    ],
)
def test_answers_that_are_no_probabilities(values: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_probabilities(np.array(values, np.float32))


def test_float16_may_round_over_1() -> None:
    check_probabilities(np.array([-0.0005, 1.0005], np.float32))
