"""SavedModels: equal to TensorFlow, and nothing in them runs but known operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest
import small

from edgetl._lib.extras import keras, tensorflow
from edgetl.importing import saved_model_file
from edgetl.importing.source import open_source
from edgetl.runs.directory import Run
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import InputError

SHAPE = (foreign.SIZE, foreign.SIZE, 3)


def _model() -> Any:
    k = keras().layers
    pixels = k.Input(SHAPE)
    x = k.ReLU(6.0)(k.BatchNormalization()(k.Conv2D(8, 3, 2, "same", use_bias=False)(pixels)))
    x = k.Add()([x, k.Activation("silu")(k.DepthwiseConv2D(3, padding="same")(x))])
    x = k.Dropout(0.5)(k.GlobalAveragePooling2D()(k.ZeroPadding2D(1)(x)))
    return foreign.randomized(keras().Model(pixels, k.Dense(3, "softmax")(x)))


def _module(call: Any, folder: Path, *, size: int | None = foreign.SIZE, **attributes: Any) -> Path:
    """Save a tf.Module with one signature of a function of its own."""
    tf = tensorflow()
    module = tf.Module()
    module.kernel = tf.Variable(np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))
    for name, value in attributes.items():
        setattr(module, name, value)
    function = tf.function(lambda pixels: call(tf, module, pixels), autograph=False)
    spec = tf.TensorSpec((None, size, size, 3), tf.float32, name="pixels")
    tf.saved_model.save(module, str(folder), signatures=function.get_concrete_function(spec))
    return folder


def _classifier(tf: Any, module: Any, pixels: Any) -> Any:
    return {"scores": tf.matmul(tf.reduce_mean(pixels, (1, 2)), module.kernel)}


def test_what_keras_exports_is_equal_to_tensorflow(tmp_path: Path) -> None:
    _model().export(tmp_path / "theirs", verbose=False)
    made = foreign.import_file(tmp_path / "theirs")
    assert made.ends_in == "softmax"
    assert "Conv2D" in foreign.kinds(made.model)


def test_a_module_of_tensorflow_is_equal_to_it(tmp_path: Path) -> None:
    assert foreign.import_file(_module(_classifier, tmp_path / "theirs")).ends_in == "logits"


def _reads_a_file(tf: Any, module: Any, pixels: Any) -> Any:
    found = tf.strings.length(tf.io.read_file("/etc/passwd"))
    return {"scores": _classifier(tf, module, pixels)["scores"] + tf.cast(found, tf.float32)}


def _writes_a_file(tf: Any, module: Any, pixels: Any) -> Any:
    with tf.control_dependencies([tf.raw_ops.WriteFile(filename="written", contents="by a model")]):
        return {"scores": tf.identity(_classifier(tf, module, pixels)["scores"])}


def _runs_python(tf: Any, module: Any, pixels: Any) -> Any:
    return {"scores": tf.ensure_shape(tf.py_function(lambda x: x[:, 0, 0], [pixels], tf.float32), (None, 3))}


def _in_a_branch(tf: Any, module: Any, pixels: Any) -> Any:
    scores = _classifier(tf, module, pixels)["scores"]
    return {"scores": tf.cond(tf.reduce_sum(scores) > 0, lambda: scores, lambda: scores + 1)}


def test_a_model_that_draws_random_numbers_is_refused(tmp_path: Path) -> None:
    k = keras().layers
    layers = [k.Input(SHAPE), k.RandomFlip(), k.GlobalAveragePooling2D(), k.Dense(3)]
    # Keras exports the layer as in training.
    keras().Sequential(layers).export(tmp_path / "theirs", verbose=False)
    with pytest.raises(InputError, match="StatelessRandomUniformV2"):
        saved_model_file.read(open_source(tmp_path / "theirs").data)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (_reads_a_file, "ReadFile"),
        (_writes_a_file, "WriteFile"),
        (_runs_python, "EagerPyFunc"),
        (_in_a_branch, "If"),
        (lambda _, __, x: {"a": x, "b": x}, "1 inputs and 2 outputs"),
    ],
    ids=["read", "write", "python", "branch", "outputs"],
)
def test_operators_of_other_kinds_are_refused_before_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Any, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data = open_source(_module(call, tmp_path / "theirs")).data
    with pytest.raises(InputError, match=named):
        saved_model_file.read(data)
    assert not (tmp_path / "written").exists()


def test_what_runs_when_it_is_loaded_is_refused(tmp_path: Path) -> None:
    tf = tensorflow()
    words = tf.lookup.KeyValueTensorInitializer(tf.constant(["a"]), tf.constant([1.0]))
    folder = _module(_classifier, tmp_path / "theirs", table=tf.lookup.StaticHashTable(words, 0.0))
    with pytest.raises(InputError, match="lookup table"):
        saved_model_file.read(open_source(folder).data)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda folder: (folder / "saved_model.pb").write_bytes(b"\xff\xff"), "TensorFlow cannot load it"),
        (lambda folder: (folder / "saved_model.pb").write_bytes(b""), "it has no graph"),
        (lambda folder: next((folder / "variables").glob("*.index")).unlink(), "TensorFlow cannot load it"),
    ],
    ids=["damaged", "empty", "no-weights"],
)
def test_a_damaged_one_is_refused(tmp_path: Path, change: Any, what: str) -> None:
    folder = _module(_classifier, tmp_path / "theirs")
    change(folder)
    with pytest.raises(InputError, match=what):
        saved_model_file.read(open_source(folder).data)


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder = _module(_classifier, tmp_path / "theirs")
    (index,) = (folder / "variables").glob("*.index")
    index.rename(tmp_path / "elsewhere")
    index.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a link"):
        open_source(folder)


def test_it_becomes_a_run(tmp_path: Path, tiny_photos: Path) -> None:
    _model().export(tmp_path / "theirs", verbose=False)
    asked = ("import", tmp_path / "theirs", "--data", tiny_photos, "--input", "0..1", "--fit", "stretch")
    done = small.edgetl(*asked, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    record = Run.open(tmp_path / "run").document.imported
    assert record is not None
    assert (record.format, record.file) == ("saved_model", "original.zip")
    assert record.producer.startswith("tensorflow ")
    assert record.runtime.startswith("tensorflow ")
    assert record.sha256 == sha256_file(tmp_path / "run" / "original.zip")
    assert record.agreement.max_abs < 1e-5


def test_one_that_takes_any_size_needs_it(tmp_path: Path, tiny_photos: Path) -> None:
    folder = _module(_classifier, tmp_path / "theirs", size=None)
    asked = ("import", folder, "--data", tiny_photos, "--out", tmp_path / "run")
    assert "it takes any size" in small.refused(small.edgetl(*asked))
