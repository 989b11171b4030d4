"""Run TFLite models with LiteRT or its predecessor tflite-runtime."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import numpy as np

from edgetl_device.delegates import delegate as delegates
from edgetl_device.delegates import share
from edgetl_device.delegates.delegate import Delegate
from edgetl_device.delegates.share import External, Share
from edgetl_device.errors import EdgetlError, InputError, NumPyTooNew, Unavailable, is_out_of_memory, out_of_memory

from .installed import load, version
from .integer_grid import shifted
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

LITERT, TFLITE_RUNTIME = "ai-edge-litert", "tflite-runtime"


def open_tflite(model: bytes, threads: int, prefer: str | None, delegate: Delegate | None, batch: int) -> Runtime:
    """Load a TFLite model; see :func:`edgetl_device.runtime.open_runtime`."""
    try:
        return _TFLiteRuntime(model, threads, prefer, delegate, batch)
    except UnicodeDecodeError as error:
        raise not_a_model("TFLite", f"a name in it is not UTF-8: {error.reason}") from None


class _TFLiteRuntime:
    def __init__(self, model: bytes, threads: int, prefer: str | None, delegate: Delegate | None, batch: int) -> None:
        self.name, module = tflite_module(prefer)
        self.version = version(self.name)
        self.threads = threads
        if model[4:8] != b"TFL3":
            raise not_a_model("TFLite", "the identifier TFL3 is missing")
        external = delegate if delegate is not None and delegate.external else None
        handles = [delegates.open_delegate(external, module, f"{self.name} {self.version}")] if external else None
        resolvers, bare = module.OpResolverType, delegate is not None and delegate.name == delegates.NONE
        try:
            self._interpreter = module.Interpreter(
                model_content=model,
                num_threads=threads,
                experimental_delegates=handles,
                experimental_op_resolver_type=resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES if bare else resolvers.AUTO,
            )
            taken = share.describe(external, self._interpreter) if external else None
            if batch > 1:
                first = only(self._interpreter.get_input_details(), "input")
                self._interpreter.resize_tensor_input(first["index"], [batch, *first["shape"][1:]])
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise out_of_memory(f"for {self.name} to load the model", str(error)) from None
            if external and delegate:
                raise delegates.failed(delegate, str(error), f"{self.name} {self.version}") from None
            raise self._refused(str(error), batch) from None
        # An external delegate's share was counted before XNNPACK could take part of the rest.
        self.external: External | None = taken[0] if taken else None
        self.delegate: str | None
        self.share: Share | None
        self.delegate, self.share = (taken[0].name, taken[1]) if taken else share.share(delegate, self._interpreter)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.input = _spec_of(only(inputs, "input"))
        self.output, *more = map(_spec_of, check_outputs(outputs))
        self.features = tuple(more)
        check_classifier(self.input, self.output, batch, features=self.features)
        self._output_index, self._grid = outputs[0]["index"], grid(self.output)
        self._features = [(one["index"], grid(spec)) for one, spec in zip(outputs[1:], more, strict=True)]
        # Returns a view of the input tensor. Do not keep the view: while it is alive, the interpreter refuses to run,
        # because running may move the memory.
        self._input_view = self._interpreter.tensor(inputs[0]["index"])

    def set_input(self, pixels: Pixels, row: int = 0) -> None:
        check_pixels(pixels, self.input)
        self._input_view()[row] = pixels if self.input.dtype != "int8" else shifted(pixels)

    def invoke(self) -> None:
        self._interpreter.invoke()

    def probabilities(self, row: int = 0) -> Probabilities:
        return real(self._interpreter.get_tensor(self._output_index)[row], self._grid)

    def pooled(self, row: int = 0) -> Features:
        return pool([real(self._interpreter.get_tensor(index)[row], table) for index, table in self._features])

    def dense_input(self, row: int = 0) -> Features:
        index, table = self._features[0]
        return real(self._interpreter.get_tensor(index)[row], table).reshape(-1)

    def close(self) -> None:
        self._interpreter = self._input_view = None

    def _refused(self, why: str, batch: int) -> EdgetlError:
        # LiteRT's messages for an operator that it lacks, or supports only in an older version.
        if "unresolved custom op" in why or "Didn't find op" in why:
            return Unavailable(
                f"{self.name} {self.version} cannot run this model", why=why, hint="Update it, or use another variant."
            )
        if batch > 1:
            return InputError(
                f"the model does not support a batch of {batch}", why=why, hint="Its batch size is fixed: use 1."
            )
        return not_a_model("TFLite", why)


def tflite_runtime(prefer: str | None = None) -> str:
    """Return name and version of the TFLite runtime used here, such as ``ai-edge-litert 2.3.0``.

    Raises:
        Unavailable: There is none, or it cannot be loaded.
    """
    name, _ = tflite_module(prefer)
    return f"{name} {version(name)}"


def tflite_module(prefer: str | None) -> tuple[str, ModuleType]:
    """Import the preferred runtime, or the first that is installed; return its name and its module ``interpreter``.

    Raises:
        InputError: ``prefer`` is not a known runtime.
        Unavailable: It is not installed, or cannot be loaded.
    """
    modules = {LITERT: "ai_edge_litert", TFLITE_RUNTIME: "tflite_runtime"}
    if prefer is not None and prefer not in modules:
        raise InputError(f"runtime {prefer!r}", why=f"must be one of {', '.join(modules)}")
    for name, package in modules.items():
        if prefer in (None, name) and importlib.util.find_spec(package) is not None:
            if name == TFLITE_RUNTIME and int(np.__version__.split(".")[0]) >= 2:
                # Its extension is built for NumPy 1: importing it would print a page of errors, or crash.
                raise NumPyTooNew(
                    f"tflite-runtime cannot be loaded with NumPy {np.__version__}",
                    why="its last release, 2.14, needs NumPy 1",
                    hint="Install ai-edge-litert, or: pip install 'numpy<2'",
                )
            return name, load(f"{package}.interpreter", name, hint="")
    wanted = prefer or f"{LITERT} or {TFLITE_RUNTIME}"
    raise Unavailable(
        f"{wanted} is not installed here",
        why="TFLite models need it",
        hint=f"Install it: pip install {prefer or LITERT}",
    )


def _spec_of(detail: dict[str, Any]) -> TensorSpec:
    # Per-tensor scales are in ``quantization``; (0.0, 0) means that the tensor has none.
    scale, zero_point = detail["quantization"]
    shape = tuple(int(side) for side in detail["shape"])
    dtype = np.dtype(detail["dtype"]).name
    if scale == 0.0:
        return TensorSpec(dtype, shape, None, None)
    return TensorSpec(dtype, shape, float(scale), int(zero_point))
