"""A model file of somebody else: which format it is in, and what is refused before anything parses it."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from edgetl_device.errors import InputError

Format = Literal["keras", "h5", "onnx", "tflite", "saved_model"]

# A protocol buffer holds no more, and no classifier for a small board is a tenth of it.
_MOST_BYTES = 2 << 30
_READ = "edgetl imports .keras, .h5, .onnx, .tflite and folders with a saved_model.pb"
_FROM_PYTORCH = (
    'Where its code is: torch.onnx.export(model.eval(), torch.zeros(1, 3, H, W), "model.onnx"); import that.'
)
_FROM_GRAPH = (
    "If it is the saved_model.pb of a folder, import the folder. Else convert it: python -m tf2onnx.convert --graphdef "
    "FILE --inputs NAME:0 --outputs NAME:0 --opset 17 --output model.onnx"
)


@dataclass(frozen=True)
class Source:
    """A model file, read into memory.

    Attributes:
        path: Where it is.
        format: Its format, by its content.
        data: Its bytes; of a SavedModel, a folder, a zip of its files.
        sha256: Their SHA-256.
        code_run: Whether they are a SavedModel that was written by running the code of the file, which has the SHA-256.
    """

    path: Path
    format: Format
    data: bytes
    sha256: str
    code_run: bool = False

    @property
    def suffix(self) -> str:
        """The usual suffix of files in this format."""
        return ".zip" if self.format == "saved_model" else f".{self.format}"


def open_source(path: Path) -> Source:
    """Read a model file, or a folder that is a SavedModel.

    Raises:
        InputError: There is no such file, or it is in a format that is not imported; the hint says how to convert it.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            data = zip_of(path)
            return Source(path, "saved_model", data, hashlib.sha256(data).hexdigest())
        raise InputError(f"{path}: is a folder, not a model file", why=_READ)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    _check_size(path, path.stat().st_size)
    data = path.read_bytes()
    if not data:
        raise InputError(f"{path}: is empty", hint="Copy it again.")
    return Source(path, _format(path, data), data, hashlib.sha256(data).hexdigest())


def _check_size(path: Path, size: int) -> None:
    if size > _MOST_BYTES:
        raise InputError(f"{path}: has {size / 1e9:.1f} GB", why=f"at most {_MOST_BYTES / 1e9:.1f} GB are read")


def zip_of(folder: Path) -> bytes:
    """Return the graph and weights of a SavedModel, without its assets, as a zip; equal files give equal bytes."""
    files = [folder / "saved_model.pb", *sorted((folder / "variables").glob("variables.*"))]
    outside = next((one for one in files if one.is_symlink() or not one.is_file()), None)
    if outside is not None or (folder / "variables").is_symlink():
        raise InputError(f"{folder}: has a link or a folder among its files", hint="Copy the whole SavedModel again.")
    _check_size(folder, sum(one.stat().st_size for one in files))
    data = BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for one in files:
            archive.writestr(zipfile.ZipInfo(one.relative_to(folder).as_posix()), one.read_bytes())
    return data.getvalue()


def _format(path: Path, data: bytes) -> Format:
    if data.startswith(b"\x89HDF\r\n\x1a\n"):
        return "h5"
    if data[4:8] == b"TFL3":
        return "tflite"
    if data.startswith(b"PK\x03\x04"):
        return _zip_format(path, data)
    suffix = path.suffix.lower()
    if data.startswith(b"\x80") or suffix in (".pt", ".pth", ".pkl", ".ckpt", ".safetensors"):
        raise _refused(path, "is weights or a pickle of PyTorch, not a graph", _FROM_PYTORCH)
    if suffix == ".pb":
        raise _refused(path, "is a graph of TensorFlow", _FROM_GRAPH)
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
