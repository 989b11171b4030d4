"""Rounded weights and corrected biases: on the converters' grid, closer to float, and nothing else changed."""

from __future__ import annotations

from functools import cache
from typing import Any

import lively
import numpy as np
import numpy.typing as npt
import pytest

from edgetl._lib import extras
from edgetl.inspection.tflite.file import describe
from edgetl.inspection.tflite.tree import constant, read_tree, to_real
from edgetl.quantization.conversion.tflite import int8_tflite
from edgetl.quantization.preparation.bias_correction import correct_weights
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl.quantization.preparation.graph import LINEAR, rebuild
from edgetl_device.errors import InputError

pytestmark = pytest.mark.no_cover

CALIBRATION = lively.photos(8, first_seed=500)


def _on_grid(kernel: npt.NDArray[np.float32], *, depthwise: bool = False) -> npt.NDArray[np.float32]:
    """Round each weight to its output channel's grid, max|w| / 127, in a slow reference implementation."""
    rounded = kernel.copy()
    for channel in range(kernel.shape[2] if depthwise else kernel.shape[-1]):
        part = rounded[:, :, channel] if depthwise else rounded[..., channel]
        step = max(np.abs(part).max(), 1e-30) / 127
        part[...] = np.round(part / step) * step
    return rounded


def _kernels(model: Any) -> dict[str, tuple[npt.NDArray[np.float32], bool]]:
    """Return the kernel of each linear layer and whether it is a depthwise one."""
    found = [layer for layer in model.layers if type(layer).__name__ in LINEAR]
    return {layer.name: (layer.get_weights()[0], type(layer).__name__ == "DepthwiseConv2D") for layer in found}


def _rounded(model: Any) -> Any:
    """``model`` with weights rounded to nearest, as a converter does."""
    biases = {layer.name: layer.get_weights()[1] for layer in model.layers if type(layer).__name__ in LINEAR}
    return rebuild(
        model,
        {name: (_on_grid(kernel, depthwise=kind), biases[name]) for name, (kernel, kind) in _kernels(model).items()},
    )


@cache
def _folded() -> Any:
    return fold_batch_norm(lively.build("mobilenet_v2"))


@cache
def _corrected() -> Any:
    return correct_weights(_folded(), CALIBRATION)


@pytest.mark.slow
def test_rounding_the_weights_costs_less_after_correction() -> None:
    folded = fold_batch_norm(lively.pretrained())
    photos = lively.photos(24)
    expected = lively.predictions(folded, photos)
    before = np.abs(lively.predictions(_rounded(folded), photos) - expected).mean()
    corrected = correct_weights(folded, lively.photos(24, first_seed=500))
    after = np.abs(lively.predictions(_rounded(corrected), photos) - expected).mean()
    assert before > 0.005, "rounding costs nothing here; this test could not fail"
    assert after < 0.5 * before


def test_kernels_lie_on_their_grid_and_biases_move() -> None:
    corrected = _corrected()
    moved, not_nearest = 0.0, 0
    for name, (kernel, depthwise) in _kernels(corrected).items():
        np.testing.assert_allclose(kernel, _on_grid(kernel, depthwise=depthwise), atol=1e-5 * np.abs(kernel).max())
        old, bias = _folded().get_layer(name).get_weights()
        not_nearest += np.count_nonzero(np.abs(kernel - _on_grid(old, depthwise=depthwise)) > 1e-3 * np.abs(old).max())
        moved = max(moved, float(np.abs(corrected.get_layer(name).get_weights()[1] - bias).max()))
    assert moved > 1e-3
    assert not_nearest > 1000, "each weight is at its nearest step: they were not rounded together"


def test_the_model_that_is_given_stays_as_it_is() -> None:
    model = _tiny()
    before = [array.copy() for array in model.get_weights()]
    correct_weights(model, CALIBRATION[:, :16, :16])
    assert model.get_layer("scale").offset == -1.0
    for array, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, old)


def _tiny() -> Any:
    keras = extras.keras()
    keras.utils.set_random_seed(2)
    layers = keras.layers
    pixels = keras.Input((16, 16, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, -1.0, name="scale")(pixels)
    x = layers.Conv2D(6, 3, activation="relu6", name="conv")(x)
    x = layers.DepthwiseConv2D(3, activation="relu6", name="depthwise")(x)
    x = layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model(pixels, layers.Softmax(name="probabilities")(x))


@pytest.mark.parametrize("per_tensor_dense", [False, True])
def test_the_converter_finds_the_same_grid_and_changes_no_weight(per_tensor_dense: bool) -> None:
    photos = CALIBRATION[:, :16, :16]
    corrected = correct_weights(_tiny(), photos, per_tensor_dense=per_tensor_dense)
    data = int8_tflite(corrected, photos, per_tensor_dense=per_tensor_dense)
    model, tree = describe(data), read_tree(data)
    stored = {}
    for operator in model.operators:
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            index = operator.inputs[1]
            values = constant(tree, index, model.tensors[index])
            assert values is not None
            stored[operator.name] = to_real(values, model.tensors[index])
            if operator.name == "FULLY_CONNECTED":
                assert len(model.tensors[index].scales) == (1 if per_tensor_dense else 4)
    kernels = {name: kernel for name, (kernel, _) in _kernels(corrected).items()}
    for found, wanted in (
        (stored["CONV_2D"], kernels["conv"].transpose(3, 0, 1, 2)),
        (stored["DEPTHWISE_CONV_2D"], kernels["depthwise"].transpose(3, 0, 1, 2)),
        (stored["FULLY_CONNECTED"], kernels["logits"].T),
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_the_mean_of_each_output_is_the_float_one() -> None:
    keras = extras.keras()
    keras.utils.set_random_seed(2)
    pixels = keras.Input((16, 16, 3), name="pixels")
    outputs = keras.layers.Conv2D(6, 3, name="conv")(pixels)
    model = keras.Model(pixels, outputs)
    photos = lively.photos(16)[:, :16, :16]
    expected = lively.predictions(model, photos).mean((0, 1, 2))
    before = lively.predictions(_rounded(model), photos).mean((0, 1, 2))
    after = lively.predictions(_rounded(correct_weights(model, photos)), photos).mean((0, 1, 2))
    assert np.abs(before - expected).max() > 0.05
    np.testing.assert_allclose(after, expected, atol=1e-3)


def test_the_rescaling_becomes_a_whole_zero_point_with_the_factor_in_the_next_kernel() -> None:
    scale = _corrected().get_layer("scale")
    assert (scale.scale, scale.offset) == (1.0, -128.0)
    # The name of the first convolution of MobileNetV2.
    before, after = (model.get_layer("Conv1").get_weights()[0] for model in (_folded(), _corrected()))
    step = np.abs(before).max((0, 1, 2)) / 127
    assert (np.abs(after * 127.5 - before) < 2.5 * step).all()
    photos = lively.photos(8)
    expected = lively.predictions(_folded(), photos)
    assert np.abs(lively.predictions(_corrected(), photos) - expected).mean() < 0.2 * expected.std(axis=0).mean()


def test_a_layer_that_stays_float_keeps_its_kernel() -> None:
    photos = CALIBRATION[:, :16, :16]
    kept = _kernels(correct_weights(_tiny(), photos, keep_float=("conv", "logits")))
    old = _kernels(_tiny())
    np.testing.assert_array_equal(kept["logits"][0], old["logits"][0])
    np.testing.assert_allclose(kept["conv"][0], old["conv"][0] / 127.5, rtol=1e-6)
    assert not np.array_equal(kept["depthwise"][0], old["depthwise"][0])


def test_the_same_photos_give_the_same_weights() -> None:
    first, second = (correct_weights(_tiny(), CALIBRATION[:, :16, :16]).get_weights() for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_with_batch_norm_is_refused() -> None:
    with pytest.raises(InputError, match="fold BatchNormalization before"):
        correct_weights(lively.build("mobilenet_v2"), lively.photos(2))


@pytest.mark.parametrize(
    "photos",
    [lively.photos(1)[:0], lively.photos(1)[:, :64], lively.photos(1).astype(np.float32), lively.photos(1)[0]],
    ids=["none", "another size", "floats", "no batch"],
)
def test_photos_that_do_not_fit_are_refused(photos: Any) -> None:
    with pytest.raises(InputError, match="calibration photos of shape"):
        correct_weights(_folded(), photos)
