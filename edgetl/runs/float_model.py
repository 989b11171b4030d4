"""The float model's predictions on photos: the reference for every exported variant."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import keras
from edgetl._lib.progress import track

_BATCH = 32


def logits(
    model: Any, pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], *, description: str
) -> npt.NDArray[np.float32]:
    """Return the float model's logits for photos, in constant memory.

    Args:
        model: keras.Model with a layer ``logits``.
        pixels: uint8 [photos, S, S, 3], may be memory-mapped.
        rows: Indices into ``pixels``, int64 [n]; n is at least 1.
        description: Label of the progress bar.

    Returns:
        Logits, float32 [n, classes].
    """
    to_logits = keras().Model(model.input, model.get_layer("logits").output)
    parts = []
    with track(description, len(rows)) as advance:
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            # Pad the last batch: every new batch size would retrace the graph.
            full = pixels[np.resize(batch, _BATCH)].astype(np.float32)
            parts.append(to_logits.predict_on_batch(full)[: len(batch)])
            advance(len(batch))
    return np.concatenate(parts)


def softmax(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the softmax over the last axis, float32, computed in float64."""
    wide = scores.astype(np.float64)
    exponentials = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray((exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32))
