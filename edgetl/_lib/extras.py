"""Heavy packages, loaded on use, with the command that installs what is absent."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType

from edgetl._lib.interrupts import uninterrupted
from edgetl._lib.quiet import quietly
from edgetl_device.errors import Unavailable


@uninterrupted()
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
        raise _absent(module, extra) from None


def check_installed(module: str, *, extra: str = "train") -> None:
    """Raise Unavailable when a top-level module is not installed, without importing it: before hours of other work."""
    if importlib.util.find_spec(module) is None:
        raise _absent(module, extra)


def _absent(module: str, extra: str) -> Unavailable:
    return Unavailable(
        f"this command needs {module.split('.')[0]}, which is not installed here",
        hint=f"In edgetl's checkout: pip install ./device '.[{extra}]'",
    )


def tensorflow() -> ModuleType:
    """Import TensorFlow without its banners."""
    if "tensorflow" not in sys.modules:
        # Read by its native library as it loads: fatal errors only. Python errors still come as exceptions.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with quietly():
            require("tensorflow").get_logger().setLevel("ERROR")
    return require("tensorflow")


def keras() -> ModuleType:
    """Import Keras 3 on TensorFlow.

    Raises:
        Unavailable: Keras is absent, or was loaded with another backend, which has no TFLite converter.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    tensorflow()
    module = require("keras")
    if module.backend.backend() != "tensorflow":
        raise Unavailable(
            f"Keras runs on {module.backend.backend()} here",
            why="the TFLite converter takes TensorFlow graphs only",
            hint="Unset KERAS_BACKEND, or set it to tensorflow.",
        )
    return module
