"""The null runtime: runs no model, to measure the bench's overhead."""

from __future__ import annotations

import json

import numpy as np

from edgetl_device.delegates.share import External, Share

from .spec import Features, Pixels, Probabilities, Runtime, TensorSpec, check_classifier, check_pixels, not_a_model


def open_null(model: bytes, threads: int) -> Runtime:
    """Load ``{"shape": [H, W, C], "classes": N}``; see :func:`edgetl_device.runtime.open_runtime`."""
    return _NullRuntime(model, threads)


class _NullRuntime:
    """Returns equal probabilities without running anything, so that only overhead remains."""

    def __init__(self, model: bytes, threads: int) -> None:
        self.name, self.version, self.threads = "null", "1", threads
        self.external: External | None = None
        self.delegate: str | None = None
        self.share: Share | None = None
        try:
            fields = json.loads(model)
            shape, classes = [int(side) for side in fields["shape"]], int(fields["classes"])
        except (ValueError, KeyError, TypeError):
            raise not_a_model("null", 'expected {"shape": [H, W, C], "classes": N}') from None
        self.input = TensorSpec("uint8", (1, *shape), 1.0, 0)
        self.output = TensorSpec("float32", (1, classes), None, None)
        self.features: tuple[TensorSpec, ...] = ()
        check_classifier(self.input, self.output)
        self._batch = np.zeros(self.input.shape, np.uint8)
        self._result = np.full(self.output.shape, 1 / classes, np.float32)

    def set_input(self, pixels: Pixels, row: int = 0) -> None:
        check_pixels(pixels, self.input)
        self._batch[row] = pixels

    def invoke(self) -> None:
        pass

    def probabilities(self, row: int = 0) -> Probabilities:
        return np.asarray(self._result[row].copy())

    def pooled(self, row: int = 0) -> Features:  # noqa: ARG002  # the protocol's
        raise ValueError("the null runtime has no features")

    def dense_input(self, row: int = 0) -> Features:  # noqa: ARG002  # the protocol's
        raise ValueError("the null runtime has no features")

    def close(self) -> None:
        pass
