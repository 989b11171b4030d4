"""Seed the process-wide random state of libraries for the duration of training.

edgetl's own random numbers come from separate generators.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from edgetl._lib.extras import keras, require, tensorflow


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Seed Python, NumPy, TensorFlow and Keras, and make TensorFlow deterministic while the block runs.

    Keras draws initial weights and dropout seeds from this global state and accepts no generator instead. Afterwards
    the caller's state is restored exactly, so a notebook's random numbers continue as if nothing had run, and op
    determinism, which refuses random operations without a seed, is off again. TensorFlow offers both only through the
    private names below. Other threads of the process share this state.
    """
    numbers, arrays = random.getstate(), np.random.get_state()
    eager = require("tensorflow.python.eager.context").context()
    operations = require("tensorflow.python.util._pywrap_determinism")
    was_deterministic = operations.is_enabled()
    # Does not exist until a seed is set.
    own = getattr(eager, "_rng", None)
    global_seed, position = eager._seed, None if own is None else own.getstate()
    kept = _keras_state()
    keras().utils.set_random_seed(seed)
    tensorflow().config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        operations.enable(was_deterministic)
        _restore_keras(kept)
        tensorflow().random.set_seed(global_seed)
        if position is not None:
            eager._rng.setstate(position)
        np.random.set_state(arrays)
        random.setstate(numbers)


# As keras.utils.set_random_seed and keras.random name them.
_KERAS = ("global_random_seed", "global_seed_generator")


def _keras_state() -> dict[str, Any]:
    state = require("keras.src.backend.common.global_state")
    return {name: state.get_global_attribute(name) for name in _KERAS}


def _restore_keras(kept: dict[str, Any]) -> None:
    state = require("keras.src.backend.common.global_state")
    for name, value in kept.items():
        state.set_global_attribute(name, value)
