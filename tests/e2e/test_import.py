"""Models that others trained, and edgetl's own handed back as such, from the file to the device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def _run(module: str, *arguments: object, cache: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = os.environ | {"EDGETL_CACHE": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e-cache")


def _record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found


def test_a_keras_2_file_of_mlperf_becomes_a_verified_bundle(shared_data: Path, cache: Path, tmp_path: Path) -> None:
    """Person or not, of MLPerf Tiny. The photos show neither, so its predictions count, not its accuracy."""
    photos = tmp_path / "photos"
    for label, kind in (("no person", "paper"), ("person", "glass")):
        (photos / label).mkdir(parents=True)
        for path in sorted((shared_data / "waste" / "train" / kind).iterdir()):
            (photos / label / path.name).write_bytes(path.read_bytes())
    run = tmp_path / "run"
    model = shared_data / "vww" / "vww_96.h5"
    _run("edgetl", "import", model, "--data", photos, "--input", "0..1", "--fit", "stretch", "--out", run, cache=cache)
    imported = _record(run)["imported"]
    assert imported["ends_in"] == "softmax"
    assert imported["agreement"]["agree"] == imported["agreement"]["photos"]
    assert imported["agreement"]["max_abs"] < 1e-5
    _run("edgetl", "quantize", run, "--int8", cache=cache)
    rows = {row["name"]: row for row in json.loads((run / "quantize.json").read_text())["variants"]}
    for name in ("float32", "float32-onnx"):
        assert rows[name]["agreement"]["agree"] == rows[name]["agreement"]["photos"]
    assert rows["int8"]["agreement"]["top1"] >= 0.9
    assert json.loads(_run("edgetl_device", "verify", run / "bundle", cache=cache).stdout)["ok"]


def test_a_model_comes_back_through_onnx_as_it_was(shared_data: Path, cache: Path, tmp_path: Path) -> None:
    trained, run = tmp_path / "trained", tmp_path / "run"
    flowers = shared_data / "flowers"
    _run("edgetl", "train", flowers, "--size", 96, "--epochs", 4, "--out", trained, cache=cache)
    theirs = tmp_path / "theirs.onnx"
    _run(
        "edgetl", "export", trained, "--variant", "float32-onnx", "--layout", "nchw", "--out", theirs, cache=cache
    )  # fmt: skip
    done = _run("edgetl", "import", theirs, "--data", flowers, "--out", run, cache=cache)
    assert "raw, stretch: chosen on the photos" in done.stdout
    before, after = _record(trained), _record(run)
    assert after["preprocess"] == before["preprocess"]
    assert not set(after["imported"]["input"]["undecided"]) & {"0..1", "-1..1", "imagenet", "caffe"}
    assert after["metrics"]["test"]["accuracy"]["correct"] == before["metrics"]["test"]["accuracy"]["correct"]
    _run("edgetl", "quantize", run, "--int8", cache=cache)
    rows = {row["name"]: row for row in json.loads((run / "quantize.json").read_text())["variants"]}
    assert rows["int8"]["agreement"]["top1"] >= 0.97
    photo = next((flowers / "test" / "roses").iterdir())
    said = json.loads(_run("edgetl_device", "classify", run / "bundle", photo, cache=cache).stdout)
    assert said
