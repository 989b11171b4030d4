"""Untrusted weights in HDF5: nothing outside the file is read, and time and memory are bounded."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edgetl.backbones import formats
from edgetl.backbones.formats import read_arrays
from edgetl_device.errors import InputError

VARS = "layers/conv/vars"


def hdf5(change: Callable[[Any], object] = lambda _: None) -> bytes:
    """Return a file as Keras 3 writes it, with one layer, after a change."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        layer = file.create_group(VARS)
        layer.attrs["name"] = "conv"
        layer["0"] = np.arange(6.0).reshape(2, 3)
        layer["1"] = np.float64(3)
        change(file)
    return stream.getvalue()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["v"] = np.ones(3)
        file.create_group("g").attrs["layer_names"] = ["a"]
    return tmp_path / "secret.h5"


def test_arrays_come_as_they_are() -> None:
    def loop(file: Any) -> None:
        file["layers/again"] = file["layers"]
        file["soft"] = h5py.SoftLink(f"/{VARS}/0")

    for data in (hdf5(), hdf5(loop)):
        found = read_arrays(data, "a.h5")["conv"]
        np.testing.assert_array_equal(found["0"], np.arange(6, dtype=np.float32).reshape(2, 3))
        assert (found["1"].shape, float(found["1"]), found["1"].dtype) == ((), 3.0, np.float32)
        assert found["0"].flags.writeable


def test_groups_that_are_nested_without_end_are_refused() -> None:
    def nest(file: Any) -> None:
        for _ in range(1200):
            file = file.create_group("g")

    with pytest.raises(InputError, match="nested more than 100 deep"):
        read_arrays(hdf5(nest), "a.h5")


def test_no_other_file_is_read(secret: Path) -> None:
    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((3,), "f8")
        layout[:] = h5py.VirtualSource(str(secret), "v", (3,))
        file[VARS].create_virtual_dataset("2", layout)

    def link(place: str, to: str) -> Callable[[Any], None]:
        return lambda file: file.__setitem__(place, h5py.ExternalLink(str(secret), to))

    changes = {
        "2 is a link to another file": link(f"{VARS}/2", "/v"),
        "model_weights is a link to another file": link("model_weights", "/g"),
        "2 has its values in another file": virtual,
        "raw has its values in another file": lambda file: file.create_dataset(
            "raw", (4,), dtype="f4", external=[(str(secret), 0, 16)]
        ),
    }
    for said, change in changes.items():
        with pytest.raises(InputError, match=said):
            read_arrays(hdf5(change), "a.h5")


def test_memory_is_bounded() -> None:
    """A few kilobytes that would unpack to 64 GB."""
    data = hdf5(lambda file: file[VARS].create_dataset("2", (1 << 34,), "f4", chunks=(1 << 22,), compression="gzip"))
    assert len(data) < 1 << 20
    with pytest.raises(InputError, match="it needs over 4 GB"):
        read_arrays(data, "a.h5")


def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_TIMEOUT_S", 0.01)
    started = time.monotonic()
    with pytest.raises(InputError, match="reading it took over"):
        read_arrays(hdf5(), "a.h5")
    assert time.monotonic() - started < 10


def test_a_library_that_crashes_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "h5py.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(InputError, match="ended with signal 6"):
        read_arrays(hdf5(), "a.h5")
