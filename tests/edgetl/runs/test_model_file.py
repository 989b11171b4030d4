"""A model made with another Keras is rebuilt if it needs nothing that this one lacks; else both versions are named."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lively
import numpy as np
import pytest
import small

from edgetl._lib.extras import keras
from edgetl.runs.directory import Run
from edgetl.runs.model_file import read_model
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import Unavailable

Config = dict[str, Any]


def layers_of(config: Config, kind: str) -> list[Config]:
    return [layer for layer in config["config"]["layers"] if layer["class_name"] == kind]


def rewritten(source: Path, target: Path, change: Callable[[Config], None]) -> None:
    """Copy a ``.keras`` file with another configuration, as another version of Keras would have written it."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            new.writestr(name, data)


def with_unset(config: Config) -> None:
    for layer in layers_of(config, "Conv2D"):
        layer["config"]["kernel_initializer"]["config"]["future_axes"] = None
    for layer in layers_of(config, "BatchNormalization"):
        layer["config"] |= {"future": False, "renorm": False, "renorm_momentum": 0.99}


def with_set(config: Config) -> None:
    layers_of(config, "Conv2D")[0]["config"]["future"] = 0


@pytest.fixture(scope="module")
def model() -> Any:
    return lively.small("mobilenet_v2")


@pytest.fixture
def saved(model: Any, tmp_path: Path) -> Path:
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_what_is_unset_is_left_out(model: Any, saved: Path, tmp_path: Path) -> None:
    rewritten(saved, tmp_path / "later.keras", with_unset)
    with pytest.raises(TypeError, match="future"):
        keras().saving.load_model(tmp_path / "later.keras", compile=False)
    found = read_model(tmp_path / "later.keras", made_with="99.0.0")
    pixels = lively.photos(2)[:, : lively.SMALL, : lively.SMALL].astype(np.float32)
    np.testing.assert_array_equal(found(pixels), model(pixels))


def test_what_is_set_is_not_left_out(saved: Path, tmp_path: Path) -> None:
    rewritten(saved, tmp_path / "later.keras", with_set)
    with pytest.raises(Unavailable) as caught:
        read_model(tmp_path / "later.keras", made_with="99.0.0")
    assert caught.value.exit_code == 4
    text = str(caught.value)
    for part in ("made with Keras 99.0.0", f"Keras {keras().__version__} is", "Conv2D has future=0", "keras==99.0.0"):
        assert part in text
    with pytest.raises(Unavailable, match="of an unknown version"):
        read_model(tmp_path / "later.keras", made_with="")


def test_what_this_keras_wrote_and_cannot_read_is_a_defect(saved: Path, tmp_path: Path) -> None:
    rewritten(saved, tmp_path / "same.keras", with_unset)
    with pytest.raises(TypeError, match="future"):
        read_model(tmp_path / "same.keras", made_with=keras().__version__)


def test_a_command_says_both_versions(short_run: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(short_run.folder, tmp_path / "run"))
    rewritten(short_run.folder / "model.keras", folder / "model.keras", with_set)
    document = json.loads((folder / "run.json").read_text())
    document["model"]["sha256"] = sha256_file(folder / "model.keras")
    document["versions"]["keras"] = "99.0.0"
    (folder / "run.json").write_text(json.dumps(document))
    text = small.refused(small.edgetl("evaluate", folder, short_run.data_root), code=4)
    assert "made with Keras 99.0.0" in text
