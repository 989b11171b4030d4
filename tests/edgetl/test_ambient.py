"""Settings of the user for Keras, Matplotlib, the locale and Python's warnings change no result."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small
from drawing import draw_photo
from PIL import Image

from edgetl._lib.extras import keras, plain_figures, require
from edgetl.reports.plots import learning_curves
from edgetl.runs.directory import Run

GOLDEN = Path(__file__).parents[1] / "golden" / "tiny.edgetl"
PLAIN = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
# Of a network, what the user's settings could change.
_BUILD = """
from edgetl._lib.extras import keras
import os
library = keras()
layer = library.layers.Conv2D(2, 3)
layer.build((None, 8, 8, 3))
print(library.backend.backend(), layer.data_format, layer.compute_dtype, layer.variable_dtype, library.config.epsilon())
print(os.environ.get("KERAS_BACKEND"))
"""


@pytest.mark.parametrize("imported", [False, True], ids=["alone", "after the user's own import"])
def test_keras_is_set_up_whatever_the_user_has_set(tmp_path: Path, imported: bool) -> None:
    (tmp_path / ".keras").mkdir()
    settings = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 1e-3, "backend": "tensorflow"}
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(settings), encoding="utf-8")
    env = {"HOME": str(tmp_path), "KERAS_BACKEND": "tensorflow" if imported else "jax"}
    before = "import keras; assert keras.config.floatx() == 'float16'\n" if imported else ""
    plain = {name: value for name, value in os.environ.items() if name != "KERAS_HOME"}
    done = subprocess.run([sys.executable, "-c", before + _BUILD], env=plain | env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    *found, backend = done.stdout.decode().split()
    assert found == ["tensorflow", "channels_last", "float32", "float32", "1e-07"]
    assert backend == env["KERAS_BACKEND"]  # what the user's own programs are told stays


def test_a_mixed_policy_of_the_user_is_not_that_of_edgetl() -> None:
    config = keras().config
    config.set_dtype_policy("mixed_float16")
    try:
        assert keras().layers.Dense(1).compute_dtype == "float32"
    finally:
        config.set_dtype_policy("float32")


def test_plots_do_not_follow_the_users_matplotlibrc(tmp_path: Path) -> None:
    matplotlib = require("matplotlib")
    history = [{"stage": "blocks", "epoch": epoch, "val_loss": 1 / (epoch + 1)} for epoch in range(4)]
    learning_curves(history, tmp_path / "plain.png")
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "text.usetex": True}):
        learning_curves(history, tmp_path / "own.png")
        assert matplotlib.rcParams["font.size"] == 30
        backend = matplotlib.rcParams["backend"]
        with plain_figures():
            assert matplotlib.rcParams["backend"] == backend
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "own.png").read_bytes()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two classes, one with an umlaut and one in another script."""
    folder = tmp_path_factory.mktemp("photos")
    for place, name in enumerate(("Gänse", "鴨")):
        (folder / name).mkdir()
        for index in range(3):
            Image.fromarray(np.asarray(draw_photo(10 * place + index, 40, 40))).save(folder / name / f"ä{index}.png")
    return folder


ENVIRONMENTS = {
    "C": {"LC_ALL": "C", **PLAIN},
    "German numbers": {"LC_NUMERIC": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"},
    "Latin-1 streams": {"PYTHONIOENCODING": "latin-1:strict"},
    "warnings are errors": {"PYTHONWARNINGS": "error"},
}


@functools.cache
def usual(command: tuple[str, ...], cache: str) -> tuple[int, bytes, bytes]:
    return output(list(command), {"EDGETL_CACHE": cache})


def output(command: list[str], env: dict[str, str]) -> tuple[int, bytes, bytes]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=plain | {"LANG": "C.UTF-8"} | env, capture_output=True, check=False
    )
    # Before the error, progress with its times.
    _, found, error = done.stderr.rpartition(b"error: ")
    return done.returncode, done.stdout, found + error if found else b""


@pytest.mark.parametrize("env", ENVIRONMENTS.values(), ids=list(ENVIRONMENTS))
@pytest.mark.parametrize(
    "command",
    [
        ["edgetl", "data", "check", "PHOTOS", "--json"],
        ["edgetl_device", "classify", str(GOLDEN), "PHOTOS/鴨/ä0.png"],
        ["edgetl", "evaluate", str(GOLDEN), "PHOTOS"],
    ],
    ids=["json", "board", "error"],
)
def test_the_environment_changes_nothing_that_is_printed(photos: Path, command: list[str], env: dict[str, str]) -> None:
    given = [part.replace("PHOTOS", str(photos)) for part in command]
    cache = str(photos.parent / "cache")
    wanted = usual(tuple(given), cache)
    assert wanted[1] or b"G\xc3\xa4nse" in wanted[2]
    assert output(given, env | {"EDGETL_CACHE": cache}) == wanted


@pytest.mark.slow
def test_a_run_trained_under_another_locale_has_the_same_weights(
    tiny_run: Run, tiny_photos: Path, tmp_path: Path
) -> None:
    env = {"LC_ALL": "C", **PLAIN, "KERAS_BACKEND": "jax", "PYTHONWARNINGS": "error"}
    done = small.edgetl("train", tiny_photos, "--out", tmp_path / "run", *small.WHOLE, env=env)
    assert done.returncode == 0, done.stderr
    assert weights_of(tmp_path / "run") == weights_of(tiny_run.folder)


def weights_of(folder: Path) -> str:
    arrays = [np.asarray(one) for one in Run.open(folder).load_model().get_weights()]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
