"""TFLite Micro's interpreter gives LiteRT's outputs, in an arena of the measured size."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetl.inspection.tflite.micro import measure_arena

tflite_micro = pytest.importorskip("tflite_micro", reason="the optional package tflite-micro is not installed")


@pytest.fixture(scope="module")
def model() -> bytes:
    bundle = Path(__file__).parent.parent.parent / "golden" / "tiny.edgetl"
    with zipfile.ZipFile(bundle) as archive:
        return archive.read("models/int8.tflite")


def _litert(model: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Use the portable kernels, which microcontrollers run; optimized ones may round differently.
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    return interpreter


def test_predictions_are_equal_in_the_measured_arena(model: bytes) -> None:
    arena = measure_arena(model)
    assert arena.bytes is not None, arena.why
    assert arena.measured_by.startswith("tflite-micro")
    micro = tflite_micro.runtime.Interpreter.from_bytes(model, arena_size=arena.bytes)
    litert = _litert(model)
    (source,), (result,) = litert.get_input_details(), litert.get_output_details()
    for seed in range(8):
        pixels = np.random.default_rng(seed).integers(0, 256, source["shape"], dtype=np.uint8)
        litert.set_tensor(source["index"], pixels)
        litert.invoke()
        micro.set_input(pixels, 0)
        micro.invoke()
        np.testing.assert_array_equal(micro.get_output(0), litert.get_tensor(result["index"]))


def test_less_than_the_measured_arena_is_too_little(model: bytes) -> None:
    arena = measure_arena(model)
    assert arena.bytes is not None
    with pytest.raises(RuntimeError):
        tflite_micro.runtime.Interpreter.from_bytes(model, arena_size=arena.bytes - 16)
