"""Pipes and devices instead of files are refused without blocking."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgetl._lib.csv import read_table
from edgetl._lib.toml import read_toml
from edgetl.backbones.weights import resolve_weights
from edgetl.comparison.results import compare_results
from edgetl.data.readers.source import check_source
from edgetl.inspection.contents import inspect_path
from edgetl.inspection.difference import compare_files
from edgetl.inspection.edgetpu.predict import predict_path
from edgetl.runs.directory import Run
from edgetl_device.errors import InputError

READERS: dict[str, Callable[[Path], object]] = {
    "configuration": read_toml,
    "table": lambda path: read_table(path, ["a"], what="a table", hint=""),
    "model": inspect_path,
    "models": lambda path: compare_files(path, path),
    "Edge TPU": predict_path,
    "weights": lambda path: resolve_weights("mobilenet_v2", width=1.0, request=str(path)),
    "results": lambda path: compare_results([path, path]),
    "run": Run.open,
    "photos": check_source,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("suffix", ["", ".edgetl", ".csv", ".npz", ".npy", ".tflite"])
def test_it_is_refused(name: str, suffix: str, tmp_path: Path) -> None:
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises((InputError, NotADirectoryError), match=r"pipe|/dev/zero"):
            READERS[name](path)
