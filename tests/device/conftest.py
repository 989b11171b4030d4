"""The tiny bundle of ``tests/golden``, as a file and as a folder. Needs only the device package."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetl_device._lib import jsonfile
from edgetl_device.bundle import Bundle

GOLDEN = Path(__file__).parent.parent / "golden"
DEVICE_PACKAGE = Path(__file__).parent.parent.parent / "device"


@pytest.fixture(scope="session")
def tiny_file() -> Path:
    """The tiny bundle as one file: do not write to it."""
    return GOLDEN / "tiny.edgetl"


@pytest.fixture(scope="session")
def tiny(tiny_file: Path) -> Bundle:
    return Bundle.open(tiny_file)


@pytest.fixture(scope="session")
def photo_file() -> Path:
    return GOLDEN / "photos" / "circle0.jpg"


@pytest.fixture
def folder(tiny_file: Path, tmp_path: Path) -> Path:
    """The tiny bundle as a folder that a test may damage."""
    with zipfile.ZipFile(tiny_file) as archive:
        archive.extractall(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def reseal(folder: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """Edit bundle.json and give it a matching digest, as an attacker would."""

    def run(edit: Callable[[dict[str, Any]], None]) -> Path:
        document = json.loads((folder / "bundle.json").read_text())
        edit(document)
        document["digest"] = jsonfile.digest(document)
        (folder / "bundle.json").write_text(json.dumps(document))
        return folder

    return run


@pytest.fixture
def nan_bundle(folder: Path, reseal: Callable[[Callable[[dict[str, Any]], None]], Path]) -> Path:
    """The tiny bundle with NaN in the largest weights of its float32 model, as after a failed export."""
    file = folder / "models/float32.tflite"
    model = bytearray(file.read_bytes())
    values = np.frombuffer(bytes(model), "<f4", count=len(model) // 4)
    weights = (np.abs(values) > 1e-4) & (np.abs(values) < 10)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], weights, [0]])))
    start, end = max(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[1] - run[0])
    model[4 * start : 4 * end] = np.full(end - start, np.nan, "<f4").tobytes()
    file.write_bytes(model)
    entry = {"bytes": len(model), "sha256": hashlib.sha256(model).hexdigest()}

    def edit(document: dict[str, Any]) -> None:
        document["files"]["models/float32.tflite"] = entry
        document["variants"][0] |= entry

    return reseal(edit)


@pytest.fixture(params=["float32", "int8", "float32-onnx", "int8-onnx"])
def variant(request: pytest.FixtureRequest) -> str:
    if request.param.endswith("-onnx") and importlib.util.find_spec("onnxruntime") is None:
        pytest.skip("onnxruntime is not installed here")
    return request.param


@pytest.fixture(scope="session")
def device() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m edgetl_device`` with arguments."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edgetl_device", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    return run


@pytest.fixture(scope="session")
def refuses() -> Callable[..., None]:
    """Check that a process ended with an exit code and an error of at most three lines that contains some texts."""

    def check(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
        assert done.returncode == code, done.stderr
        # Progress and LiteRT's startup messages may come before the error; nothing may come after it.
        lines = list(itertools.dropwhile(lambda line: not line.startswith("error: "), done.stderr.splitlines()))
        assert 1 <= len(lines) <= 3, done.stderr
        assert "Traceback" not in done.stderr
        for part in said:
            assert part in done.stderr

    return check
