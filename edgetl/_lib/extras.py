"""Import heavy packages on first use; if one is missing, say how to install it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from edgetl._lib.cache import marked_root
from edgetl._lib.interrupts import uninterrupted
from edgetl._lib.quiet import quietly
from edgetl_device._lib import telemetry
from edgetl_device.errors import Unavailable

# Packages whose import writes to the user's home folder.
_HOMES = ("tensorflow", "keras", "tf2onnx", "matplotlib")
# Of keras.config, by name.
_KERAS_SETTINGS = {"image_data_format": "channels_last", "floatx": "float32", "epsilon": 1e-7}


@uninterrupted()
def require(module: str, *, extra: str = "train") -> ModuleType:
    """Import ``module``, which comes with the extra ``extra``.

    Raises:
        Unavailable: It is not installed.
    """
    telemetry.switch_off()
    try:
        with _own_folders(module):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise _absent(module, extra) from None


@contextmanager
def _own_folders(module: str) -> Iterator[None]:
    """Keep Keras, and Matplotlib, which it imports, from creating folders in the user's home folder."""
    if module.split(".")[0] not in _HOMES:
        yield
        return
    given = {}
    if "keras" not in sys.modules:
        # Nothing can be created below a file. Keras then reads no keras.json either, whose settings are not recorded.
        given["KERAS_HOME"] = os.devnull
    if "matplotlib" not in sys.modules:
        given["MPLCONFIGDIR"] = str(marked_root() / "matplotlib")  # its font cache, which takes seconds to build
    given = {name: value for name, value in given.items() if name not in os.environ}
    os.environ.update(given)
    backend = os.environ.get("KERAS_BACKEND")
    # TensorFlow imports Keras, too. What the user's own programs are told is put back.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        yield
        if "MPLCONFIGDIR" in given and "matplotlib" in sys.modules:
            # Matplotlib looks up the folder when it first draws text, and remembers it.
            sys.modules["matplotlib"].get_cachedir()
    finally:
        for name in given:
            del os.environ[name]
        os.environ.pop("KERAS_BACKEND")
        if backend is not None:
            os.environ["KERAS_BACKEND"] = backend
        config = sys.modules.get("keras.src.backend.config")
        if "KERAS_HOME" in given and config is not None:
            # Restore it, so that the user's own program can still download through Keras.
            config._KERAS_DIR = str(Path.home() / ".keras")  # type: ignore[attr-defined]


def check_installed(module: str, *, extra: str = "train") -> None:
    """Raise Unavailable if a top-level module is not installed, without importing it; for checks before long work."""
    if importlib.util.find_spec(module) is None:
        raise _absent(module, extra)


def _absent(module: str, extra: str) -> Unavailable:
    return Unavailable(
        f"this command needs {module.split('.')[0]}, which is not installed here",
        hint=install(extra),
    )


def install(extra: str = "") -> str:
    """Return how to install edgetl with an extra, or edgetl-device without one: from a checkout, else by its name."""
    asked = f"[{extra}]" if extra else ""
    if (Path(__file__).parents[2] / "device" / "pyproject.toml").is_file():
        return "In edgetl's checkout: pip install ./device" + (f" '.{asked}'" if extra else "")
    return f"Run: pip install 'edgetl{asked}'" if extra else "Run: pip install edgetl-device"


def tensorflow() -> ModuleType:
    """Import TensorFlow without its banners."""
    if "tensorflow" not in sys.modules:
        # Read when the native library loads: log only fatal errors. Python exceptions are still raised.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with quietly():
            require("tensorflow").get_logger().setLevel("ERROR")
    return require("tensorflow")


def keras() -> ModuleType:
    """Import Keras 3 on TensorFlow, with the settings that edgetl's networks are made for.

    The user's (``KERAS_BACKEND``, ``keras.json``, ``keras.config``) would give other networks, and no run records them.

    Raises:
        Unavailable: Keras is missing, or the process has loaded it with another backend, which has no TFLite converter.
    """
    tensorflow()
    module = require("keras")
    if module.backend.backend() != "tensorflow":
        raise Unavailable(
            f"Keras runs on {module.backend.backend()} in this process",
            why="the TFLite converter takes TensorFlow graphs only",
            hint="Use edgetl in a process of its own, or import keras with KERAS_BACKEND=tensorflow.",
        )
    config = module.config
    for name, wanted in _KERAS_SETTINGS.items():
        if getattr(config, name)() != wanted:
            getattr(config, f"set_{name}")(wanted)
    if config.dtype_policy().name != "float32":
        config.set_dtype_policy("float32")
    return module


@contextmanager
def plain_figures() -> Iterator[None]:
    """Draw with Matplotlib's own settings: a block, or as a decorator a function.

    A ``matplotlibrc`` of the user or in the current folder may ask for LaTeX, other colours or other numbers.
    """
    library = require("matplotlib")
    kept = ("backend", "backend_fallback")
    with library.rc_context({name: value for name, value in library.rcParamsDefault.items() if name not in kept}):
        yield
