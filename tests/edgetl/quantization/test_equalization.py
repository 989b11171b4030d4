"""Cross-layer equalization: the same predictions, similar ranges in linear streams, and no change elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bases
import lively
import numpy as np
import numpy.typing as npt
import pytest

from edgetl._lib import extras
from edgetl.quantization.preparation.equalization import equalize_cross_layer
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl.quantization.preparation.graph import rebuild

pytestmark = pytest.mark.no_cover

SIZE = 12
PHOTOS = lively.photos(8)[:, :SIZE, :SIZE]
# Factors on the producers' channels, to create ranges that need equalizing.
UNLIKE = np.array([1, 0.5, 0.1, 0.02, 0.01, 0.3], np.float32)


# One with streams, one with hard activations, one with neither; the others differ only in size.
@pytest.mark.parametrize("name", bases.some("mobilenet_v2", "mobilenet_v3_small", "simple_cnn"))
def test_backbones_give_the_same_predictions(name: str) -> None:
    folded = fold_batch_norm(lively.small(name))
    size = folded.input.shape[1]
    photos = lively.photos(4, first_seed=900)[:, :size, :size]
    expected = lively.predictions(folded, photos)
    assert expected.std(axis=0).max() > 0.1, "the model answers the same to every photo; this test could not fail"
    equalized = equalize_cross_layer(folded, photos)
    np.testing.assert_allclose(lively.predictions(equalized, photos), expected, atol=1e-4)
    # V1 and the small CNN have a ReLU after every convolution, so no linear stream.
    touched = name.startswith(("mobilenet_v2", "mobilenet_v3", "efficientnet"))
    if name in bases.MOBILE:
        assert bool(_changed(folded, equalized)) == touched


def _changed(model: Any, other: Any) -> set[str]:
    """Return the names of the layers whose weights differ between the models."""
    return {
        layer.name
        for layer in model.layers
        if layer.weights
        and not all(map(np.array_equal, layer.get_weights(), other.get_layer(layer.name).get_weights()))
    }


def _model(body: Callable[[Any, Any], Any]) -> Any:
    """Return a small folded model around ``body``, with unequal channels in layers named ``write...``."""
    keras = extras.keras()
    keras.utils.set_random_seed(4)
    layers = keras.layers
    pixels = keras.Input((SIZE, SIZE, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, -1.0, name="scale")(pixels)
    stem = layers.Conv2D(8, 3, padding="same", activation="relu6", name="stem")(x)
    model = keras.Model(pixels, body(stem, layers))
    weights = {
        layer.name: [layer.get_weights()[0] * UNLIKE, np.linspace(-1, 1, 6, dtype=np.float32) * UNLIKE]
        for layer in model.layers
        if layer.name.startswith("write")
    }
    return rebuild(model, weights)


def _write(layers: Any, name: str = "write", **options: Any) -> Any:
    return layers.Conv2D(6, 1, name=name, **options)


def _read(layers: Any, name: str = "read", **options: Any) -> Any:
    return layers.Conv2D(5, 3, name=name, **({"padding": "same", "activation": "relu6"} | options))


def _ranges(model: Any, name: str) -> npt.NDArray[np.float32]:
    stream = extras.keras().Model(model.input, model.get_layer(name).output)
    return np.abs(lively.predictions(stream, PHOTOS)).max((0, 1, 2))


def _bottleneck(x: Any, layers: Any) -> Any:
    return _read(layers)(_write(layers)(x))


def test_ranges_of_a_bottleneck_become_alike_by_the_stated_factor() -> None:
    model = _model(_bottleneck)
    equalized = equalize_cross_layer(model, PHOTOS)
    before, after = _ranges(model, "write"), _ranges(equalized, "write")
    assert before.max() > 40 * before.min()
    np.testing.assert_allclose(after, before * np.minimum((before.max() / before) ** 0.75, 64), rtol=1e-4)
    assert after.max() < 4 * after.min()
    assert _changed(model, equalized) == {"write", "read"}
    np.testing.assert_allclose(
        lively.predictions(equalized, PHOTOS), lively.predictions(model, PHOTOS), rtol=1e-3, atol=1e-5
    )


def _residual(x: Any, layers: Any) -> Any:
    first = _write(layers, "write_1")(x)
    inner = layers.DepthwiseConv2D(3, padding="same", activation="relu6", name="depthwise")(_read(layers)(first))
    total = layers.Add(name="add")([first, _write(layers, "write_2")(inner)])
    return _read(layers, "read_2")(total)


def test_what_is_summed_up_has_one_factor() -> None:
    model = _model(_residual)
    equalized = equalize_cross_layer(model, PHOTOS)
    assert _changed(model, equalized) == {"write_1", "write_2", "read", "read_2"}
    widest = np.max([_ranges(model, name) for name in ("write_1", "write_2", "add")], axis=0)
    factor = np.minimum((widest.max() / widest) ** 0.75, 64)
    for name in ("write_1", "write_2", "add"):
        np.testing.assert_allclose(_ranges(equalized, name), factor * _ranges(model, name), rtol=1e-4)
    np.testing.assert_allclose(
        lively.predictions(equalized, PHOTOS), lively.predictions(model, PHOTOS), rtol=1e-3, atol=1e-5
    )


def test_a_convolution_that_reads_and_writes_the_same_stream() -> None:
    def body(x: Any, layers: Any) -> Any:
        first = _write(layers, "write_1")(x)
        return _read(layers)(layers.Add(name="add")([first, _write(layers, "write_2")(first)]))

    model = _model(body)
    equalized = equalize_cross_layer(model, PHOTOS)
    assert _changed(model, equalized) == {"write_1", "write_2", "read"}
    np.testing.assert_allclose(
        lively.predictions(equalized, PHOTOS), lively.predictions(model, PHOTOS), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize(
    "body",
    [
        lambda x, layers: _read(layers)(layers.ReLU()(_write(layers)(x))),
        lambda x, layers: _read(layers)(_write(layers, activation="relu6")(x)),
        lambda x, layers: layers.ReLU()(layers.Add()([_write(layers)(x), _write(layers, "write_2")(x)])),
        lambda x, layers: layers.DepthwiseConv2D(3, name="read")(_write(layers)(x)),
        lambda x, layers: layers.Conv2D(6, 3, groups=2, name="read")(_write(layers)(x)),
        lambda x, layers: layers.Dense(3, name="read")(layers.GlobalAveragePooling2D()(_write(layers)(x))),
        lambda x, layers: _read(layers)(layers.Concatenate()([_write(layers)(x), x])),
        lambda x, layers: _read(layers)(layers.Add()([_write(layers)(x), layers.Conv2D(6, 1, activation="relu")(x)])),
        lambda x, layers: layers.Add()([w := _write(layers)(x), _write(layers, "write_2")(_read(layers)(w))]),
        lambda x, layers: _read(layers)(layers.MaxPooling2D()(_write(layers)(x))),
    ],
    ids=[
        "ReLU reads", "ReLU inside", "ReLU reads the sum", "depthwise reads", "groups read", "pooling reads",
        "concatenated", "a ReLU is added", "the model's output", "maximum pooling reads",
    ],
)  # fmt: skip
def test_other_streams_stay_as_they_are(body: Callable[[Any, Any], Any]) -> None:
    model = _model(body)
    assert _changed(model, equalize_cross_layer(model, PHOTOS)) == set()


@pytest.mark.parametrize("dead", [[3], [0, 1, 2, 3, 4, 5]])
def test_channels_that_are_always_zero_stay_so(dead: list[int]) -> None:
    model = _model(_bottleneck)
    kernel, bias = model.get_layer("write").get_weights()
    kernel[..., dead], bias[dead] = 0, 0
    model = rebuild(model, {"write": [kernel, bias]})
    equalized = equalize_cross_layer(model, PHOTOS)
    assert not _ranges(equalized, "write")[dead].any()
    np.testing.assert_array_equal(
        equalized.get_layer("read").get_weights()[0][:, :, dead], model.get_layer("read").get_weights()[0][:, :, dead]
    )
    np.testing.assert_allclose(
        lively.predictions(equalized, PHOTOS), lively.predictions(model, PHOTOS), rtol=1e-3, atol=1e-5
    )
