"""Keras models of all shapes become one flat graph that puts out what they do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest

from edgetl._lib.extras import keras
from edgetl.importing import keras_graph
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl_device.errors import InputError

SHAPE = (foreign.SIZE, foreign.SIZE, 3)


def _layers() -> Any:
    return keras().layers


def _sequential(*last: Any) -> Any:
    k = _layers()
    inner = [k.Conv2D(8, 3, strides=2, use_bias=False), k.BatchNormalization(), k.ReLU(6.0), k.Dropout(0.5)]
    return foreign.randomized(keras().Sequential([k.Input(SHAPE), *inner, k.GlobalAveragePooling2D(), *last]))


@pytest.mark.parametrize(
    ("last", "end"),
    [
        (lambda k: [k.Dense(3, "softmax")], "softmax"),
        (lambda k: [k.Dense(3), k.Softmax()], "softmax"),
        (lambda k: [k.Dense(3), k.Activation("softmax")], "softmax"),
        (lambda k: [k.Dense(3)], "logits"),
        (lambda k: [k.Dense(2, "sigmoid")], "sigmoids"),
        (lambda k: [k.Dense(1, "sigmoid")], "one sigmoid"),
        (lambda k: [k.Dense(1)], "one logit"),
        (lambda k: [k.Dense(4), k.Reshape((1, 1, 4)), k.Conv2D(1, 1), k.Flatten(), k.Activation("sigmoid")],
         "one sigmoid"),
    ],
    ids=["softmax", "layer", "activation", "logits", "two-sigmoids", "one-sigmoid", "one-logit", "conv"],
)  # fmt: skip
def test_ends(last: Any, end: str) -> None:
    made = foreign.import_keras(_sequential(*last(_layers())))
    assert made.ends_in == end
    # One score is for two classes.
    assert made.model.output.shape[1] >= 2
    np.testing.assert_allclose(made.model.predict_on_batch(foreign.pixels().astype(np.float32)).sum(1), 1, atol=1e-6)


def test_a_single_softmax_is_refused() -> None:
    with pytest.raises(InputError, match="one softmax"):
        foreign.import_keras(_sequential(_layers().Dense(1, "softmax")))


def test_nested_models_are_opened_and_shared_layers_copied() -> None:
    k, model = _layers(), keras().Model
    inner_input = k.Input((16, 16, 8))
    shared = k.Conv2D(8, 3, padding="same", name="conv2d")
    inner = model(inner_input, k.Add()([shared(shared(inner_input)), inner_input]), name="inner")
    pixels = k.Input(SHAPE)
    x = keras().Sequential([k.Input(SHAPE), k.Conv2D(8, 2, 2, name="conv2d"), k.BatchNormalization()], name="stem")(
        pixels
    )
    x = inner(inner(x))
    whole = foreign.randomized(model(pixels, k.Dense(3)(k.Flatten()(x))))
    made = foreign.import_keras(whole)
    names = [layer.name for layer in made.model.layers]
    assert len(names) == len(set(names))
    assert {"stem.conv2d", "inner.conv2d", "inner.conv2d.copy2", "inner.conv2d.copy4"} <= set(names)
    assert not any(isinstance(layer, model) for layer in made.model.layers)
    assert "BatchNormalization" not in foreign.kinds(fold_batch_norm(made.model))


def test_norms_that_cannot_be_folded_are_layers_that_int8_knows() -> None:
    k = _layers()
    pixels = k.Input(SHAPE)
    x = k.BatchNormalization()(pixels)
    x = k.Conv2D(8, 3, activation="relu")(x)
    x = k.BatchNormalization()(x)
    x = k.LayerNormalization(epsilon=1e-3)(k.Add()([x, k.Conv2D(8, 1)(x)]))
    x = k.BatchNormalization()(k.Dense(8, activation="relu")(k.GlobalAveragePooling2D()(x)))
    made = foreign.import_keras(foreign.randomized(keras().Model(pixels, k.Dense(3)(x))))
    kinds = foreign.kinds(made.model)
    assert not {"BatchNormalization", "LayerNormalization"} & set(kinds)
    fold_batch_norm(made.model)


def test_preprocessing_layers_are_recognized() -> None:
    k = _layers()
    pixels = k.Input((None, None, 3))
    x = k.RandomFlip()(k.Resizing(32, 32, crop_to_aspect_ratio=True)(pixels))
    x = k.Rescaling(1 / 127.5, -1, name="rescaling")(x)
    model = foreign.randomized(keras().Model(pixels, k.Dense(3)(k.GlobalAveragePooling2D()(k.Conv2D(4, 3)(x)))))
    flat = keras_graph.flat_network(model, size=None, shown=Path("theirs.keras"))
    assert (flat.size, flat.fit, flat.scales_pixels) == (32, "crop", "rescaling")
    assert "RandomFlip" not in foreign.kinds(flat.network)
    foreign.import_keras(model, scaling=None)


@pytest.mark.parametrize("invert", [False, True])
def test_normalization_is_a_scaling(invert: bool) -> None:
    k = _layers()
    norm = k.Normalization(mean=[120.0, 110.0, 100.0], variance=[3600.0, 3500.0, 3400.0], invert=invert)
    model = keras().Sequential([k.Input(SHAPE), norm, k.Conv2D(4, 3), k.GlobalAveragePooling2D(), k.Dense(3)])
    flat = keras_graph.flat_network(foreign.randomized(model), size=None, shown=Path("theirs.keras"))
    assert bool(flat.scales_pixels) != invert
    # 0..1 keeps the scores of the inverse small.
    foreign.import_keras(model, scaling=foreign.UNIT if invert else None)


def test_a_rescaling_of_scaled_pixels_does_not_say_what_the_model_takes() -> None:
    k = _layers()
    model = keras().Sequential([k.Input(SHAPE), k.Rescaling(2.0, -1), k.Conv2D(4, 3), k.Flatten(), k.Dense(3)])
    assert keras_graph.flat_network(model, size=None, shown=Path("theirs.keras")).scales_pixels == ""


def test_operations_of_keras_are_kept() -> None:
    k, ops = _layers(), keras().ops
    pixels = k.Input(SHAPE)
    x = k.Conv2D(8, 3)(pixels)
    x = ops.clip(x + 3.0, 0.0, 6.0) * x / 6.0 + x
    x = k.Concatenate()([x[..., 4:], x[..., :4]])
    made = foreign.import_keras(foreign.randomized(keras().Model(pixels, k.Dense(3)(k.GlobalAveragePooling2D()(x)))))
    # A sum with a constant is none of a residual stream.
    assert foreign.kinds(made.model).count("Add") == 1
    fold_batch_norm(made.model)


def _written(tmp_path: Path, model: Any, name: str) -> Path:
    path = tmp_path / name
    model.save(path)
    return path


@pytest.mark.parametrize("name", ["theirs.keras", "theirs.h5"])
def test_files_of_keras_3(tmp_path: Path, name: str) -> None:
    model = _sequential(_layers().Dense(3, "softmax"))
    path = _written(tmp_path, model, name)
    again = keras_graph.load_keras(path, shown=path)
    given = foreign.pixels().astype(np.float32)
    np.testing.assert_allclose(again.predict_on_batch(given), model.predict_on_batch(given), atol=1e-7)


def test_settings_of_keras_2_are_left_out() -> None:
    def config(**settings: Any) -> dict[str, Any]:
        return {
            "class_name": "Functional",
            "config": {"layers": [{"class_name": "DepthwiseConv2D", "config": settings}]},
        }

    kept = {"name": "depthwise", "kernel_size": [3, 3], "depthwise_initializer": "ones"}
    old = config(groups=1, kernel_initializer={"class_name": "GlorotUniform", "config": {"seed": None}}, **kept)
    assert json.loads(keras_graph.as_keras_3(json.dumps(old))) == config(**kept)
    norm = {"class_name": "BatchNormalization", "config": {"axis": [3], "name": "bn"}}
    assert json.loads(keras_graph.as_keras_3(json.dumps([norm])))[0]["config"] == {"axis": 3, "name": "bn"}


def _config(**layer: Any) -> str:
    """Return the configuration of a model with one odd layer, as Keras 3 writes it."""
    usual = {"module": "keras.layers", "class_name": "ReLU", "config": {"name": "fine"}, "registered_name": None}
    layers = [usual, {"module": "keras.layers", "config": {"name": "odd"}, "registered_name": None} | layer]
    return json.dumps({"class_name": "Sequential", "module": "keras", "config": {"name": "m", "layers": layers}})


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (_config(class_name="Lambda"), "layer 'odd' is a Lambda"),
        (_config(class_name="TFOpLambda"), "layer 'odd' is a TFOpLambda"),
        (_config(class_name="Swish", registered_name="Custom>Swish", module=None), "layer 'odd' is a custom Swish"),
        (_config(class_name="Swish", module="their.code"), "layer 'odd' is a custom Swish"),
        (_config(class_name="ReLU", config={"name": "odd", "f": {"class_name": "__lambda__"}}), "is a __lambda__"),
        ("{", "its architecture is damaged"),
        ("[" * 5000 + "]" * 5000, "damaged|too deeply"),
    ],
    ids=["lambda", "tf-op", "registered", "module", "function", "damaged", "deep"],
)
def test_code_is_refused_by_the_name_of_its_layer(config: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        keras_graph.check_config(config, Path("theirs.keras"))
    keras_graph.check_config(_config(class_name="ReLU"), Path("theirs.keras"))


def test_an_unknown_layer_is_refused_with_those_that_are_known() -> None:
    k = _layers()
    model = keras().Sequential([k.Input(SHAPE), k.Conv2DTranspose(4, 3, name="up"), k.Flatten(), k.Dense(3)])
    with pytest.raises(InputError, match="layer 'up' is a Conv2DTranspose") as refused:
        foreign.import_keras(model)
    assert "SeparableConv2D" in refused.value.why


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda k: ([k.Input((32, 24, 3))] * 2), "its input is 32 x 24"),
        (lambda k: ([k.Input((32, 32, 1))] * 2), r"its input has shape \[\?, 32, 32, 1\]"),
        (lambda k: ([k.Input((None, None, 3))] * 2), "it takes any size"),
        (lambda k: (lambda one: [one, [k.Conv2D(4, 3)(one), k.Conv2D(4, 3)(one)]])(k.Input(SHAPE)),
         "has 1 inputs and 2 outputs"),
    ],
    ids=["not-square", "one-channel", "any-size", "two-outputs"],
)  # fmt: skip
def test_what_is_no_classifier_of_square_photos_is_refused(build: Any, what: str) -> None:
    source, output = build(_layers())
    if output is source:
        output = _layers().Dense(3)(_layers().GlobalAveragePooling2D()(source))
    with pytest.raises(InputError, match=what):
        foreign.import_keras(keras().Model(source, output))
