"""The original model, run by its own runtime: the reference for the import, and for finding its preprocessing."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgetl._lib import extras
from edgetl._lib.cores import available_cores
from edgetl_device.input_size import InputSize

_BATCH = 16


class Original(Protocol):
    """A model as it was handed in.

    Attributes:
        runtime: What runs it, with its version.
    """

    runtime: str

    def outputs(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the outputs, float32 [n, ...], for inputs as the model takes them but NHWC, [n, H, W, C]."""


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
        nchw: Whether its input is [n, C, H, W].
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
        batches = _batches(inputs, nchw=self._nchw, batch=self._batch)
        return np.concatenate([self._session.run(None, {self._name: given})[0] for given in batches])


class TFLiteOriginal:
    """A TFLite model in LiteRT.

    Args:
        data: The file, with its weights in floats.
        size: Height, width and channels of the input.
        nchw: Whether its input is [1, C, H, W].
        instead_of: The type of the weights in its file, if LiteRT would compute otherwise with them; else empty.
    """

    def __init__(self, data: bytes, *, size: InputSize, nchw: bool = False, instead_of: str = "") -> None:
        litert = extras.require("ai_edge_litert.interpreter")
        self._interpreter = litert.Interpreter(model_content=data, num_threads=available_cores())
        (pixels,), (scores,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._input, self._output, self._nchw = pixels["index"], scores["index"], nchw
        height, width, channels = size.shape
        shape = (1, channels, height, width) if nchw else (1, height, width, channels)
        self._interpreter.resize_tensor_input(self._input, shape)
        self._interpreter.allocate_tensors()
        self.runtime = f"ai-edge-litert {metadata.version('ai-edge-litert')}"
        if instead_of:
            self.runtime += f" with float32 weights instead of {instead_of}"

    def outputs(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """As :meth:`Original.outputs`."""
        parts = []
        for given in _batches(inputs, nchw=self._nchw, batch=False):
            self._interpreter.set_tensor(self._input, given)
            self._interpreter.invoke()
            parts.append(np.array(self._interpreter.get_tensor(self._output)))
        return np.concatenate(parts)


class SavedModelOriginal:
    """The graph of a SavedModel in TensorFlow.

    Args:
        function: From float32 [n, H, W, C], or [n, C, H, W], to its output.
        nchw: Whether it is the latter.
        batch: Whether it takes batches of any size.
    """

    def __init__(self, function: Any, *, nchw: bool, batch: bool) -> None:
        self._function, self._nchw, self._batch = function, nchw, batch
        self.runtime = f"tensorflow {extras.tensorflow().__version__}"

    def outputs(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """As :meth:`Original.outputs`."""
        constant = extras.tensorflow().constant
        batches = _batches(inputs, nchw=self._nchw, batch=self._batch)
        return np.concatenate([np.asarray(self._function(constant(given))) for given in batches])


def _batches(inputs: npt.NDArray[np.float32], *, nchw: bool, batch: bool) -> Iterator[npt.NDArray[np.float32]]:
    """Yield inputs [n, H, W, C] as a model takes them: in batches or one by one, and channels first or last."""
    many = _BATCH if batch else 1
    for start in range(0, len(inputs), many):
        part = inputs[start : start + many]
        yield np.ascontiguousarray(part.transpose(0, 3, 1, 2)) if nchw else part
