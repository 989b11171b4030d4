"""One interface to the runtimes on a device: LiteRT, ONNX Runtime, and a null runtime.

A runtime converts uint8 pixels to the model's input type, and the output to float32 probabilities.
"""

from __future__ import annotations

from edgetl_device.delegates import delegate as delegates
from edgetl_device.delegates.delegate import Delegate
from edgetl_device.errors import InputError

from .batches import Predicted, predict, run_batch
from .litert import open_tflite, tflite_module, tflite_runtime
from .null import open_null
from .onnx import onnx_module, open_onnx
from .spec import Features, Pixels, Probabilities, Runtime, TensorSpec, check_probabilities, features_in

__all__ = [
    "FORMATS",
    "MAX_BATCH",
    "MAX_THREADS",
    "Features",
    "Pixels",
    "Predicted",
    "Probabilities",
    "Runtime",
    "TensorSpec",
    "check_batch",
    "check_delegate",
    "check_probabilities",
    "check_threads",
    "features_in",
    "load_library",
    "open_runtime",
    "predict",
    "run_batch",
    "tflite_runtime",
]

FORMATS = ("tflite", "onnx", "null")
MAX_THREADS = 256
MAX_BATCH = 256


def open_runtime(
    model: bytes,
    format: str,
    *,
    threads: int = 1,
    prefer: str | None = None,
    delegate: Delegate | None = None,
    batch: int = 1,
) -> Runtime:
    """Load a model and return it ready to run.

    Args:
        model: The bytes of the file. For ``null``: ``{"shape": [H, W, C], "classes": N}`` as JSON.
        format: ``tflite``, ``onnx`` or ``null``.
        threads: CPU threads, 1 to 256.
        prefer: For ``tflite``, require ``ai-edge-litert`` or ``tflite-runtime``; by default the first that is
            installed.
        delegate: For ``tflite``, a delegate that must run at least part of the model, or ``none``.
        batch: Images per inference, 1 to 256. Files have a batch of 1; TFLite models are resized for larger ones.

    tflite-runtime does not validate models: pass only bytes with a known SHA-256, as a bundle does.

    Raises:
        InputError: The bytes are not a model of this format, not an image classifier, or do not support the delegate
            or the batch size.
        Unavailable: The runtime or the delegate is not installed, cannot be loaded, or cannot run the model.
    """
    check_threads(threads)
    check_delegate(model, format, delegate)
    check_batch(batch, format, delegate)
    if format == "tflite":
        return open_tflite(model, threads, prefer, delegate, batch)
    if format == "onnx":
        return open_onnx(model, threads)
    if format == "null":
        return open_null(model, threads)
    raise InputError(f"model format {format!r}", why=f"must be one of {', '.join(FORMATS)}")


def load_library(format: str, *, prefer: str | None = None) -> None:
    """Import the runtime for ``format``, so that a load time measured later covers only the model.

    Raises:
        Unavailable: It is not installed, or cannot be loaded.
    """
    if format == "tflite":
        tflite_module(prefer)
    elif format == "onnx":
        onnx_module()


def check_delegate(model: bytes, format: str, delegate: Delegate | None) -> None:
    """Refuse a model that cannot use the delegate, or cannot run without one.

    Raises:
        InputError: The model is not made for the delegate.
        Unavailable: The model is made for a delegate, but none is given.
    """
    if format == "tflite":
        delegates.check_model(delegate, model)
    elif delegate is not None:
        raise InputError(f"a delegate for a model in the {format} format", why="delegates are for TFLite models")


def check_threads(threads: int) -> None:
    """Refuse a number of threads that is not a whole number from 1 to 256."""
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise InputError(f"threads {threads!r}", why=f"must be a whole number from 1 to {MAX_THREADS}")


def check_batch(batch: int, format: str = "tflite", delegate: Delegate | None = None) -> None:
    """Refuse a batch that is not a whole number from 1 to 256, or that the format or delegate does not support."""
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
        raise InputError(f"batch {batch!r}", why=f"must be a whole number from 1 to {MAX_BATCH}")
    if batch > 1 and format != "tflite":
        raise InputError(f"models in the {format} format have a fixed batch of 1, not {batch}")
    if batch > 1 and delegate is not None and delegate.external:
        raise InputError(f"{delegate.name} takes models with a batch of 1, not {batch}")
