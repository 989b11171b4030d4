"""A notebook that trains gets back the random state that it had, and the speed of its own operations."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import small

from edgetl._lib.extras import keras, require, tensorflow
from edgetl.training import train
from edgetl.training.determinism import deterministic

pytestmark = pytest.mark.no_cover


def draw() -> tuple[float, ...]:
    """Return the next number of each state that a process has."""
    return (
        random.random(),
        float(np.random.rand()),
        float(tensorflow().random.uniform(())),
        float(keras().random.uniform(())),
    )


def is_deterministic() -> bool:
    return bool(require("tensorflow.python.util._pywrap_determinism").is_enabled())


def test_the_block_is_seeded_and_leaves_no_trace() -> None:
    keras().utils.set_random_seed(5)
    expected = [draw() for _ in range(4)]
    keras().utils.set_random_seed(5)
    before, found = is_deterministic(), [draw()]
    inside = []
    for _ in range(2):
        with deterministic(1):
            assert is_deterministic()
            inside.append([draw() for _ in range(3)])
        assert is_deterministic() == before
        found.append(draw())
    found.append(draw())
    assert found == expected
    assert inside[0] == inside[1]


def test_an_error_leaves_no_trace_either() -> None:
    random.seed(5)
    expected = [random.random() for _ in range(2)]
    random.seed(5)
    assert random.random() == expected[0]
    with pytest.raises(ZeroDivisionError), deterministic(1):
        raise ZeroDivisionError
    assert random.random() == expected[1]


def test_training_changes_nothing_of_the_process(tiny_photos: Path, tmp_path: Path) -> None:
    keras().utils.set_random_seed(5)
    expected = [draw() for _ in range(2)]
    keras().utils.set_random_seed(5)
    before, found = is_deterministic(), [draw()]
    train(tiny_photos, tmp_path / "run", small.options(size=32, epochs=0))
    found.append(draw())
    assert found == expected
    assert is_deterministic() == before
