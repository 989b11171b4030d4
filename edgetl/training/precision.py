"""Compute precision of the trainable part during training. The saved model is float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgetl._lib.extras import tensorflow

_TENSOR_CORES = (7, 0)  # compute capability of the first GPUs with fast float16: Volta


def resolve_precision(precision: str) -> str:
    """Return the Keras dtype policy; ``auto`` is ``mixed_float16`` where every GPU is fast at it, else ``float32``."""
    if precision != "auto":
        return precision
    config = tensorflow().config
    details = [config.experimental.get_device_details(gpu) for gpu in config.list_physical_devices("GPU")]
    fast = details and all(one.get("compute_capability", (0, 0)) >= _TENSOR_CORES for one in details)
    return "mixed_float16" if fast else "float32"


@contextmanager
def computing_in(policy: str, part: Any) -> Iterator[None]:
    """Let the layers of a keras.Model compute under a dtype policy while the block runs.

    Weights stay float32 (Micikevicius et al. 2018, arXiv:1710.03740), and so does the last layer, whose logits go into
    the loss. Graphs traced in the block keep the policy, so the model must not be used after it.
    """
    layers = [] if policy == "float32" else part.layers[:-1]
    before = [layer.dtype_policy for layer in layers]
    for layer in layers:
        layer.dtype_policy = policy
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.dtype_policy = own
