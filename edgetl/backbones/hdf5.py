"""Read the arrays of Keras' HDF5 files in a separate process: ``python -m edgetl.backbones.hdf5``.

Reads the file from stdin. Writes to stdout a line of JSON, [layer, variable, shape] of each array in the order of the
file, then the arrays as float32. Nothing outside the file is read: external links, external storage and virtual data
sets are refused.
"""

from __future__ import annotations

import io
import json
from typing import Any, BinaryIO

import numpy as np

from edgetl._lib import reader_process

# Of groups; HDF5 takes minutes for a thousand. Keras' layers in models in models need about ten.
_MOST_DEPTH = 100

# layer, variable, h5py.Dataset
Rows = list[tuple[str, str, Any]]


def _answer(data: bytes, out: BinaryIO) -> None:
    import h5py

    with h5py.File(io.BytesIO(data), "r") as file:
        check_links(file)
        group = file.get("model_weights", file)
        rows = _read_legacy_h5(group) if "layer_names" in _attributes(group) else _read_h5(file)
        arrays = [(layer, variable, np.asarray(array, np.float32)) for layer, variable, array in rows]
    out.write(json.dumps([[layer, variable, array.shape] for layer, variable, array in arrays]).encode() + b"\n")
    for _, _, array in arrays:
        out.write(array.tobytes())


def check_links(file: Any) -> None:
    """Refuse an h5py.File with links out of the file. A group that contains itself is visited once.

    Raises:
        ValueError: Something of it is in another file, or its groups are nested so deeply that HDF5 is slow.
    """
    import h5py

    seen: set[int] = set()
    waiting = [(file, 0)]
    while waiting:
        group, depth = waiting.pop()
        if depth > _MOST_DEPTH:
            raise ValueError(f"groups are nested more than {_MOST_DEPTH} deep")
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise ValueError(f"{group.name}: {name} is a link to another file")
            if not isinstance(link, h5py.HardLink):
                continue  # the target of a soft link is visited under its own name
            node = group[name]
            place = h5py.h5o.get_info(node.id).addr
            if place in seen:
                continue
            seen.add(place)
            if isinstance(node, h5py.Group):
                waiting.append((node, depth + 1))
            elif isinstance(node, h5py.Dataset) and (node.external or node.is_virtual):
                raise ValueError(f"{node.name} has its values in another file")


def _read_h5(file: Any) -> Rows:
    """Read the layout of Keras 3 (``save_weights``, ``save``): groups ``vars`` with a layer's name, arrays 0, 1 ..."""
    rows: Rows = []

    def visit(path: str, node: Any) -> None:
        if path.rpartition("/")[2] == "vars" and len(node) and not path.startswith("optimizer"):
            for variable in node:
                rows.append((str(node.attrs["name"]), variable, node[variable]))

    file.visititems(visit)
    return rows


def _read_legacy_h5(group: Any) -> Rows:
    """Read Keras 2's layout, which Keras 3 still writes to ``.h5``: layer groups that list the names of their arrays.

    A nested model is one group whose list names the inner layers.
    """
    rows: Rows = []
    for layer_name in _attributes(group)["layer_names"]:
        for path in _attributes(group[layer_name])["weight_names"]:
            layer, _, variable = path.rpartition("/")
            if layer.endswith(f"/{layer_name}"):
                layer = layer_name  # a name scope precedes it (NASNet)
            # Keras 2 called the kernel of a DepthwiseConv2D depthwise_kernel and ended names with the tensor's number.
            variable = variable.removesuffix(":0").removeprefix("depthwise_")
            rows.append((layer, variable, group[layer_name][path]))
    return rows


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


if __name__ == "__main__":
    reader_process.serve(_answer)
