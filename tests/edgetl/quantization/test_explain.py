"""int8 error by layer: found where a layer was broken on purpose, and equal to a computation by hand."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import lively
import numpy as np
import pytest

from edgetl.export import conversion
from edgetl.inspection.sqnr import sqnr_db
from edgetl.inspection.tflite.file import Tensor, describe
from edgetl.inspection.tflite.tree import constant, pack_tree, read_tree, to_real
from edgetl.quantization.conversion.tflite import int8_tflite
from edgetl.quantization.explain import Explanation, Layer, explain
from edgetl.quantization.explain.predictions import drop_by_class, flips
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl.quantization.preparation.graph import rebuild
from edgetl_device._lib.documents import Unknown, dumps, to_json
from edgetl_device.bench.accuracy import paired_drop
from edgetl_device.errors import InputError

pytestmark = pytest.mark.no_cover

PHOTOS = lively.photos(6)


@cache
def _float(name: str = "mobilenet_v1") -> bytes:
    return conversion.float32_tflite(fold_batch_norm(lively.build(name)))


@cache
def _int8(name: str = "mobilenet_v1") -> bytes:
    return int8_tflite(fold_batch_norm(lively.build(name)), lively.photos(12, first_seed=500))


@cache
def _explained() -> Explanation:
    return explain(_float(), _int8(), PHOTOS)


def _layer(explanation: Explanation, name: str) -> Layer:
    (found,) = (layer for layer in explanation.layers if layer.name == name)
    return found


def _edited(data: bytes, tensor: int, change: Callable[[Any], Any]) -> bytes:
    """Return a file with one of its constants changed."""
    tree = read_tree(data)
    values = constant(tree, tensor, describe(data).tensors[tensor])
    assert values is not None
    tree.buffers[tree.subgraphs[0].tensors[tensor].buffer].data = change(values.copy()).tobytes()
    return pack_tree(tree)


def _constant_of(data: bytes, layer: str, input: int) -> tuple[int, Tensor]:
    """Return the index of an operator's input and the tensor: 1 is the kernel, 2 the bias."""
    model = describe(data)
    operators = (one for one in model.operators if one.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))
    (found,) = (one for one in operators if f"/{layer}" in model.tensors[one.inputs[1]].name.split(";")[0])
    return found.inputs[input], model.tensors[found.inputs[input]]


@pytest.mark.parametrize(
    "name", ["mobilenet_v1", "mobilenet_v2", pytest.param("mobilenet_v3_small", marks=pytest.mark.slow)]
)
def test_every_activation_is_found_in_the_float_file(name: str) -> None:
    explanation = explain(_float(name), _int8(name), PHOTOS[:2])
    assert explanation.unmatched == ()
    # All operators except the two that convert uint8 to int8 and back.
    assert len(explanation.layers) == len(describe(_int8(name)).operators) - 2
    assert all(layer.answer_error is not None for layer in explanation.layers)


def test_the_predictions_are_those_of_the_files() -> None:
    found = lively.run(_int8(), "tflite", PHOTOS)
    expected = lively.predictions(lively.build("mobilenet_v1"), PHOTOS)
    # XNNPACK, which runs the file here, rounds a few values differently.
    assert _explained().answer_error == pytest.approx(np.abs(found - expected).mean(), rel=0.15)
    assert _explained().photos == len(PHOTOS)


def test_a_dense_layer_alone_is_what_its_integers_say() -> None:
    """Recompute ``logits`` in NumPy: pooled features on their grid, dequantized kernel and bias, output on its grid."""
    int8 = describe(_int8())
    operator = next(one for one in int8.operators if one.name == "FULLY_CONNECTED")
    source, kernel, bias = (int8.tensors[index] for index in operator.inputs)
    result = int8.tensors[operator.outputs[0]]
    tree = read_tree(_int8())
    weights, shift = (constant(tree, index, int8.tensors[index]) for index in operator.inputs[1:])
    model = fold_batch_norm(lively.build("mobilenet_v1"))
    keras_model = type(model)(model.input, [model.get_layer("pool").output, model.get_layer("logits").output])
    pooled, logits = (np.asarray(values) for values in keras_model(PHOTOS.astype(np.float32)))

    def on_grid(values: Any, tensor: Tensor) -> Any:
        steps = np.clip(np.rint(values / tensor.scales[0]) + tensor.zero_points[0], -128, 127)
        return to_real(steps, tensor)

    computed = on_grid(on_grid(pooled, source) @ to_real(weights, kernel).T + to_real(shift, bias), result)
    layer = _layer(_explained(), "logits")
    assert layer.alone_sqnr_db == pytest.approx(sqnr_db(logits, computed), abs=0.2)
    softmax = np.exp(computed) / np.exp(computed).sum(1, keepdims=True)
    expected = lively.predictions(lively.build("mobilenet_v1"), PHOTOS)
    assert layer.answer_error == pytest.approx(np.abs(softmax - expected).mean(), rel=0.05)
    assert layer.kernel is not None
    np.testing.assert_allclose(layer.kernel.low, to_real(weights, kernel).min(1), rtol=1e-6)
    assert np.abs(layer.kernel.bias_shift).max() < 1e-3


def test_a_broken_layer_is_found_and_the_others_stay() -> None:
    index, _ = _constant_of(_int8(), "conv_pw_6_1", 1)
    broken = explain(_float(), _edited(_int8(), index, lambda kernel: kernel[::-1]), PHOTOS)
    assert broken.worst()[0].name == "conv_pw_6"
    assert broken.worst()[0].kernel is not None
    assert broken.worst()[0].kernel.sqnr_db < 3
    assert (broken.worst()[0].alone_sqnr_db or 0) < 6
    for before, after in zip(_explained().layers, broken.layers, strict=True):
        if after.name != "conv_pw_6":
            assert (after.alone_sqnr_db, after.answer_error) == (before.alone_sqnr_db, before.answer_error)
        if after.name == "conv_dw_13":
            assert after.sqnr_db < before.sqnr_db - 6


def test_ranges_and_dead_flat_and_clipped_channels() -> None:
    bias, _ = _constant_of(_float(), "conv_pw_3_1", 2)
    kernel, _ = _constant_of(_int8(), "conv_pw_4_1", 1)

    def kill(values: Any) -> Any:
        values[3] = -1000
        return values

    def empty(values: Any) -> Any:
        values[5] = 0
        return values

    explanation = explain(_edited(_float(), bias, kill), _edited(_int8(), kernel, empty), PHOTOS)
    before = _layer(_explained(), "conv_pw_3").channels.dead
    third, fourth = (_layer(explanation, f"conv_pw_{number}") for number in (3, 4))
    assert third.channels.dead == before + 1
    assert third.channels.low[3] == third.channels.high[3] == 0
    assert fourth.kernel is not None
    assert fourth.kernel.zero_channels == 1
    assert fourth.channels.flattened >= 1
    assert fourth.channels.int8_low[5] == fourth.channels.int8_high[5]
    for layer in explanation.layers:
        assert (layer.channels.low <= layer.channels.high).all()
        assert (layer.channels.int8_low >= np.float32(layer.reach[0]) - 1e-6).all()
        assert (layer.channels.int8_high <= np.float32(layer.reach[1]) + 1e-6).all()


def test_values_beyond_the_grid_are_counted() -> None:
    model = fold_batch_norm(lively.build("mobilenet_v1"))
    pooled = np.asarray(type(model)(model.input, model.get_layer("pool").output)(PHOTOS.astype(np.float32)))
    dark = int8_tflite(model, lively.photos(4, first_seed=500) // 16)
    counts = []
    for layer in (_layer(explain(_float(), dark, PHOTOS), "pool"), _layer(_explained(), "pool")):
        beyond = pooled > layer.reach[1] + layer.scale / 2
        np.testing.assert_array_equal(layer.channels.clipped, beyond.sum(0))
        counts.append(beyond.sum())
    assert counts[0] > counts[1]


def test_repair_is_told_by_the_file_before_it() -> None:
    index, tensor = _constant_of(_int8(), "conv_pw_2_1", 2)
    steps = 3000
    shifted = _edited(_int8(), index, lambda bias: bias + steps)
    explanation = replace(_explained(), unrepaired=explain(_float(), shifted, PHOTOS))
    after = _layer(explanation, "conv_pw_2")
    before = explanation.unrepaired_layer(after)
    assert before is not None
    assert before.kernel is not None
    np.testing.assert_allclose(before.kernel.bias_shift, steps * np.array(tensor.scales), rtol=0.05, atol=1e-3)
    assert (before.alone_sqnr_db or 99) < (after.alone_sqnr_db or 0) - 6
    assert np.abs(before.channels.mean_error).mean() > 3 * np.abs(after.channels.mean_error).mean()
    unrepaired = after.explained(before).unrepaired
    assert unrepaired is not None
    assert unrepaired.answer_error == before.answer_error
    assert explanation.unrepaired is not None
    assert explanation.unrepaired.answer_error > explanation.answer_error


def test_a_moved_input_scaling_is_not_an_error() -> None:
    """p - 128 instead of p / 127.5 - 1, with the factor in the next kernel and the half step in its bias."""
    folded = fold_batch_norm(lively.build("mobilenet_v1"))
    kernel, bias = folded.get_layer("conv1").get_weights()
    weights = [kernel / 127.5, bias + 0.5 / 127.5 * kernel.sum((0, 1, 2))]
    moved = rebuild(folded, {"conv1": weights}, config={"scale": {"scale": 1.0, "offset": -128.0}})
    explanation = explain(_float(), int8_tflite(moved, lively.photos(12, first_seed=500)), PHOTOS)
    scale, first = _layer(explanation, "scale"), _layer(explanation, "conv1")
    # All 256 pixel values are on the grid.
    assert scale.sqnr_db > 100
    assert scale.answer_error == pytest.approx(0, abs=1e-6)
    assert (first.alone_sqnr_db or 0) > (_layer(_explained(), "conv1").alone_sqnr_db or 99) - 1
    assert first.kernel is not None
    assert first.kernel.sqnr_db > 35
    assert np.abs(first.kernel.bias_shift).max() < 0.02 * np.abs(0.5 / 127.5 * kernel.sum((0, 1, 2))).max()


def test_layers_that_stayed_float_are_not_measured() -> None:
    """Operators around a float island are still measured, on its outputs."""
    folded = fold_batch_norm(lively.build("mobilenet_v1"))
    mixed = int8_tflite(folded, lively.photos(12, first_seed=500), keep_float=("conv_pw_5",))
    explanation = explain(_float(), mixed, PHOTOS)
    assert explanation.unmatched == ()
    convolutions = [layer.name for layer in explanation.layers if layer.operator == "CONV_2D"]
    assert "conv_pw_5" not in convolutions
    assert {"conv_pw_4", "conv_pw_6"} <= set(convolutions)
    assert all(layer.answer_error is not None for layer in explanation.layers)


def test_what_is_not_found_is_listed_and_not_made_up() -> None:
    tree = read_tree(_int8())
    (pooled,) = (one for one in tree.subgraphs[0].tensors if one.name.endswith(b"pool_1/Mean"))
    pooled.name = b"other/name/Mean"
    explanation = explain(_float(), pack_tree(tree), PHOTOS)
    assert explanation.unmatched == ("other/name/Mean",)
    logits = _layer(explanation, "logits")
    assert logits.alone_sqnr_db is logits.answer_error is None
    assert math.isfinite(logits.sqnr_db)
    row = to_json(logits.explained(None))
    assert "no counterpart" in row["answer_error"]["unknown"]
    assert "no counterpart" in row["alone_sqnr_db"]["unknown"]
    assert "logits" not in [layer.name for layer in explanation.worst(100)]


def test_files_named_differently_are_paired_by_their_layers() -> None:
    tree = read_tree(_float())
    for tensor in tree.subgraphs[0].tensors:
        # Keras numbers the models of a process.
        tensor.name = re.sub(rb"functional(_\d+)*/", b"renamed/", tensor.name)
    assert any(tensor.name.startswith(b"renamed/") for tensor in tree.subgraphs[0].tensors)
    found = explain(pack_tree(tree), _int8(), PHOTOS)
    assert found.unmatched == ()
    assert [layer.alone_sqnr_db for layer in found.layers] == [layer.alone_sqnr_db for layer in _explained().layers]


@pytest.mark.parametrize(
    ("files", "photos", "message"),
    [
        (lambda: (_float("mobilenet_v2"), _int8()), PHOTOS, "are found in the float file"),
        (lambda: (_float(), _float()), PHOTOS, "computes in floats"),
        (lambda: (_int8(), _int8()), PHOTOS, "float file takes uint8"),
        (lambda: (_float()[:5000], _int8()), PHOTOS, "damaged TFLite"),
        (lambda: (_float(), _int8()), PHOTOS[:, :64], r"shape \[6, 64, 96, 3\]"),
        (lambda: (_float(), _int8()), PHOTOS[:0], r"shape \[0, 96"),
    ],
)
def test_what_cannot_be_explained_is_refused(files: Any, photos: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        explain(*files(), photos)
    assert len(str(caught.value).splitlines()) <= 3


def test_json_and_rows_hold_what_the_objects_hold() -> None:
    explanation = _explained()
    layer = _layer(explanation, "logits")
    row = json.loads(dumps(layer.explained(None)))
    assert row["alone_sqnr_db"] == pytest.approx(layer.alone_sqnr_db, abs=1e-3)
    assert row["channels"] == {"count": lively.CLASSES, "dead": 0, "flattened": 0}
    assert row["kernel"]["bias_shift"]["largest"] == pytest.approx(max(layer.kernel.bias_shift, key=abs))  # type: ignore[union-attr]
    rows = list(explanation.channel_rows())
    assert len(rows) == sum(layer.shape[-1] for layer in explanation.layers)
    (third,) = (row for row in rows if row["layer"] == "logits" and row["channel"] == 2)
    assert float(third["float_high"]) == pytest.approx(layer.channels.high[2], rel=1e-5)
    silent = replace(layer, sqnr_db=math.inf)
    assert silent.explained(None).sqnr_db == Unknown("no error")


def test_flips_and_drops_by_class() -> None:
    labels, paths = ("cat", "dog", "owl"), ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    expected = np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.4, 0.6, 0.0], [0.8, 0.1, 0.1]], np.float32)
    found = np.array([[0.8, 0.2, 0.0], [0.2, 0.3, 0.5], [0.5, 0.5, 0.0], [0.1, 0.9, 0.0]], np.float32)
    targets = np.array([0, 1, 0, 0])
    changed = flips(expected, found, targets, labels, paths)
    assert [flip.path for flip in changed] == ["d.jpg", "c.jpg", "b.jpg"]
    assert [flip.tied for flip in changed] == [False, True, False]
    assert (changed[0].float_answer, changed[0].int8_answer, changed[0].label) == ("cat", "dog", "cat")
    assert (changed[0].float_probability, changed[0].int8_probability) == pytest.approx((0.8, 0.9))
    drops = {
        drop.label: (drop.photos, drop.float_correct, drop.int8_correct)
        for drop in drop_by_class(expected, found, targets, labels)
    }
    assert drops == {"cat": (3, 2, 2), "dog": (1, 1, 0)}
    cats, dogs = drop_by_class(expected, found, targets, labels)
    assert (cats.drop_pp, dogs.drop_pp) == (0, 100)
    for drop, before, after in ((cats, [True, False, True], [True, True, False]), (dogs, [True], [False])):
        assert drop.drop_ci95_pp == paired_drop(np.array(before), np.array(after)).ci95_pp
