"""Folding fixed BatchNorms for training: the same function, the same gradients, and nothing folded that must not be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgetl._lib.extras import keras, tensorflow
from edgetl.training.folded import fold_fixed_norms
from edgetl.training.precision import computing_in

pytestmark = pytest.mark.no_cover


def network(*, center: bool = True, scale: bool = True) -> Any:
    """Return a net whose BatchNorms are far from doing nothing, all of them fixed."""
    layers = keras().layers
    inputs = keras().Input((9, 9, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.BatchNormalization(name="conv_norm", center=center, scale=scale)(x)
    x = start = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(name="depthwise_norm")(x)
    x = layers.Add()([x, start])
    model = keras().Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 2, array.shape) for array in layer.get_weights()])
            layer.trainable = False
    return model


PICTURES = np.random.default_rng(1).normal(size=(4, 9, 9, 3)).astype(np.float32)


def gradients(model: Any) -> list[np.ndarray]:
    tf = tensorflow()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(PICTURES, training=True) ** 2)
    return [gradient.numpy() for gradient in tape.gradient(loss, [v.value for v in model.trainable_variables])]


@pytest.mark.parametrize("options", [{}, {"center": False}, {"scale": False}])
def test_same_outputs_and_gradients(options: dict[str, bool]) -> None:
    model = network(**options)
    folded = fold_fixed_norms(model)
    np.testing.assert_allclose(folded(PICTURES).numpy(), model(PICTURES).numpy(), rtol=1e-5, atol=1e-5)
    assert [v.path for v in folded.trainable_variables] == [v.path for v in model.trainable_variables]
    for one, other in zip(gradients(folded), gradients(model), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_no_pass_over_feature_maps_is_left() -> None:
    names = [type(layer).__name__ for layer in fold_fixed_norms(network()).layers]
    assert "BatchNormalization" not in names
    assert "Conv2D" not in names


def test_weights_are_shared() -> None:
    model = network()
    folded = fold_fixed_norms(model)
    before = model(PICTURES).numpy()
    folded.trainable_variables[0].assign(folded.trainable_variables[0].numpy() * 2)
    assert np.abs(model(PICTURES).numpy() - before).max() > 0.1
    np.testing.assert_allclose(folded(PICTURES).numpy(), model(PICTURES).numpy(), rtol=1e-5, atol=1e-4)


def test_a_norm_that_learns_stays_a_layer() -> None:
    model = network()
    model.get_layer("conv_norm").trainable = True
    folded = fold_fixed_norms(model)
    assert "conv_norm" in [layer.name for layer in folded.layers]
    before = folded(PICTURES, training=True).numpy()
    np.testing.assert_allclose(before, model(PICTURES, training=True).numpy(), rtol=1e-5, atol=1e-5)


def test_a_convolution_that_something_else_reads_stays_a_layer() -> None:
    layers = keras().layers
    inputs = keras().Input((9, 9, 3))
    convolved = layers.Conv2D(4, 1, use_bias=False, name="conv")(inputs)
    norm = layers.BatchNormalization(name="norm", trainable=False)
    model = keras().Model(inputs, layers.Add()([norm(convolved), convolved]))
    norm.set_weights([array + 1 for array in norm.get_weights()])
    folded = fold_fixed_norms(model)
    assert {"conv", "norm"} <= {layer.name for layer in folded.layers}
    np.testing.assert_allclose(folded(PICTURES).numpy(), model(PICTURES).numpy(), rtol=1e-6)


def test_half_precision_keeps_the_norms_digits() -> None:
    """A variance of a millionth: its square root is nothing in float16."""
    model = network()
    norm = model.get_layer("conv_norm")
    gamma, beta, mean, variance = norm.get_weights()
    norm.set_weights([gamma * 1e-3, beta, mean * 1e-3, variance * 1e-7])
    norm.epsilon = 1e-9
    wanted = model(PICTURES).numpy()
    folded = fold_fixed_norms(model)
    with computing_in("mixed_float16", folded):
        found = folded(PICTURES).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.02)
    assert np.abs(found - wanted).max() > 0
