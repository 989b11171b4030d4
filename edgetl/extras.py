"""Heavy packages, loaded on use, with the command that installs what is absent."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from edgetl_device.errors import Unavailable


def require(module: str, *, extra: str = "train") -> ModuleType:
    """Import ``module``, which comes with the extra ``extra``.

    Raises:
        Unavailable: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise Unavailable(
            f"this command needs {module.split('.')[0]}, which is not installed here",
            hint=f"In edgetl's checkout: pip install ./device '.[{extra}]'",
        ) from None


def tensorflow() -> ModuleType:
    """Import TensorFlow without its banners."""
    _quieten()
    module = require("tensorflow")
    module.get_logger().setLevel("ERROR")
    return module


def keras() -> ModuleType:
    """Import Keras 3 on TensorFlow.

    Raises:
        Unavailable: Keras is absent, or was loaded with another backend, which has no TFLite converter.
    """
    tensorflow()
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    module = require("keras")
    if module.backend.backend() != "tensorflow":
        raise Unavailable(
            f"Keras runs on {module.backend.backend()} here",
            why="the TFLite converter takes TensorFlow graphs only",
            hint="Unset KERAS_BACKEND, or set it to tensorflow.",
        )
    return module


def _quieten() -> None:
    # Read by TensorFlow's native library when it loads: errors only, and no line about which CPU instructions it uses.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
