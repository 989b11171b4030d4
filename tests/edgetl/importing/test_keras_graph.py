"""Keras models of all shapes become one flat graph that puts out what they do."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest

from edgetl._lib.extras import keras
from edgetl.importing import keras_config, keras_graph
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl_device.errors import InputError
from edgetl_device.input_size import square

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
        (lambda k: [k.Dense(3, "softmax"), k.Activation("linear")], "softmax"),
        (lambda k: [k.Dense(3, "softmax"), k.Reshape((1, 1, 3)), k.Permute((3, 1, 2)), k.Flatten()], "softmax"),
        (lambda k: [k.Reshape((1, 1, 8)), k.Conv2D(3, 1, activation="softmax"), k.GlobalAveragePooling2D()], "softmax"),
        (lambda k: [k.Reshape((1, 1, 8)), k.Conv2D(2, 1, activation="sigmoid"), k.Flatten()], "sigmoids"),
        (lambda k: [k.Dense(1, "sigmoid"), k.Activation("linear"), k.Flatten()], "one sigmoid"),
        # Over a part of the scores it is no end.
        (lambda k: [k.Dense(4), k.Reshape((2, 2)), k.Softmax(), k.Flatten()], "logits"),
    ],
    ids=[
        "softmax", "layer", "activation", "logits", "two-sigmoids", "one-sigmoid", "one-logit", "conv",
        "softmax-linear", "softmax-permuted", "softmax-pool", "sigmoids-flat", "one-sigmoid-flat", "softmax-of-pairs",
    ],
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
    assert (flat.size, flat.fit, flat.scales_pixels) == (square(32), "crop", "rescaling")
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


def test_an_unknown_layer_is_refused_with_those_that_are_known() -> None:
    k = _layers()
    model = keras().Sequential([k.Input(SHAPE), k.Conv2DTranspose(4, 3, name="up"), k.Flatten(), k.Dense(3)])
    with pytest.raises(InputError, match="layer 'up' is a Conv2DTranspose") as refused:
        foreign.import_keras(model)
    assert "SeparableConv2D" in refused.value.why


def test_a_model_that_does_not_say_its_input_is_refused() -> None:
    with pytest.raises(InputError, match="does not say the shape of its input"):
        keras_graph.flat_network(keras().Sequential([_layers().Dense(3)]), size=None, shown=Path("theirs.keras"))


def test_a_size_that_does_not_fit_is_refused() -> None:
    k = _layers()
    pixels = k.Input((None, None, 3))
    x = k.Conv2D(4, 3, strides=2)(pixels)
    model = keras().Model(pixels, k.Dense(3)(k.Reshape((900,))(x)))
    assert keras_graph.flat_network(model, size=square(32), shown=Path("theirs.keras")).size == square(32)
    with pytest.raises(InputError, match="cannot be built for photos of 48 px"):
        keras_graph.flat_network(model, size=square(48), shown=Path("theirs.keras"))


def _rms(k: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras has deprecated it
        return k.LayerNormalization(rms_scaling=True, name="odd")


@pytest.mark.parametrize(
    ("odd", "what"),
    [
        (lambda k: k.BatchNormalization(axis=1, name="odd"), r"layer 'odd' normalizes axes \[1\]"),
        (lambda k: k.LayerNormalization(axis=[1, 2], name="odd"), r"layer 'odd' normalizes axes \[1, 2\]"),
        (_rms, "layer 'odd' has rms_scaling"),
        (lambda k: k.RandomCrop(24, 24, name="odd"), "layer 'odd' is a RandomCrop"),
        (lambda k: k.CenterCrop(24, 24, name="odd"), "layer 'odd' is a CenterCrop"),
        (lambda k: k.AutoContrast(name="odd"), "layer 'odd' is a AutoContrast"),
    ],
    ids=["batch-norm", "layer-norm", "rms", "random-crop", "center-crop", "auto-contrast"],
)
def test_a_form_that_is_not_imported_is_refused_by_place(odd: Any, what: str) -> None:
    k = _layers()
    model = keras().Sequential([k.Input(SHAPE), odd(k), k.Conv2D(4, 3), k.GlobalAveragePooling2D(), k.Dense(3)])
    with pytest.raises(InputError, match=rf"theirs\.keras: {what}"):
        foreign.import_keras(model)


_NEEDS: dict[str, Any] = {
    "Dropout": 0.5, "AlphaDropout": 0.5, "GaussianDropout": 0.5, "GaussianNoise": 0.5, "SpatialDropout2D": 0.5,
    "RandomBrightness": 0.2, "RandomColorDegeneration": 0.2, "RandomContrast": 0.2, "RandomHue": 0.2,
    "RandomPosterization": 4, "RandomRotation": 0.2, "RandomSaturation": 0.2, "RandomSharpness": 0.2, "RandomZoom": 0.2,
}  # fmt: skip


def test_what_only_training_does_is_left_out() -> None:
    k = _layers()
    made = []
    for name in keras_config.IDLE:
        if name == "RandomApply":
            made.append(keras().layers.RandomApply([k.RandomFlip()]) if hasattr(k, name) else None)
        elif name == "RandomColorJitter":
            made.append(k.RandomColorJitter(brightness_factor=0.2))
        elif name == "RandomTranslation":
            made.append(k.RandomTranslation(0.1, 0.1))
        elif hasattr(k, name):
            made.append(getattr(k, name)(*([_NEEDS[name]] if name in _NEEDS else [])))
    idle = [layer for layer in made if layer is not None]
    assert len(idle) >= 24
    model = keras().Sequential(
        [k.Input(SHAPE), *idle, k.Conv2D(8, 3), k.GlobalAveragePooling2D(), k.Dense(3, name="scores")]
    )
    imported = foreign.import_keras(foreign.randomized(model))
    assert foreign.kinds(imported.model) == ["Conv2D", "GlobalAveragePooling2D"]


def test_a_norm_of_many_features_takes_memory_with_them() -> None:
    k = _layers()
    pixels = k.Input(SHAPE)
    # A matrix of features by features would take 1.4 GB.
    x = k.BatchNormalization()(k.Flatten()(k.Conv2D(21, 3, activation="relu")(pixels)))
    made = foreign.import_keras(foreign.randomized(keras().Model(pixels, k.Dense(3)(x))))
    assert made.model.count_params() < 200_000
    fold_batch_norm(made.model)


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda k: ([k.Input((32, 8, 3))] * 2), "its input is 32 x 8"),
        (lambda k: ([k.Input((90000, 90000, 3))] * 2), "its input is 90000 x 90000"),
        (lambda k: ([k.Input((32, 32, 2))] * 2), r"its input has shape \[\?, 32, 32, 2\]"),
        (lambda k: ([k.Input((None, None, 3))] * 2), "it takes any size"),
        (lambda k: (lambda one: [one, [k.Conv2D(4, 3)(one), k.Conv2D(4, 3)(one)]])(k.Input(SHAPE)),
         "has 1 inputs and 2 outputs"),
    ],
    ids=["narrow", "huge", "two-channels", "any-size", "two-outputs"],
)  # fmt: skip
def test_what_is_no_classifier_of_photos_is_refused(build: Any, what: str) -> None:
    source, output = build(_layers())
    if output is source:
        output = _layers().Dense(3)(_layers().GlobalAveragePooling2D()(source))
    with pytest.raises(InputError, match=what):
        foreign.import_keras(keras().Model(source, output))
