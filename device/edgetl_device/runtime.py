"""One interface over the programs that run a model on a device: LiteRT, ONNX Runtime, and a null runtime.

A runtime gives uint8 pixels to the model in the type it takes, and probabilities back as float32. Not for: photos
(``preprocess``), labels (``classifier``), and models that are not image classifiers of one photo at a time.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from . import delegate as delegates
from . import delegated, quant
from .delegate import Delegate
from .errors import EdgetlError, InputError, Unavailable

Pixels = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]

FORMATS = ("tflite", "onnx", "null")
LITERT, TFLITE_RUNTIME, ONNXRUNTIME = "ai-edge-litert", "tflite-runtime", "onnxruntime"
MAX_THREADS = 256


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        dtype: NumPy's name: ``float32``, ``uint8`` or ``int8``.
        shape: With the batch of 1 in front.
        scale: Step of the integer grid in real units, ``real = scale * (q - zero_point)``; None where it has none.
        zero_point: The integer that stands for 0.0; None where it has none.
    """

    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object; without quantization, scale and zero_point are left out."""
        document: dict[str, Any] = {"dtype": self.dtype, "shape": list(self.shape)}
        if self.scale is not None:
            document |= {"scale": self.scale, "zero_point": self.zero_point}
        return document


class Runtime(Protocol):
    """A model that is loaded and ready. One thread uses it at a time.

    Attributes:
        name: The package that runs the model.
        version: Its version.
        threads: The number of CPU threads it may use.
        input: Spec of the pixels.
        output: Spec of the probabilities.
        delegate: What :func:`edgetl_device.delegated.describe` says of the external delegate, where one was asked for.
        share: Which delegate runs how many of the model's operators, also one that nobody asked for: ``name``,
            ``operators``, ``of``, ``partitions``. None where the runtime knows no delegates.
    """

    name: str
    version: str
    threads: int
    input: TensorSpec
    output: TensorSpec
    delegate: dict[str, Any] | None
    share: dict[str, Any] | None

    def feed(self, pixels: Pixels) -> None:
        """Copy one photo (uint8 RGB 0..255, [S, S, 3]) to the input; float models get the same values as float32."""

    def invoke(self) -> None:
        """Run the model on what was fed last."""

    def probabilities(self) -> Probabilities:
        """Return the output of the last run as float32 [classes], dequantized; the caller owns it."""

    def close(self) -> None:
        """Give the model's memory back. The runtime cannot be used afterwards."""


def open_runtime(
    model: bytes, format: str, *, threads: int = 1, prefer: str | None = None, delegate: Delegate | None = None
) -> Runtime:
    """Load a model and return it ready to run.

    Args:
        model: The bytes of the file. For ``null``: ``{"size": S, "classes": N}`` as JSON.
        format: ``tflite``, ``onnx`` or ``null``.
        threads: CPU threads, 1 to 256.
        prefer: For ``tflite``, insist on ``ai-edge-litert`` or ``tflite-runtime``; by default the first that is
            installed.
        delegate: For ``tflite``, a delegate that must take at least a part of the model, or ``none`` to do without.

    tflite-runtime does not check a model before it reads it: give it only bytes of a known SHA-256, as a bundle does.

    Raises:
        InputError: The bytes are not a model of this format, not an image classifier, or not made for the delegate.
        Unavailable: The runtime or the delegate is not installed, cannot be loaded, or cannot run the model.
    """
    check_threads(threads)
    check_delegate(model, format, delegate)
    if format == "tflite":
        return _TFLiteRuntime(model, threads, prefer, delegate)
    if format == "onnx":
        return _OnnxRuntime(model, threads)
    if format == "null":
        return _NullRuntime(model, threads)
    raise InputError(f"model format {format!r}", why=f"must be one of {', '.join(FORMATS)}")


def load_library(format: str, *, prefer: str | None = None) -> None:
    """Import what runs ``format``, so that a load time measured afterwards is the model's own.

    Raises:
        Unavailable: It is not installed, or cannot be loaded.
    """
    if format == "tflite":
        _tflite_module(prefer)
    elif format == "onnx":
        _onnx_module()


def tflite_runtime(prefer: str | None = None) -> str:
    """Return name and version of the TFLite runtime that models get here, as in ``ai-edge-litert 2.3.0``.

    Raises:
        Unavailable: There is none, or it cannot be loaded.
    """
    name, _ = _tflite_module(prefer)
    return f"{name} {_version(name)}"


def check_delegate(model: bytes, format: str, delegate: Delegate | None) -> None:
    """Refuse a model that cannot use the delegate, or cannot run without one.

    Raises:
        InputError: The model is not made for the delegate.
        Unavailable: It is made for a delegate, and there is none.
    """
    if format == "tflite":
        delegates.check_model(delegate, model)
    elif delegate is not None:
        raise InputError(f"a delegate for a model in the {format} format", why="delegates are for TFLite models")


def check_threads(threads: int) -> None:
    """Refuse a number of threads that is not a whole number from 1 to 256."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise InputError(f"threads {threads!r}", why=f"must be a whole number from 1 to {MAX_THREADS}")


class _TFLiteRuntime:
    def __init__(self, model: bytes, threads: int, prefer: str | None, delegate: Delegate | None) -> None:
        self.name, module = _tflite_module(prefer)
        self.version = _version(self.name)
        self.threads = threads
        if model[4:8] != b"TFL3":
            raise _not_a_model("TFLite", "the identifier TFL3 is missing")
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
            self.delegate = delegated.describe(external, self._interpreter) if external else None
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            if external and delegate:
                raise delegates.failed(delegate, str(error), f"{self.name} {self.version}") from None
            raise self._refused(str(error)) from None
        # An external delegate was counted before XNNPACK could take a part of the rest.
        self.share: dict[str, Any] | None = self.delegate or delegated.share(delegate, self._interpreter)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.input = _spec_of_tflite(_only(inputs, "input"))
        self.output = _spec_of_tflite(_only(outputs, "output"))
        _check_classifier(self.input, self.output)
        self._output_index, self._grid = outputs[0]["index"], _grid(self.output)
        # A function that returns a view of the input tensor. The view itself is never kept: while one is alive, the
        # interpreter refuses to run, because running may move the memory.
        self._input_view = self._interpreter.tensor(inputs[0]["index"])

    def feed(self, pixels: Pixels) -> None:
        _check_pixels(pixels, self.input)
        self._input_view()[0] = pixels if self.input.dtype != "int8" else _shifted(pixels, self.input)

    def invoke(self) -> None:
        self._interpreter.invoke()

    def probabilities(self) -> Probabilities:
        return _real(self._interpreter.get_tensor(self._output_index)[0], self._grid)

    def close(self) -> None:
        self._interpreter = self._input_view = None

    def _refused(self, why: str) -> EdgetlError:
        # LiteRT names operators it does not have, or has only in an older version, in one of these two sentences.
        if "unresolved custom op" in why or "Didn't find op" in why:
            return Unavailable(
                f"{self.name} {self.version} cannot run this model", why=why, hint="Update it, or use another variant."
            )
        return _not_a_model("TFLite", why)


class _OnnxRuntime:
    def __init__(self, model: bytes, threads: int) -> None:
        module = _onnx_module()
        self.name, self.version, self.threads = ONNXRUNTIME, module.__version__, threads
        self.delegate: dict[str, Any] | None = None
        self.share: dict[str, Any] | None = None
        options = module.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: what it would warn about is raised below anyway
        try:
            self._session = module.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # ONNX Runtime's exceptions have no public base class of their own.
            raise _not_a_model("ONNX", str(error)) from None
        self.input = _spec_of_onnx(_only(self._session.get_inputs(), "input"))
        self.output = _spec_of_onnx(_only(self._session.get_outputs(), "output"))
        _check_classifier(self.input, self.output)
        self._grid = _grid(self.output)
        self._output_names = [self._session.get_outputs()[0].name]
        self._batch = np.zeros(self.input.shape, self.input.dtype)
        self._feeds = {self._session.get_inputs()[0].name: self._batch}
        self._result = np.zeros(self.output.shape, self.output.dtype)

    def feed(self, pixels: Pixels) -> None:
        _check_pixels(pixels, self.input)
        self._batch[0] = pixels

    def invoke(self) -> None:
        (self._result,) = self._session.run(self._output_names, self._feeds)

    def probabilities(self) -> Probabilities:
        return _real(self._result[0], self._grid)

    def close(self) -> None:
        self._session = None


class _NullRuntime:
    """Runs nothing and finds all classes equally likely: what remains is the cost of the harness around it."""

    def __init__(self, model: bytes, threads: int) -> None:
        self.name, self.version, self.threads = "null", "1", threads
        self.delegate: dict[str, Any] | None = None
        self.share: dict[str, Any] | None = None
        try:
            fields = json.loads(model)
            size, classes = int(fields["size"]), int(fields["classes"])
        except (ValueError, KeyError, TypeError):
            raise _not_a_model("null", 'expected {"size": S, "classes": N}') from None
        self.input = TensorSpec("uint8", (1, size, size, 3), 1.0, 0)
        self.output = TensorSpec("float32", (1, classes), None, None)
        _check_classifier(self.input, self.output)
        self._batch = np.zeros(self.input.shape, np.uint8)
        self._result = np.full(classes, 1 / classes, np.float32)

    def feed(self, pixels: Pixels) -> None:
        _check_pixels(pixels, self.input)
        self._batch[0] = pixels

    def invoke(self) -> None:
        pass

    def probabilities(self) -> Probabilities:
        return self._result.copy()

    def close(self) -> None:
        pass


def _tflite_module(prefer: str | None) -> tuple[str, ModuleType]:
    modules = {LITERT: "ai_edge_litert", TFLITE_RUNTIME: "tflite_runtime"}
    if prefer is not None and prefer not in modules:
        raise InputError(f"runtime {prefer!r}", why=f"must be one of {', '.join(modules)}")
    for name, package in modules.items():
        if prefer in (None, name) and importlib.util.find_spec(package) is not None:
            if name == TFLITE_RUNTIME and int(np.__version__.split(".")[0]) >= 2:
                # Its extension is built for NumPy 1; imported anyway, it fails with a page of text or crashes.
                raise Unavailable(
                    f"tflite-runtime cannot be loaded with NumPy {np.__version__}",
                    why="its last release, 2.14, needs NumPy 1",
                    hint="Install ai-edge-litert, or: pip install 'numpy<2'",
                )
            return name, _load(f"{package}.interpreter", name, hint="")
    wanted = prefer or f"{LITERT} or {TFLITE_RUNTIME}"
    raise Unavailable(
        f"{wanted} is not installed here",
        why="TFLite models need it",
        hint=f"Install it: pip install {prefer or LITERT}",
    )


def _onnx_module() -> ModuleType:
    return _load("onnxruntime", ONNXRUNTIME, hint="Install it: pip install onnxruntime")


def _load(module: str, package: str, *, hint: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module.split(".")[0]:
            raise Unavailable(f"{package} is not installed here", hint=hint) from None
        raise Unavailable(f"{package} cannot be loaded", why=str(error), hint="Install it again.") from None
    except (ImportError, OSError) as error:
        raise Unavailable(
            f"{package} is installed but cannot be loaded on Python {sys.version.split()[0]}",
            why=str(error),
            hint="Install it again, or a version made for this system.",
        ) from None


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # a build under another name, such as ai-edge-litert-nightly


def _only(tensors: list[Any], what: str) -> Any:
    if len(tensors) != 1:
        raise InputError(f"the model has {len(tensors)} {what}s", why="an image classifier has one")
    return tensors[0]


def _spec_of_tflite(detail: dict[str, Any]) -> TensorSpec:
    # Per-tensor scales are in ``quantization``; (0.0, 0) means that the tensor has none.
    scale, zero_point = detail["quantization"]
    shape = tuple(int(side) for side in detail["shape"])
    dtype = np.dtype(detail["dtype"]).name
    if scale == 0.0:
        return TensorSpec(dtype, shape, None, None)
    return TensorSpec(dtype, shape, float(scale), int(zero_point))


def _spec_of_onnx(argument: Any) -> TensorSpec:
    # A dimension with a name or None is open; the batch is the only one that may be, and it is 1 here.
    shape = tuple(side if isinstance(side, int) else 1 for side in argument.shape)
    dtype = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}.get(argument.type, argument.type)
    return TensorSpec(dtype, shape, None, None)


def _check_classifier(input: TensorSpec, output: TensorSpec) -> None:
    shape = input.shape
    if len(shape) != 4 or shape[0] != 1 or shape[1] != shape[2] or shape[3] != 3:
        raise InputError(
            f"the model's input has shape {list(shape)}", why="expected [1, S, S, 3]: one square RGB photo"
        )
    if len(output.shape) != 2 or output.shape[0] != 1:
        raise InputError(f"the model's output has shape {list(output.shape)}", why="expected [1, classes]")
    for what, spec in (("input", input), ("output", output)):
        if spec.dtype not in ("float32", "uint8", "int8"):
            raise InputError(f"the model's {what} is of type {spec.dtype}", why="expected float32, uint8 or int8")
    if input.dtype == "int8":
        _shifted(np.zeros((1, 1, 3), np.uint8), input)
    if output.dtype != "float32" and output.scale is None:
        raise InputError(f"the model's {output.dtype} output has no scale", why="it cannot be read as probabilities")


def _check_pixels(pixels: Pixels, spec: TensorSpec) -> None:
    if pixels.dtype != np.uint8 or pixels.shape != spec.shape[1:]:
        raise InputError(
            f"pixels of type {pixels.dtype} and shape {list(pixels.shape)}",
            why=f"the model takes uint8 of shape {list(spec.shape[1:])}",
        )


def _shifted(pixels: Pixels, spec: TensorSpec) -> npt.NDArray[Any]:
    if spec.scale is None or spec.zero_point is None:
        raise InputError(f"the model's {spec.dtype} input has no scale", why="pixels cannot be put on its grid")
    return quant.pixels_to_grid(pixels, spec.dtype, spec.scale, spec.zero_point)


def _grid(spec: TensorSpec) -> Probabilities | None:
    """Return the value of each of the 256 integers of an output, in the order of their bytes; None for floats.

    Looking an answer up takes one call of NumPy where computing it takes four, each of which the model has pushed out
    of the caches.
    """
    if spec.scale is None or spec.zero_point is None:
        return None
    return quant.to_real(np.arange(256, dtype=np.uint8).view(spec.dtype), spec.scale, spec.zero_point)


def _real(values: npt.NDArray[Any], grid: Probabilities | None) -> Probabilities:
    return np.array(values, np.float32) if grid is None else grid[values.view(np.uint8)]


def _not_a_model(format: str, why: str) -> InputError:
    return InputError(
        f"not a model in the {format} format", why=why, hint="The file is damaged or of another kind; copy it again."
    )
