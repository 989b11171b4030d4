"""A model file of somebody else: which format it is in, and what is refused before anything parses it."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from edgetl_device.errors import InputError

Format = Literal["keras", "h5", "onnx"]

# A protocol buffer holds no more, and no classifier for a small board is a tenth of it.
_MOST_BYTES = 2 << 30
_READ = "edgetl imports .keras, .h5 and .onnx"
_FROM_PYTORCH = (
    'Where its code is: torch.onnx.export(model.eval(), torch.zeros(1, 3, H, W), "model.onnx"); import that.'
)
_FROM_SAVED_MODEL = (
    "Convert it where it was made: python -m tf2onnx.convert --saved-model FOLDER --opset 17 --output model.onnx"
)
_FROM_TFLITE = "Import the Keras or ONNX model that it was converted from."


@dataclass(frozen=True)
class Source:
    """A model file, read into memory.

    Attributes:
        path: Where it is.
        format: Its format, by its content.
        data: Its bytes.
        sha256: Their SHA-256.
    """

    path: Path
    format: Format
    data: bytes
    sha256: str

    @property
    def suffix(self) -> str:
        """The usual suffix of files in this format."""
        return f".{self.format}"


def open_source(path: Path) -> Source:
    """Read a model file.

    Raises:
        InputError: There is no such file, or it is in a format that is not imported; the hint says how to convert it.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            raise _refused(path, "is a TensorFlow SavedModel", _FROM_SAVED_MODEL)
        raise InputError(f"{path}: is a folder, not a model file", why=_READ)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise InputError(f"{path}: has {size / 1e9:.1f} GB", why=f"at most {_MOST_BYTES / 1e9:.1f} GB are read")
    data = path.read_bytes()
    if not data:
        raise InputError(f"{path}: is empty", hint="Copy it again.")
    return Source(path, _format(path, data), data, hashlib.sha256(data).hexdigest())


def _format(path: Path, data: bytes) -> Format:
    if data.startswith(b"\x89HDF\r\n\x1a\n"):
        return "h5"
    if data[4:8] == b"TFL3":
        raise _refused(path, "is a TFLite file", _FROM_TFLITE)
    if data.startswith(b"PK\x03\x04"):
        return _zip_format(path, data)
    suffix = path.suffix.lower()
    if data.startswith(b"\x80") or suffix in (".pt", ".pth", ".pkl", ".ckpt", ".safetensors"):
        raise _refused(path, "is weights or a pickle of PyTorch, not a graph", _FROM_PYTORCH)
    if suffix == ".pb":
        raise _refused(path, "is a graph of TensorFlow", _FROM_SAVED_MODEL)
    if suffix in (".keras", ".h5", ".hdf5"):
        raise InputError(
            f"{path}: is not a Keras file", why="it does not begin as one", hint="It is damaged; copy it again."
        )
    if suffix != ".onnx":
        raise InputError(f"{path}: is in no known format", why=_READ, hint="Name an ONNX file with .onnx at its end.")
    return "onnx"


def _zip_format(path: Path, data: bytes) -> Format:
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: is a damaged zip file", why=str(error), hint="Copy it again.") from None
    if "config.json" in names:
        return "keras"
    if any(name.endswith("data.pkl") for name in names):
        raise _refused(path, "is weights or a pickle of PyTorch, not a graph", _FROM_PYTORCH)
    raise InputError(f"{path}: is a zip file, but not a Keras model", why="it has no config.json", hint=f"{_READ}.")


def _refused(path: Path, what: str, hint: str) -> InputError:
    return InputError(f"{path}: {what}", why=_READ, hint=hint)
