"""Folding BatchNorm: exact on every backbone, and refused where it would not be exact."""

from __future__ import annotations

from typing import Any

import lively
import numpy as np
import pytest

from edgetl._lib import extras
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl_device.errors import InputError

pytestmark = pytest.mark.no_cover


def _model(tail: Any, *, size: int = 8) -> Any:
    keras = extras.keras()
    pixels = keras.Input((size, size, 3), name="pixels")
    return keras.Model(pixels, tail(pixels, keras.layers))


def _norm(layers: Any, name: str = "norm", **options: Any) -> Any:
    """A BatchNormalization far from the identity in all four parameters."""
    random = {"seed": 3}
    initializers = extras.keras().initializers
    return layers.BatchNormalization(
        name=name,
        gamma_initializer=initializers.RandomUniform(0.5, 2, **random),
        beta_initializer=initializers.RandomNormal(0, 1, **random),
        moving_mean_initializer=initializers.RandomNormal(0, 1, **random),
        moving_variance_initializer=initializers.RandomUniform(0.2, 3, **random),
        **options,
    )


def _batch_norms(model: Any) -> int:
    return sum(type(layer).__name__ == "BatchNormalization" for layer in model.layers)


@pytest.mark.parametrize("name", lively.EACH)
def test_backbones_fold_to_the_same_predictions(name: str) -> None:
    model = lively.build(name)
    photos = lively.photos(16)
    before = [array.copy() for array in model.get_weights()]
    expected = lively.predictions(model, photos)
    assert expected.std(axis=0).max() > 0.1, "the model answers the same to every photo; this test could not fail"

    folded = fold_batch_norm(model)

    assert _batch_norms(model) > 20
    assert _batch_norms(folded) == 0
    np.testing.assert_allclose(lively.predictions(folded, photos), expected, atol=1e-4)
    for array, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, old)


@pytest.mark.parametrize(
    "tail",
    [
        lambda x, layers: _norm(layers)(layers.Conv2D(4, 3, use_bias=False)(x)),
        lambda x, layers: _norm(layers)(layers.Conv2D(4, 3, bias_initializer="random_normal")(x)),
        lambda x, layers: _norm(layers)(layers.DepthwiseConv2D(3, depth_multiplier=2)(x)),
        lambda x, layers: _norm(layers)(layers.Dense(4)(layers.Flatten()(x))),
        lambda x, layers: _norm(layers, scale=False)(layers.Conv2D(4, 3)(x)),
        lambda x, layers: _norm(layers, center=False, epsilon=0.5)(layers.Conv2D(4, 3)(x)),
    ],
    ids=["no bias", "bias", "depth multiplier", "dense", "no gamma", "no beta"],
)
def test_each_kind_of_layer_folds(tail: Any) -> None:
    model = _model(tail)
    photos = lively.photos(4)[:, :8, :8]
    folded = fold_batch_norm(model)
    assert _batch_norms(folded) == 0
    np.testing.assert_allclose(
        lively.predictions(folded, photos), lively.predictions(model, photos), rtol=1e-4, atol=1e-3
    )


def _dense_block(x: Any, layers: Any) -> Any:
    x = layers.MaxPooling2D(2, name="pool")(layers.Conv2D(4, 3, name="stem")(x))
    grown = layers.Conv2D(2, 3, padding="same", name="conv")(layers.ReLU(name="relu")(_norm(layers, "first")(x)))
    return layers.Conv2D(3, 1, name="last")(_norm(layers, "second")(layers.Concatenate(name="concat")([x, grown])))


def test_a_norm_of_what_others_read_too_becomes_a_layer_of_its_own() -> None:
    model = _model(_dense_block)
    photos = lively.photos(4)[:, :8, :8]
    folded = fold_batch_norm(model)
    assert {layer.name: type(layer).__name__ for layer in folded.layers if layer.weights} == {
        "stem": "Conv2D", "first": "DepthwiseConv2D", "conv": "Conv2D", "second": "DepthwiseConv2D", "last": "Conv2D",
    }  # fmt: skip
    assert folded.get_layer("second").kernel_size == (1, 1)
    np.testing.assert_allclose(
        lively.predictions(folded, photos), lively.predictions(model, photos), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize(
    "options",
    [
        {"use_bias": False},
        {"bias_initializer": "random_normal", "depth_multiplier": 2},
        {"strides": 2, "padding": "same"},
        {"dilation_rate": 2},
    ],
    ids=["no bias", "bias, multiplier", "strides", "dilation"],
)
@pytest.mark.parametrize("normed", [True, False])
def test_a_separable_convolution_becomes_two(options: dict[str, Any], normed: bool) -> None:
    def tail(x: Any, layers: Any) -> Any:
        activation = None if normed else "relu"
        x = layers.SeparableConv2D(4, 3, name="conv", activation=activation, **options)(x)
        return _norm(layers)(x) if normed else x

    model = _model(tail)
    photos = lively.photos(4)[:, :8, :8]
    folded = fold_batch_norm(model)
    weighted = {layer.name: type(layer).__name__ for layer in folded.layers if layer.weights}
    assert weighted == {"conv_depthwise": "DepthwiseConv2D", "conv": "Conv2D"}
    expected = lively.predictions(model, photos)
    assert expected.std() > 1
    np.testing.assert_allclose(lively.predictions(folded, photos), expected, rtol=1e-4, atol=1e-3)


def _shared(x: Any, layers: Any) -> Any:
    branch = layers.Conv2D(3, 3, padding="same", name="conv")(x)
    return layers.Add()([_norm(layers)(branch), branch])


def _used_twice(x: Any, layers: Any) -> Any:
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    return _norm(layers)(conv(conv(x)))


def _nested(x: Any, layers: Any) -> Any:
    inner = _model(lambda y, layers: _norm(layers, "inner_norm")(layers.Conv2D(3, 3)(y)))
    inner.name = "inner"
    return inner(x)


@pytest.mark.parametrize(
    ("tail", "named", "why"),
    [
        (lambda x, layers: _norm(layers)(x), "norm", "the model's input"),
        (lambda x, layers: _norm(layers)(layers.ReLU(name="relu")(x)), "norm", "ReLU 'relu'"),
        (lambda x, layers: _norm(layers)(layers.Conv2DTranspose(3, 3)(x)), "norm", "Conv2DTranspose"),
        (lambda x, layers: _norm(layers)(layers.Conv2D(3, 3, activation="relu")(x)), "norm", "activation"),
        (lambda x, layers: _norm(layers, axis=1)(layers.Conv2D(3, 3)(x)), "norm", "channels-last"),
        (_shared, "norm", "has other readers"),
        (_used_twice, "conv", "shared layers"),
        (_nested, "inner", "flat"),
        (lambda x, layers: layers.LayerNormalization(name="other")(x), "other", "LayerNormalization with weights"),
        (lambda x, layers: layers.Conv2DTranspose(3, 3, name="up")(x), "up", "Conv2DTranspose with weights"),
        (lambda x, layers: _norm(layers, axis=1)(layers.MaxPooling2D(name="pool")(x)), "norm", "channels-last"),
    ],
)
def test_what_cannot_be_folded_is_named_and_refused(tail: Any, named: str, why: str) -> None:
    with pytest.raises(InputError) as error:
        fold_batch_norm(_model(tail))
    assert repr(named) in error.value.what
    assert why in str(error.value)
    assert len(str(error.value).splitlines()) <= 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_refused(value: float) -> None:
    model = _model(lambda x, layers: _norm(layers)(layers.Conv2D(3, 3, name="conv")(x)))
    kernel, bias = model.get_layer("conv").get_weights()
    kernel[0, 0, 0, 0] = value
    model.get_layer("conv").set_weights([kernel, bias])
    with pytest.raises(InputError, match=r"'conv'.*NaN or infinite"):
        fold_batch_norm(model)
    separable = _model(lambda x, layers: _norm(layers)(layers.SeparableConv2D(3, 3, name="conv")(x)))
    kernel, *others = separable.get_layer("conv").get_weights()
    kernel[0, 0, 0, 0] = value
    separable.get_layer("conv").set_weights([kernel, *others])
    with pytest.raises(InputError, match=r"'conv'.*NaN or infinite"):
        fold_batch_norm(separable)
