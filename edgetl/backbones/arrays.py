"""Read a backbone's arrays from a weights file and put them into its layers, every one accounted for.

Not for: choosing the file (``weights``). No pickle is ever read.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np

from edgetl_device.errors import InputError
from edgetl_device.files import sha256_bytes

from .registry import Backbone, backbone
from .weights import ResolvedWeights

Arrays = dict[str, dict[str, np.ndarray]]
"""Layer -> variable -> array, in the order of the file. Files of Keras 3 number a layer's variables "0", "1", ..."""

_SHOWN = 4


def load_into(base: Any, weights: ResolvedWeights) -> None:
    """Set every variable of ``base`` from the file.

    Arrays are found by layer name. Keras' own files (``keras-cache``, ``keras-download``) whose layers have other
    names, as old ones do, are taken in the order of their layers instead, which is how Keras reads them. Layers of the
    file that belong to no block of this family are its top, or whatever stood around the backbone, and stay unused.

    Raises:
        InputError: The file changed since it was resolved, cannot be read, misses layers, has arrays of other shapes,
            or has more blocks than the base. Nothing is set then.
    """
    assert weights.path is not None
    name = str(weights.path)
    data = weights.path.read_bytes()
    if sha256_bytes(data) != weights.sha256:
        raise InputError(f"{name}: changed since its hash was taken", hint="Run the command again.")
    arrays = read_arrays(data, name)
    wanted = {_canonical(layer.name): layer for layer in base.layers if layer.weights}
    if weights.source.startswith("keras-") and wanted.keys() - arrays.keys() and len(wanted) == len(arrays):
        arrays = dict(zip(wanted, arrays.values(), strict=True))
    _check_layers(wanted, arrays, name, backbone(base.name))
    values = {key: _in_order(layer, arrays[key], name) for key, layer in wanted.items()}
    for key, layer in wanted.items():
        layer.set_weights(values[key])


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
            # Keras 2 called the kernel of a DepthwiseConv2D depthwise_kernel and ended names with the tensor's number.
            variable = variable.removesuffix(":0").removeprefix("depthwise_")
            _put(arrays, layer, variable, group[layer_name][path])
    return arrays


def _put(arrays: Arrays, layer: str, variable: str, array: Any) -> None:
    key = _canonical(layer)
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


def _canonical(layer: str) -> str:
    return layer.lower().replace("/", "_").replace("batchnorm", "bn")


def _check_layers(wanted: dict[str, Any], arrays: Arrays, name: str, row: Backbone) -> None:
    missing = [layer.name for key, layer in wanted.items() if key not in arrays]
    if missing:
        raise InputError(
            f"{name}: does not fit this backbone",
            why=f"it has no arrays for {len(missing)} of {len(wanted)} layers: {_some(missing)}",
            hint="Give weights of the same backbone and width, or --weights none.",
        )
    strangers = [key for key in arrays if key not in wanted and row.block_pattern.match(key)]
    if strangers:
        raise InputError(
            f"{name}: does not fit this backbone",
            why=f"it has {len(strangers)} layers of blocks that {row.name} does not have: {_some(strangers)}",
            hint="Give weights of the same backbone and width, or --weights none.",
        )


def _in_order(layer: Any, found: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    values = []
    for index, variable in enumerate(layer.weights):
        value = found.get(variable.name, found.get(str(index)))
        shape = None if value is None else value.shape
        if value is None or shape != tuple(variable.shape) or len(found) != len(layer.weights):
            raise InputError(
                f"{name}: does not fit this backbone",
                why=f"layer {layer.name}: {variable.name} has shape {shape}, expected {tuple(variable.shape)}",
                hint="Give weights of the same backbone and width, or --weights none.",
            )
        values.append(value)
    return values


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
