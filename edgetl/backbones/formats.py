"""Read the arrays of a weights file (.npz, .h5, .weights.h5, .keras), and write them as .npz. Nothing is unpickled.

Of a known file in another format, :func:`read_places` copies the arrays from where a table says that they lie.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from edgetl._lib import reader_process
from edgetl_device.errors import InputError
from edgetl_device.storage import NPY_DAMAGE

# The largest weights file of Keras' applications is 0.6 GB, and is read in seconds.
_TIMEOUT_S = 120.0
_MOST_BYTES = 8 << 30

Arrays = dict[str, dict[str, np.ndarray]]
"""Layer -> variable -> array, in the order of the file. Files of Keras 3 number a layer's variables "0", "1", ..."""


def to_npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Return arrays as an uncompressed, reproducible .npz file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0)), member.getvalue())
    return out.getvalue()


def read_arrays(data: bytes, name: str) -> Arrays:
    """Read all arrays of a .npz, .h5, .weights.h5 or .keras file; its content decides the format.

    Layer names are normalized (lower case, ``/`` as ``_``, ``batchnorm`` as ``bn``) so that Keras 2 and Keras 3 agree.
    Arrays are converted to float32.

    Raises:
        InputError: The file has another format, or is damaged.
    """
    try:
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if "model.weights.h5" not in archive.namelist():
                    return _read_npz(data)
                if archive.getinfo("model.weights.h5").file_size > _MOST_BYTES:
                    raise ValueError(f"its weights are over {_MOST_BYTES >> 30} GiB")
                data = archive.read("model.weights.h5")
        arrays = _read_hdf5(data)
    except (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, *NPY_DAMAGE) as error:
        raise InputError(
            f"{name}: not a readable weights file", why=str(error), hint="Give a .h5, .weights.h5, .keras or .npz file."
        ) from None
    if not arrays:
        raise InputError(f"{name}: has no arrays with layer names", hint="Save the model again with Keras 3.")
    return arrays


def write_places(places: dict[str, tuple[int, tuple[int, ...]]]) -> str:
    """Return the table that :func:`read_places` reads.

    Args:
        places: ``layer/variable`` -> the byte where its float32 values begin in the file, and its shape.
    """
    rows = (f"{name},{offset},{'x'.join(map(str, shape))}" for name, (offset, shape) in places.items())
    return "\n".join(("array,offset,shape", *rows)) + "\n"


def read_places(data: bytes, table: Path) -> Arrays:
    """Return the arrays of a file whose content is known, from a table of their places in it. The file is not parsed.

    Raises:
        InputError: The table is damaged, or of another file.
    """
    arrays: Arrays = {}
    try:
        for row in csv.DictReader(table.read_text("utf-8").splitlines()):
            layer, _, variable = row["array"].rpartition("/")
            shape = tuple(map(int, row["shape"].split("x")))
            values = np.frombuffer(data, "<f4", math.prod(shape), int(row["offset"]))
            _put(arrays, layer, variable, values.reshape(shape))
        if not arrays:
            raise ValueError("it is empty")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{table}: not a table of the arrays in that file", why=str(error), hint="Reinstall edgetl."
        ) from None
    return arrays


def _read_npz(data: bytes) -> Arrays:
    arrays: Arrays = {}
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        for key in file.files:
            layer, _, variable = key.rpartition("/")
            _put(arrays, layer, variable, file[key])
    return arrays


def _read_hdf5(data: bytes) -> Arrays:
    """Read an HDF5 file in another process, because its library is not safe for untrusted files.

    Raises:
        ValueError: It is damaged, refers to other files, or takes too long.
    """
    done = reader_process.read("backbones.hdf5", data, timeout_s=_TIMEOUT_S)
    header, _, values = done.partition(b"\n")
    arrays: Arrays = {}
    place = 0
    for layer, variable, shape in json.loads(header):
        count = math.prod(shape)
        # Copy, so that the whole output need not stay in memory; Keras writes into its arrays.
        _put(arrays, layer, variable, np.frombuffer(values, np.float32, count, place).reshape(shape).copy())
        place += 4 * count
    return arrays


def _put(arrays: Arrays, layer: str, variable: str, array: Any) -> None:
    key = canonical(layer)
    # A second layer with the same name (two copies of a backbone in one file) gets a name that matches no layer.
    while variable in arrays.get(key, {}):
        key += "#"
    arrays.setdefault(key, {})[variable] = np.asarray(array, np.float32)


def canonical(layer: str) -> str:
    """Return a layer's name normalized so that Keras 2 and Keras 3 agree."""
    return layer.lower().replace("/", "_").replace("batchnorm", "bn")
