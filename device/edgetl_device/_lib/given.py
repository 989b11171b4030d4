"""Identify a path that a command does not accept, and name the command that does."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import zipfile
from itertools import islice
from pathlib import Path

from ..errors import InputError
from .folders import PHOTO_SUFFIXES, files_below

_FIRST_BYTES = 64 << 10
_FIRST_FILES = 200
_FIRST_MEMBERS = 1000

# Hints by kind of path.
_ADVICE = {
    "run": "It is a run without a bundle: edgetl quantize {path} makes one.",
    "bundled run": "It is a run with a bundle: edgetl verify, bench or classify {path}.",
    "unfinished run": "It is an unfinished run: edgetl train --resume {path}",
    "bundle": "It is a bundle: edgetl verify, bench or classify {path}.",
    "photos": "It contains photos: edgetl train {path}, or edgetl data check {path}.",
    "photo": "It is a photo: edgetl classify BUNDLE {path}",
    "tflite": "It is a TFLite model: edgetl inspect {path} shows what is in it.",
    "onnx": "It is an ONNX model: edgetl import {path} --data PHOTOS makes a run of it.",
    "keras": "It is a Keras model: edgetl import {path} --data PHOTOS makes a run of it.",
    "torch": "It is a PyTorch file: export it with torch.onnx.export, then edgetl import MODEL.onnx --data PHOTOS.",
    "result": "It is a result of edgetl bench: edgetl compare {path}, or edgetl report {path}.",
    "saved model": "It is a TensorFlow SavedModel: convert it with tf2onnx, and edgetl import the MODEL.onnx.",
    "zip of photos": "It is a zip of photos: edgetl train {path}, or edgetl data check {path}.",
}
_RESULT = re.compile(rb'\s*\{\s*"schema"\s*:\s*"edgetl\.result/')


def advice(path: str | os.PathLike[str], otherwise: str) -> str:
    """Return a hint: what a path is and which command accepts it, a similar name, or ``otherwise``.

    Reads little: the first bytes of a file, the directory of a zip, the first names of a folder.
    """
    place = Path(path)
    try:
        if not os.path.lexists(place):
            return _close_name(place) or otherwise
        kind = _of_folder(place) if place.is_dir() else _of_file(place)
    except (OSError, ValueError, RuntimeError, InputError, zipfile.BadZipFile):
        return otherwise
    return _ADVICE[kind].format(path=shlex.quote(str(path))) if kind else otherwise


def _close_name(place: Path) -> str:
    names = list(islice((entry.name for entry in place.absolute().parent.iterdir()), _FIRST_MEMBERS))
    close = difflib.get_close_matches(place.name, names, n=1)
    return f"Did you mean {shlex.quote(str(place.with_name(close[0])))}?" if close else ""


def _of_folder(place: Path) -> str:
    if (place / "run.json").is_file():
        return "bundled run" if (place / "bundle" / "bundle.json").is_file() else "run"
    if (place / "bundle.json").is_file():
        return "bundle"
    if place.name.endswith(".unfinished"):
        return "unfinished run"
    if (place / "saved_model.pb").is_file():
        return "saved model"
    names = (path.name for path in islice(files_below(place), _FIRST_FILES))
    return "photos" if any(name.lower().endswith(PHOTO_SUFFIXES) for name in names) else ""


def _of_file(place: Path) -> str:
    if not place.is_file():
        return ""
    with open(place, "rb") as stream:
        start = stream.read(_FIRST_BYTES)
    suffix = place.suffix.lower()
    if start[4:8] == b"TFL3":
        return "tflite"
    if start.startswith(b"PK"):
        return _of_zip(place)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "keras"
    if suffix in (".onnx", ".pt", ".pth"):
        return "onnx" if suffix == ".onnx" else "torch"
    if suffix in PHOTO_SUFFIXES:
        return "photo"
    # edgetl's documents begin with their schema.
    return "result" if _RESULT.match(start) else ""


def _of_zip(place: Path) -> str:
    with zipfile.ZipFile(place) as archive:
        names = archive.namelist()[:_FIRST_MEMBERS]
    if "bundle.json" in names:
        return "bundle"
    if {"config.json", "model.weights.h5"} <= set(names):
        return "keras"
    if any(name.endswith("/data.pkl") for name in names):
        return "torch"
    return "zip of photos" if any(name.lower().endswith(PHOTO_SUFFIXES) for name in names) else ""
