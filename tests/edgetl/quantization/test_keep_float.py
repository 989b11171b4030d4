"""int8 TFLite with some layers kept in float: exactly these, in the same place; unknown layers are refused."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

import lively
import numpy as np
import pytest

from edgetl.inspection.tflite.file import Operator, TFLiteModel, describe
from edgetl.quantization.conversion.tflite import check_integer_only, int8_tflite, of_layer
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl.quantization.preparation.graph import LINEAR
from edgetl_device.errors import InputError

pytestmark = pytest.mark.no_cover

KEPT = ("Conv1", "block_3_depthwise", "logits")
PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
CALIBRATION = lively.photos(12, first_seed=500)


@cache
def _folded() -> Any:
    return fold_batch_norm(lively.build("mobilenet_v2"))


@cache
def _int8(keep_float: Collection[str]) -> bytes:
    return int8_tflite(_folded(), CALIBRATION, keep_float=keep_float)


def _products(model: TFLiteModel, dtype: str) -> list[Operator]:
    """Return the convolutions and dense layers that read and write activations of this type."""
    return [
        operator
        for operator in model.operators
        if operator.name in PRODUCTS
        and {model.tensors[index].dtype for index in (operator.inputs[0], operator.outputs[0])} == {dtype}
    ]


def test_named_layers_are_float_in_the_file_and_all_others_int8() -> None:
    plain, mixed = describe(_int8(())), describe(_int8(KEPT))
    assert _products(plain, "float32") == []
    forms = _products(mixed, "float32")
    assert len(forms) == len(KEPT)
    for operator, layer in zip(forms, KEPT, strict=True):
        assert layer in mixed.tensors[operator.outputs[0]].name
        assert mixed.tensors[operator.inputs[1]].dtype == "float32"
    int8 = _products(mixed, "int8")
    assert len(int8) == len(_products(plain, "int8")) - len(KEPT)
    assert {mixed.tensors[operator.inputs[1]].dtype for operator in int8} == {"int8"}
    around = {operator.name for operator in mixed.operators} - {operator.name for operator in plain.operators}
    assert around <= {"DEQUANTIZE", "QUANTIZE"}
    assert "DEQUANTIZE" in around
    for index in (*mixed.inputs, *mixed.outputs):
        assert mixed.tensors[index].dtype == "uint8"


def test_the_predictions_come_nearer() -> None:
    """With all products in float, only the sums between them are rounded."""
    photos = lively.photos(12)
    expected = lively.predictions(_folded(), photos)
    everything = tuple(layer.name for layer in _folded().layers if type(layer).__name__ in LINEAR)
    plain, most = (np.abs(lively.run(_int8(kept), "tflite", photos) - expected).mean() for kept in ((), everything))
    assert _products(describe(_int8(everything)), "int8") == []
    assert most < 0.75 * plain


def test_the_check_takes_no_more_float_than_was_asked_for() -> None:
    mixed = describe(_int8(KEPT))
    check_integer_only(mixed, keep_float=KEPT)
    for fewer in ((), KEPT[:1], KEPT[1:]):
        with pytest.raises(InputError, match="not integer-only"):
            check_integer_only(mixed, keep_float=fewer)


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="'block_99_expand': cannot be kept in float"):
        int8_tflite(_folded(), CALIBRATION[:2], keep_float=("Conv1", "block_99_expand"))


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("mobilenet_v2_1/block_1_expand_1/BiasAdd", True),
        ("mobilenet_v2/block_1_relu_1/Relu6;mobilenet_v2/block_1_expand_1/convolution", True),
        ("mobilenet_v2/block_1_expand/convolution", True),
        ("mobilenet_v2_1/block_11_expand_1/BiasAdd", False),
        ("mobilenet_v2_1/block_1_expand_relu_1/Relu6", False),
        ("mobilenet_v2_1/block_1_1/BiasAdd", False),
    ],
)
def test_names_of_converters_lead_back_to_layers(name: str, of: bool) -> None:
    assert of_layer(name, ("block_1_expand",)) is of
