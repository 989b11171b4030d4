"""Read the arrays of a weights file (.npz, .h5, .weights.h5, .keras), and write them as .npz. Nothing is unpickled."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np

from edgetl_device.errors import InputError

Arrays = dict[str, dict[str, np.ndarray]]
"""Layer -> variable -> array, in the order of the file. Files of Keras 3 number a layer's variables "0", "1", ..."""


def to_npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Return arrays as an uncompressed, reproducible .npz."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0)), member.getvalue())
    return out.getvalue()


def read_arrays(data: bytes, name: str) -> Arrays:
    """Read all arrays of a .npz, .h5, .weights.h5 or .keras file, told apart by their content.

    Layer names come in a canonical form (lower case, ``/`` as ``_``, ``batchnorm`` as ``bn``), in which the names in
    Keras 2 and Keras 3 agree. Arrays come as float32.

    Raises:
        InputError: Not such a file, or damaged.
    """
    import h5py

    try:
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if "model.weights.h5" not in archive.namelist():
                    return _read_npz(data)
                data = archive.read("model.weights.h5")
        with h5py.File(io.BytesIO(data), "r") as file:
            group = file.get("model_weights", file)
            arrays = _read_legacy_h5(group) if "layer_names" in _attributes(group) else _read_h5(file)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"{name}: not a readable weights file", why=str(error), hint="Give a .h5, .weights.h5, .keras or .npz file."
        ) from None
    if not arrays:
        raise InputError(f"{name}: has no arrays with layer names", hint="Save the model again with Keras 3.")
    return arrays


def _read_npz(data: bytes) -> Arrays:
    arrays: Arrays = {}
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        for key in file.files:
            layer, _, variable = key.rpartition("/")
            _put(arrays, layer, variable, file[key])
    return arrays


def _read_h5(file: Any) -> Arrays:
    """Read what Keras 3's ``save_weights`` and ``save`` write: groups ``vars`` with a layer's name, arrays 0, 1 ..."""
    arrays: Arrays = {}

    def visit(path: str, node: Any) -> None:
        if path.rpartition("/")[2] == "vars" and len(node) and not path.startswith("optimizer"):
            for variable in node:
                _put(arrays, str(node.attrs["name"]), variable, node[variable])

    file.visititems(visit)
    return arrays


def _read_legacy_h5(group: Any) -> Arrays:
    """Read Keras 2's layout, which Keras 3 still writes to ``.h5``: layer groups that list the names of their arrays.

    A nested model is one group whose list names the inner layers.
    """
    arrays: Arrays = {}
    for layer_name in _attributes(group)["layer_names"]:
        for path in _attributes(group[layer_name])["weight_names"]:
            layer, _, variable = path.rpartition("/")
            if layer.endswith(f"/{layer_name}"):
                layer = layer_name  # what stands before it is a name scope (NASNet)
            # Keras 2 called the kernel of a DepthwiseConv2D depthwise_kernel and ended names with the tensor's number.
            variable = variable.removesuffix(":0").removeprefix("depthwise_")
            _put(arrays, layer, variable, group[layer_name][path])
    return arrays


def _put(arrays: Arrays, layer: str, variable: str, array: Any) -> None:
    key = canonical(layer)
    # A second layer of the same name (two copies of a backbone in one file) is kept apart: it will not fit any layer.
    while variable in arrays.get(key, {}):
        key += "#"
    arrays.setdefault(key, {})[variable] = np.asarray(array, np.float32)


def _attributes(group: Any) -> dict[str, list[str]]:
    """Read lists of names; long ones are split over attributes name0, name1, ..., as HDF5 limits their size."""
    found: dict[str, list[str]] = {}
    for name in ("layer_names", "weight_names"):
        parts = [name] if name in group.attrs else []
        while f"{name}{len(parts)}" in group.attrs:
            parts.append(f"{name}{len(parts)}")
        if parts:
            values = [value for part in parts for value in group.attrs[part]]
            found[name] = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    return found


def canonical(layer: str) -> str:
    """Return a layer's name in the spelling in which Keras 2 and Keras 3 agree."""
    return layer.lower().replace("/", "_").replace("batchnorm", "bn")
