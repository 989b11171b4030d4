"""Clipped ranges: the fraction with the least error, only in linear streams, and stored in the files as requested."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import lively
import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgetl._lib import extras
from edgetl.inspection.tflite.file import describe
from edgetl.quantization.conversion.onnx import int8_onnx
from edgetl.quantization.conversion.tflite import int8_tflite, of_layer
from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.preparation import clip_ranges as module
from edgetl.quantization.preparation.clip_ranges import clip_ranges
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl.quantization.preparation.graph import rebuild, walk
from edgetl.quantization.targets import TARGETS
from edgetl.quantization.variants import ModelForms, calibration_of, int8_variants, plain, repaired
from edgetl.runs.directory import Run
from edgetl_device.errors import InputError

pytestmark = pytest.mark.no_cover

PHOTOS = lively.photos(12, first_seed=500)
RANGES = {"expanded_conv_project": (-3.0, 5.0), "block_2_add": (-8.0, 2.0), "block_16_project": (-1.0, 1.5)}


@cache
def _folded() -> Any:
    return fold_batch_norm(lively.build("mobilenet_v2"))


@cache
def _stream() -> Any:
    """Return a model with a linear stream whose values are the pixels times 10, -4 and 10."""
    keras = extras.keras()
    layers = keras.layers
    pixels = keras.Input((32, 32, 3), name="pixels")
    x = layers.Rescaling(1 / 255, name="scale")(pixels)
    x = layers.Conv2D(3, 1, use_bias=False, name="write")(x)
    x = layers.Conv2D(4, 1, name="read")(x)
    model = keras.Model(pixels, layers.GlobalAveragePooling2D()(x))
    model.get_layer("write").set_weights([np.diag([10.0, -4.0, 10.0]).astype(np.float32)[None, None]])
    return model


def _noise(highest: int, count: int = 60) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, highest + 1, (count, 32, 32, 3), dtype=np.uint8)


def _written(model: Any, photos: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.asarray(extras.keras().Model(model.input, model.get_layer("write").output)(photos.astype(np.float32)))


def _error(values: npt.NDArray[np.float32], low: float, high: float) -> float:
    """Return the mean squared error of rounding to 256 steps from low to high."""
    step = (high - low) / 255
    rounded = low + step * np.round((np.clip(values, low, high) - low) / step)
    return float(np.mean((rounded - values) ** 2))


def test_rare_values_are_left_out_as_far_as_it_makes_the_error_smaller() -> None:
    photos = _noise(200)
    photos[7, 3, 4] = 255
    values = _written(_stream(), photos)
    low, high = clip_ranges(_stream(), photos)["write"]
    assert (low, high) == (pytest.approx(0.8 * -4, rel=1e-3), pytest.approx(0.8 * 10, rel=1e-3))
    errors = {share: _error(values, -4 * share, 10 * share) for share in (1, 0.9, 0.8, 0.7)}
    assert min(errors, key=lambda share: errors[share]) == 0.8


def test_values_that_are_all_as_frequent_keep_their_range() -> None:
    assert clip_ranges(_stream(), _noise(255))["write"] == (pytest.approx(-4), pytest.approx(10))


def test_only_linear_streams_are_narrowed() -> None:
    ranges = clip_ranges(_folded(), PHOTOS)
    assert set(ranges) == {
        layer.name for layer in _folded().layers if layer.name.endswith(("_project", "_add")) and layer.name != "add"
    }
    assert clip_ranges(fold_batch_norm(lively.build("mobilenet_v1")), PHOTOS) == {}


def test_a_stream_that_is_always_zero_has_no_range() -> None:
    dead = rebuild(_stream(), {"write": [np.zeros((1, 1, 3, 3), np.float32)]})
    assert clip_ranges(dead, _noise(255, count=2)) == {"write": (0, 0)}


def _tflite_grid(data: bytes, layer: str) -> tuple[float, int]:
    """Return scale and zero point of a layer's output in a TFLite file."""
    model = describe(data)
    outputs = [model.tensors[operator.outputs[0]] for operator in model.operators]
    (tensor,) = (tensor for tensor in outputs if of_layer(tensor.name, (layer,)))
    return tensor.scales[0], tensor.zero_points[0]


def _onnx_scale(data: bytes, layer: str) -> float:
    proto = onnx.load_from_string(data)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    quantizers = [node for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    (found,) = (node for node in quantizers if of_layer(node.input[0].removesuffix(":0"), (layer,)))
    return float(constants[found.input[1]])


def test_the_tflite_file_has_the_ranges() -> None:
    plain, clipped = (int8_tflite(_folded(), PHOTOS, ranges=ranges) for ranges in (None, RANGES))
    for layer, (low, high) in RANGES.items():
        scale, zero_point = _tflite_grid(clipped, layer)
        assert scale == pytest.approx((high - low) / 255, rel=1e-5)
        assert zero_point == round(-128 - low / scale)
        assert _tflite_grid(plain, layer)[0] != pytest.approx(scale, rel=0.01)
    tensors = zip(describe(plain).tensors, describe(clipped).tensors, strict=True)
    unchanged = [one.scales == other.scales for one, other in tensors if one.scales]
    # Three tensors, and the biases of the convolutions that read them.
    assert unchanged.count(False) <= 3 + 5


def test_the_onnx_file_has_the_ranges() -> None:
    data = int8_onnx(_folded(), PHOTOS, ranges=RANGES)
    for layer, (low, high) in RANGES.items():
        assert _onnx_scale(data, layer) == pytest.approx((high - low) / 255, rel=1e-5)


@pytest.mark.slow
def test_repair_narrows_both_files_and_plain_conversion_neither(short_run: Run) -> None:
    calibration = calibration_of(short_run, QuantizeOptions(int8=True, calibration=12))
    forms = ModelForms(short_run.load_model(), calibration)
    repair = repaired(forms, TARGETS["generic"])
    assert repair.repair.endswith("clipped ranges")
    assert set(repair.ranges) == set(clip_ranges(repair.model, calibration.pixels))
    whole, clipped = (
        {variant.name: variant.data for variant in int8_variants(prepared, short_run, calibration)}
        for prepared in (replace(repair, ranges={}), repair)
    )
    finer = 0
    for layer, (low, high) in repair.ranges.items():
        step = pytest.approx((high - low) / 255, rel=1e-4)
        assert _tflite_grid(clipped["int8"], layer)[0] == step
        assert _onnx_scale(clipped["int8-onnx"], layer) == step
        finer += _tflite_grid(whole["int8"], layer)[0] > 1.04 * (high - low) / 255
    assert finer > len(repair.ranges) / 2
    assert plain(forms).ranges == {}


@pytest.mark.parametrize("convert", [int8_tflite, int8_onnx])
def test_a_layer_that_is_not_there_is_refused(convert: Any) -> None:
    with pytest.raises(InputError, match="'block_99_add': cannot be given a range"):
        convert(_folded(), PHOTOS[:2], ranges=RANGES | {"block_99_add": (0.0, 1.0)})


def test_the_model_runs_once_if_the_streams_fit_into_memory_and_the_ranges_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = []

    def counted(*args: Any) -> Any:
        runs.append(len(args[1]))
        return walk(*args)

    monkeypatch.setattr(module, "walk", counted)
    once = clip_ranges(_folded(), PHOTOS)
    assert sum(runs) == len(PHOTOS)
    runs.clear()
    monkeypatch.setattr(module, "_KEPT_BYTES", 1000)
    assert clip_ranges(_folded(), PHOTOS) == once
    assert sum(runs) == 2 * len(PHOTOS)
