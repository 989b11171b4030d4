"""Measure the memory that a TFLite file needs on a microcontroller, with TensorFlow Lite for Microcontrollers.

Its interpreter is the optional PyPI package ``tflite-micro``. Speed on the chip is not measured.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgetl._lib.quiet import quietly

PACKAGE = "tflite-micro"
# More memory than any microcontroller has. A model that fails with this much fails for another reason.
_LARGEST_BYTES = 256 * 1024**2
# The alignment of the arena.
_STEP_BYTES = 16


@dataclass(frozen=True)
class Arena:
    """The tensor arena that a model needs: ``bytes``, or None and ``why``; ``measured_by`` names the tool."""

    bytes: int | None
    why: str = ""
    measured_by: str = ""


def measure_arena(model: bytes) -> Arena:
    """Return the smallest arena with which the interpreter allocates all tensors of ``model``, to 16 bytes.

    By bisection on this machine, with 64-bit pointers; 32-bit targets need a little less.
    """
    if importlib.util.find_spec("tflite_micro") is None:
        return Arena(None, f"the package {PACKAGE} is not installed")
    try:
        runtime = importlib.import_module("tflite_micro").runtime
    except (ImportError, AttributeError) as error:
        return Arena(None, f"the package {PACKAGE} cannot be used: {error}")
    with quietly():
        if not _fits(runtime, model, _LARGEST_BYTES):
            return Arena(None, f"{PACKAGE} cannot load this model (most likely an operator that it lacks)")
        too_small, enough = 0, _LARGEST_BYTES
        while enough - too_small > _STEP_BYTES:
            middle = (too_small + enough) // 2 // _STEP_BYTES * _STEP_BYTES
            if _fits(runtime, model, middle):
                enough = middle
            else:
                too_small = middle
    return Arena(enough, measured_by=f"{PACKAGE} {_version()}")


def _fits(runtime: Any, model: bytes, arena_bytes: int) -> bool:
    try:
        runtime.Interpreter.from_bytes(model, arena_size=arena_bytes)
    except RuntimeError:
        return False
    return True


def _version() -> str:
    try:
        return version("tflite_micro")
    except PackageNotFoundError:
        return "of unknown version"
