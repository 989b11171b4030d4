"""Keras files with Python code: refused, or on request run in a child process that writes the model out without it."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent
from typing import Any

import foreign
import numpy as np
import pytest
import small

from edgetl._lib.extras import keras
from edgetl.importing.options import ImportOptions
from edgetl.importing.pipeline import load
from edgetl.runs.directory import Run
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import InputError

SCRIPT = dedent(
    """
    import os
    import keras

    print("not a part of the model")
    with open(os.path.join(os.path.dirname(__file__), "ran"), "a") as ran:
        print(os.getpid(), file=ran)

    class Gate(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],), name="scale")

        def call(self, x):
            return x * keras.ops.sigmoid(self.scale)
    """
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a Lambda and a custom layer, in both formats, and the script of the layer."""
    folder = tmp_path_factory.mktemp("code")
    script = folder / "layers.py"
    script.write_text(SCRIPT)
    names: dict[str, Any] = {"__file__": str(script)}
    exec(compile(SCRIPT, str(script), "exec"), names)
    k = keras().layers
    layers = [
        k.Input((foreign.SIZE, foreign.SIZE, 3)),
        k.Lambda(lambda pixels: tf.abs(pixels) / 2),  # type: ignore[name-defined]  # noqa: F821  # as in a notebook
        k.Conv2D(4, 3, 2, activation="relu"),
        names["Gate"](name="gate"),
        k.GlobalAveragePooling2D(),
        k.Dense(3, "softmax"),
    ]
    globals()["tf"] = __import__("tensorflow")
    model = foreign.randomized(keras().Sequential(layers))
    for name in ("theirs.keras", "theirs.h5"):
        model.save(folder / name)
    np.save(folder / "scores.npy", model.predict_on_batch(foreign.pixels().astype(np.float32)))
    (folder / "ran").unlink()
    return folder


def _options(folder: Path, **given: Any) -> ImportOptions:
    return ImportOptions(trust_code=True, code=str(folder / "layers.py"), **given)


def test_without_a_word_of_trust_nothing_runs(folder: Path) -> None:
    with pytest.raises(InputError, match="'lambda' is a Lambda") as refused:
        load(folder / "theirs.keras", ImportOptions())
    assert "trust_code runs its code" in str(refused.value)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("name", ["theirs.keras", pytest.param("theirs.h5", marks=pytest.mark.slow)])
def test_what_comes_out_has_no_code_and_equal_outputs(folder: Path, name: str) -> None:
    loaded = load(folder / name, _options(folder))
    pixels = foreign.pixels().astype(np.float32)
    theirs = np.load(folder / "scores.npy")
    np.testing.assert_allclose(loaded.original.outputs(pixels), theirs, atol=1e-6)
    np.testing.assert_allclose(np.asarray(loaded.network.predict_on_batch(pixels)), theirs, atol=1e-5)
    assert "Lambda" not in foreign.kinds(loaded.network)
    ran = (folder / "ran").read_text().split()
    assert ran
    assert str(os.getpid()) not in ran


@pytest.mark.parametrize(
    ("name", "what"), [("theirs.keras", "'gate' is a custom Gate"), ("theirs.h5", "'gate' is a Gate")]
)
def test_a_custom_layer_needs_its_script(folder: Path, name: str, what: str) -> None:
    with pytest.raises(InputError, match="without its code") as refused:
        load(folder / name, ImportOptions(trust_code=True))
    assert what in str(refused.value)
    assert "code FILE" in str(refused.value)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("import os; os.abort()", "signal 6"),
        ("raise RuntimeError('not today')", "not today"),
        ("import sys; sys.exit(0)", "layers.py ended the process with 0"),
    ],
)
def test_a_script_that_fails_is_said(folder: Path, tmp_path: Path, script: str, why: str) -> None:
    (tmp_path / "layers.py").write_text(script)
    with pytest.raises(InputError, match="without its code") as refused:
        load(folder / "theirs.keras", _options(tmp_path))
    assert why in str(refused.value)


def test_a_script_without_trust_or_that_is_not_there_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without trust_code"):
        ImportOptions(code="layers.py")
    with pytest.raises(InputError, match="no such file"):
        load(folder / "theirs.keras", _options(tmp_path))


@pytest.mark.slow
def test_it_becomes_a_run_that_says_so(folder: Path, tmp_path: Path, tiny_photos: Path) -> None:
    asked = ("import", folder / "theirs.keras", "--data", tiny_photos, "--input", "raw", "--fit", "stretch")
    done = small.edgetl(*asked, "--trust-code", "--code", folder / "layers.py", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "left out of original.zip" in done.stdout
    assert "not a part of the model" not in done.stdout
    document = Run.open(tmp_path / "run").document
    record = document.imported
    assert record is not None
    assert record.code_run
    assert (record.name, record.file) == ("theirs.keras", "original.zip")
    assert record.sha256 == sha256_file(folder / "theirs.keras")
    assert document.config.others["code"] == "layers.py"
