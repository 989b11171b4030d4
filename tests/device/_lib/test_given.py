"""What was given instead of what a command takes: named, with the command that takes it."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgetl_device._lib.given import advice
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError


def zipped(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


MAKERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "runs/x": ("edgetl quantize", lambda path: put(path / "run.json", b"{}")),
    "bundled": (
        "a run with a bundle",
        lambda path: (put(path / "run.json", b"{}"), put(path / "bundle" / "bundle.json", b"{}"))[0],
    ),
    "x.unfinished": ("edgetl train --resume", lambda path: path.mkdir()),
    "photos": ("edgetl train", lambda path: put(path / "roses" / "one.JPG", b"x")),
    "saved": ("tf2onnx", lambda path: put(path / "saved_model.pb", b"x")),
    "m.tflite": ("edgetl inspect", lambda path: put(path, b"\x1c\0\0\0TFL3" + bytes(20))),
    "no suffix": ("a TFLite model", lambda path: put(path, b"\x1c\0\0\0TFL3" + bytes(20))),
    "m.onnx": ("edgetl import", lambda path: put(path, b"\x08\x07")),
    "m.keras": ("edgetl import", lambda path: zipped(path, "config.json", "model.weights.h5")),
    "m.h5": ("edgetl import", lambda path: put(path, b"\x89HDF\r\n\x1a\n" + bytes(20))),
    "m.pt": ("torch.onnx.export", lambda path: zipped(path, "archive/data.pkl")),
    "old.pth": ("torch.onnx.export", lambda path: put(path, b"\x80\x02")),
    "one.png": ("edgetl classify BUNDLE", lambda path: put(path, b"\x89PNG")),
    "r.json": ("edgetl compare", lambda path: put(path, b'{"schema": "edgetl.result/1", "runs": [')),
    "photos.zip": ("edgetl train", lambda path: zipped(path, "roses/one.jpg")),
}


@pytest.mark.parametrize("name", MAKERS)
def test_what_was_given_is_named_with_the_command_that_takes_it(name: str, tmp_path: Path) -> None:
    said, make = MAKERS[name]
    make(tmp_path / name)
    found = advice(tmp_path / name, "otherwise")
    assert said in found
    # A command line to copy has the path.
    assert (said in ("torch.onnx.export", "tf2onnx")) != (str(tmp_path / name).split()[0] in found)


def test_other_things_get_the_other_hint(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    put(tmp_path / "cut.zip", b"PK\x03\x04")
    # A version of zip that does not exist: NotImplementedError.
    zipped(tmp_path / "new.zip", "a.jpg")
    data = (tmp_path / "new.zip").read_bytes()
    at = data.rindex(b"PK\1\2") + 6
    put(tmp_path / "new.zip", data[:at] + b"\x64" + data[at + 1 :])
    put(tmp_path / "x.json", b'{"schema": ')
    put(tmp_path / "deep.json", b'{"schema": ' + 60_000 * b"[")
    put(tmp_path / "y.json", b"{}")
    put(tmp_path / "zero", b"")
    for name in (
        "empty",
        "cut.zip",
        "new.zip",
        "x.json",
        "deep.json",
        "y.json",
        "zero",
        "/dev/zero",
        "nothing like it",
    ):
        assert advice(tmp_path / name, "otherwise") == "otherwise", name


def test_a_name_that_is_close_is_offered(tiny_file: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_file, tmp_path / "it's flowers.edgetl")
    with pytest.raises(InputError) as caught:
        Bundle.open(tmp_path / "its flowers.edgetl")
    assert str(caught.value).splitlines()[-1] == f"Did you mean '{tmp_path}/it'\"'\"'s flowers.edgetl'?"


def test_bundles_say_what_they_were_given_instead(tmp_path: Path) -> None:
    for name in ("runs/x", "photos", "m.tflite", "m.keras", "photos.zip"):
        said, make = MAKERS[name]
        make(tmp_path / name)
        with pytest.raises(InputError, match="not a bundle") as caught:
            Bundle.open(tmp_path / name)
        assert said in str(caught.value)
