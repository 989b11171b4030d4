"""The original model, run by its own runtime: the reference for the import, and for finding its preprocessing."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgetl._lib import extras

_BATCH = 16


class Original(Protocol):
    """A model as it was handed in.

    Attributes:
        runtime: What runs it, with its version.
    """

    runtime: str

    def outputs(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the outputs, float32 [n, ...], for inputs as the model takes them but NHWC, [n, S, S, 3]."""


class KerasOriginal:
    """A Keras model.

    Args:
        model: keras.Model that computes in float32.
        instead_of: The policy of mixed precision that its file has; empty without one.
    """

    def __init__(self, model: Any, *, instead_of: str = "") -> None:
        self.runtime = f"keras {extras.keras().__version__}"
        if instead_of:
            self.runtime += f" in float32 instead of {instead_of}"
        self._model = model

    def outputs(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """As :meth:`Original.outputs`."""
        parts = []
        for start in range(0, len(inputs), _BATCH):
            batch = inputs[start : start + _BATCH]
            # Every new batch size would trace the graph again.
            full = batch[np.resize(np.arange(len(batch)), _BATCH)]
            parts.append(np.asarray(self._model.predict_on_batch(full))[: len(batch)])
        return np.concatenate(parts)


class OnnxOriginal:
    """An ONNX model in ONNX Runtime.

    Args:
        data: The file.
        nchw: Whether its input is [n, 3, S, S].
        batch: Whether it takes batches of any size.
    """

    def __init__(self, data: bytes, *, nchw: bool, batch: bool) -> None:
        runtime = extras.require("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        self._session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._name = self._session.get_inputs()[0].name
        self._nchw, self._batch = nchw, batch
        self.runtime = f"onnxruntime {runtime.__version__}"

    def outputs(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """As :meth:`Original.outputs`."""
        many = _BATCH if self._batch else 1
        parts = []
        for start in range(0, len(inputs), many):
            batch = inputs[start : start + many]
            given = np.ascontiguousarray(batch.transpose(0, 3, 1, 2)) if self._nchw else batch
            parts.append(self._session.run(None, {self._name: given})[0])
        return np.concatenate(parts)
