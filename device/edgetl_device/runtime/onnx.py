"""Run ONNX models with ONNX Runtime on the CPU."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from edgetl_device.delegates.share import External, Share
from edgetl_device.errors import is_out_of_memory, out_of_memory

from .installed import load
from .spec import (
    Features,
    Pixels,
    Probabilities,
    Runtime,
    TensorSpec,
    check_classifier,
    check_outputs,
    check_pixels,
    grid,
    not_a_model,
    only,
    pool,
    real,
)

ONNXRUNTIME = "onnxruntime"


def open_onnx(model: bytes, threads: int) -> Runtime:
    """Load an ONNX model; see :func:`edgetl_device.runtime.open_runtime`."""
    return _OnnxRuntime(model, threads)


class _OnnxRuntime:
    def __init__(self, model: bytes, threads: int) -> None:
        module = onnx_module()
        self.name, self.version, self.threads = ONNXRUNTIME, module.__version__, threads
        self.external: External | None = None
        self.delegate: str | None = None
        self.share: Share | None = None
        options = module.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: problems it would warn about are raised below
        # kOrtSessionOptionsAvx2PrecisionMode: on x86 without VNNI the kernels for int8 weights add pairs of products in
        # 16 bits, which saturates; with this they run as uint8, without saturation. Nothing changes elsewhere.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = module.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # ONNX Runtime's exceptions have no public base class of their own.
            if is_out_of_memory(error):
                raise out_of_memory(f"for {ONNXRUNTIME} to load the model", str(error)) from None
            raise not_a_model("ONNX", str(error)) from None
        self.input = _spec_of(only(self._session.get_inputs(), "input"))
        outputs = check_outputs(self._session.get_outputs())
        self.output, *more = map(_spec_of, outputs)
        self.features = tuple(more)
        check_classifier(self.input, self.output, features=self.features)
        self._grid = grid(self.output)
        self._features_grids = [grid(spec) for spec in more]
        self._output_names = [output.name for output in outputs]
        self._batch = np.zeros(self.input.shape, self.input.dtype)
        self._feeds = {self._session.get_inputs()[0].name: self._batch}
        self._results = [np.zeros(spec.shape, spec.dtype) for spec in (self.output, *more)]

    def set_input(self, pixels: Pixels, row: int = 0) -> None:
        check_pixels(pixels, self.input)
        self._batch[row] = pixels

    def invoke(self) -> None:
        self._results = self._session.run(self._output_names, self._feeds)

    def probabilities(self, row: int = 0) -> Probabilities:
        return real(self._results[0][row], self._grid)

    def pooled(self, row: int = 0) -> Features:
        found = zip(self._results[1:], self._features_grids, strict=True)
        return pool([real(values[row], table) for values, table in found])

    def dense_input(self, row: int = 0) -> Features:
        return real(self._results[1][row], self._features_grids[0])

    def close(self) -> None:
        self._session = None


def onnx_module() -> ModuleType:
    """Import ONNX Runtime.

    Raises:
        Unavailable: It is not installed, or cannot be loaded.
    """
    return load("onnxruntime", ONNXRUNTIME, hint="Install it: pip install onnxruntime")


def _spec_of(argument: Any) -> TensorSpec:
    # A dimension that is a name or None is dynamic. Only the batch may be dynamic; here it is 1.
    shape = tuple(side if isinstance(side, int) else 1 for side in argument.shape)
    dtype = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}.get(argument.type, argument.type)
    return TensorSpec(dtype, shape, None, None)
