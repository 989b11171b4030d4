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
        pixels: uint8 [photos, H, W, C], may be memory-mapped.
        rows: Indices into ``pixels``, int64 [n]; n is at least 1.
        description: Label of the progress bar.

    Returns:
        Logits, float32 [n, classes].
    """
    (found,) = _outputs(model, [model.get_layer("logits").output], pixels, rows, description)
    return found


def features_and_logits(
    model: Any, pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], *, description: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return what the layer ``logits`` takes, pooled to float32 [n, channels], and what it gives; as :func:`logits`."""
    layer = model.get_layer("logits")
    features, scores = _outputs(model, [layer.input, layer.output], pixels, rows, description)
    return features.reshape(len(rows), -1, features.shape[-1]).mean(axis=1), scores


def _outputs(
    model: Any, tensors: list[Any], pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], description: str
) -> list[npt.NDArray[np.float32]]:
    inner = keras().Model(model.input, tensors)
    parts = []
    with track(description, len(rows)) as advance:
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            # Pad the last batch: every new batch size would retrace the graph.
            full = pixels[np.resize(batch, _BATCH)].astype(np.float32)
            found = inner.predict_on_batch(full)
            # Of one output Keras makes no list.
            parts.append([one[: len(batch)] for one in (found if len(tensors) > 1 else [found])])
            advance(len(batch))
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def softmax(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the softmax over the last axis, float32, computed in float64."""
    wide = scores.astype(np.float64)
    exponentials = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray((exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32))
