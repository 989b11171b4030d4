"""Content of int8 files: integer throughout, raw pixels in, close to float; calibrated on training photos."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import lively
import numpy as np
import onnx
import pytest

from edgetl.export import conversion
from edgetl.inspection.tflite.file import describe
from edgetl.quantization.calibration_photos import choose_calibration
from edgetl.quantization.conversion.onnx import check_quantized, int8_onnx
from edgetl.quantization.conversion.tflite import check_integer_only, int8_tflite
from edgetl.quantization.preparation.bias_correction import correct_weights
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl_device.errors import InputError

pytestmark = pytest.mark.no_cover

# The training photos of these tests; none of them is scored.
_CALIBRATION = {"count": 12, "first_seed": 500}


@cache
def _corrected(name: str) -> Any:
    return correct_weights(fold_batch_norm(lively.build(name)), lively.photos(**_CALIBRATION))


@cache
def _int8(name: str, format: str) -> bytes:
    convert = {"tflite": int8_tflite, "onnx": int8_onnx}[format]
    return convert(_corrected(name), lively.photos(**_CALIBRATION))


@pytest.mark.parametrize("name", lively.EACH)
def test_tflite_is_integer_throughout(name: str) -> None:
    model = describe(_int8(name, "tflite"))
    for operator in model.operators:
        for index in operator.outputs:
            assert model.tensors[index].dtype in ("int8", "uint8")
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            weights, bias = (model.tensors[index] for index in operator.inputs[1:3])
            axis = 0 if operator.name == "CONV_2D" else 3
            assert (weights.dtype, bias.dtype) == ("int8", "int32")
            assert len(weights.scales) == weights.shape[axis]
            assert set(weights.zero_points) == {0}
    (pixels,), (probabilities,) = model.inputs, model.outputs
    assert (model.tensors[pixels].dtype, model.tensors[pixels].scales) == ("uint8", (1.0,))
    assert model.tensors[pixels].zero_points == (0,)
    assert model.tensors[probabilities].dtype == "uint8"
    assert model.tensors[probabilities].scales == (1 / 256,)


@pytest.mark.parametrize("name", lively.EACH)
def test_onnx_takes_raw_pixels_and_quantizes_every_product(name: str) -> None:
    proto = onnx.load_from_string(_int8(name, "onnx"))
    onnx.checker.check_model(proto, full_check=True)
    graph = proto.graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [side.dim_value for side in graph.input[0].type.tensor_type.shape.dim] == [1, 96, 96, 3]
    makers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(products) > 20
    for node in products:
        activations, weights = (makers[name] for name in node.input[:2])
        assert activations.op_type == weights.op_type == "DequantizeLinear"
        assert constants[weights.input[0]].data_type == onnx.TensorProto.INT8
        shape = constants[weights.input[0]].dims
        outputs_first = node.op_type == "Conv" or any(option.name == "transB" and option.i for option in node.attribute)
        assert list(constants[weights.input[1]].dims) == [shape[0 if outputs_first else 1]]


@pytest.mark.parametrize("format", ["tflite", "onnx"])
@pytest.mark.parametrize("name", lively.EACH)
def test_int8_runs_and_stays_near_float(name: str, format: str) -> None:
    photos = lively.photos(12)
    expected = lively.predictions(lively.build(name), photos)
    found = lively.run(_int8(name, format), format, photos)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=0.02)
    # Untrained squeeze-and-excite gates are on the steep part of their curve and amplify rounding noise; a file that
    # ignored its input, swapped channels or lost its scaling would be at 0.2 or above.
    bound = 0.2 if "v3" in name else 0.06
    assert np.abs(found - expected).mean() < bound


@pytest.mark.parametrize("format", ["tflite", pytest.param("onnx", marks=pytest.mark.slow)])
def test_repair_lowers_the_error_on_real_weights(format: str) -> None:
    model = lively.pretrained()
    calibration, photos = lively.photos(24, first_seed=500), lively.photos(40)
    expected = lively.predictions(model, photos)
    convert = {"tflite": int8_tflite, "onnx": int8_onnx}[format]
    folded = fold_batch_norm(model)
    plain, repaired = (
        np.abs(lively.run(convert(candidate, calibration), format, photos) - expected).mean()
        for candidate in (folded, correct_weights(folded, calibration))
    )
    assert repaired < 0.75 * plain


def test_int8_is_under_a_third_of_the_float_size() -> None:
    model, photos = lively.pretrained(), lively.photos(1)
    assert len(int8_tflite(model, photos)) < 0.32 * len(conversion.float32_tflite(model))


@pytest.mark.parametrize("convert", [int8_tflite, int8_onnx])
def test_no_temporary_files_and_no_chatter(
    convert: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    model = _corrected("mobilenet_v1")
    capfd.readouterr()
    convert(model, lively.photos(2))
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("convert", [int8_tflite, int8_onnx])
def test_photos_of_another_size_are_refused(convert: Any) -> None:
    with pytest.raises(InputError, match="calibration photos of shape"):
        convert(_corrected("mobilenet_v1"), lively.photos(2)[:, :64, :64])


def test_the_checks_refuse_float_files() -> None:
    model = lively.build("mobilenet_v1")
    with pytest.raises(InputError, match=r"not integer-only.*float32"):
        check_integer_only(describe(conversion.float32_tflite(model)))
    with pytest.raises(InputError, match="input is not uint8"):
        check_quantized(onnx.load_from_string(conversion.float32_onnx(model)))


def test_the_check_refuses_one_float_product() -> None:
    proto = onnx.load_from_string(_int8("mobilenet_v1", "onnx"))
    makers = {output: node for node in proto.graph.node for output in node.output}
    product = next(node for node in proto.graph.node if node.op_type == "Gemm")
    makers[product.input[0]].op_type = "Identity"
    with pytest.raises(InputError, match=r"Gemm.*in float"):
        check_quantized(proto)


@dataclass(frozen=True)
class _Photo:
    label: str
    split: str
    sha256: str


def _photos(**counts: int) -> list[_Photo]:
    return [
        _Photo(label, split, f"{label}-{split}-{number}")
        for label, count in counts.items()
        for split in ("train", "val", "test")
        for number in range(count)
    ]


def test_calibration_is_balanced_and_from_training_only() -> None:
    chosen = choose_calibration(_photos(cat=50, dog=8, owl=50), count=30, seed=0)
    assert {photo.split for photo in chosen} == {"train"}
    assert Counter(photo.label for photo in chosen) == {"cat": 11, "dog": 8, "owl": 11}
    assert len(set(chosen)) == 30
    assert Counter(photo.label for photo in chosen[:6]) == {"cat": 2, "dog": 2, "owl": 2}


def test_calibration_depends_on_content_and_seed_only() -> None:
    samples = _photos(cat=50, dog=50)
    chosen = choose_calibration(samples, count=20, seed=0)
    assert choose_calibration(samples[::-1], count=20, seed=0) == chosen
    assert choose_calibration(samples, count=20, seed=1) != chosen
    assert len(choose_calibration(samples, count=1000, seed=0)) == 100


@pytest.mark.parametrize(
    ("samples", "count", "message"),
    [
        ([_Photo("cat", "test", "a"), _Photo("cat", "val", "b")], 10, "the training split is empty"),
        ([], 10, "the training split is empty"),
        ([_Photo("cat", "train", "a")], 0, "at least 1"),
    ],
)
def test_calibration_without_training_photos_is_refused(samples: list[_Photo], count: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_calibration(samples, count=count, seed=0)
