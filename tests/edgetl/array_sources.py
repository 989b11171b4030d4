"""Small data sets in common formats, for tests: arrays, IDX, STL-10, CSV."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgetl.data import Dataset, load_dataset
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess

SPEC = Preprocess(size=square(32))
NAMES = ("wheel", "bolt", "nut")


def pictures(count: int, *, side: int = 12, channels: int = 3, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return distinct pictures, uint8 [count, side, side, channels]; without the last axis for 0 channels."""
    shape = (count, side, side, channels) if channels else (count, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def classes(count: int, *, of: int = 3) -> npt.NDArray[np.int64]:
    return np.arange(count) % of


def idx(values: npt.NDArray[np.uint8]) -> bytes:
    """Return an array as an IDX file of unsigned bytes."""
    return struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def write_idx(folder: Path, *, train: int = 18, test: int = 6, packed: bool = True) -> Path:
    folder.mkdir(parents=True)
    for name, count, seed in (("train", train, 0), ("t10k", test, 1)):
        for what, values in (
            ("images-idx3", pictures(count, channels=0, seed=seed)),
            ("labels-idx1", classes(count).astype(np.uint8)),
        ):
            data = idx(values)
            file = folder / f"{name}-{what}-ubyte{'.gz' if packed else ''}"
            file.write_bytes(gzip.compress(data) if packed else data)
    return folder


def write_stl10(folder: Path, *, train: int = 12, test: int = 4) -> Path:
    """Write STL-10's files as documented: channel by channel, each in column-major order; labels from 1."""
    folder.mkdir(parents=True)
    for name, count, seed in (("train", train, 0), ("test", test, 1)):
        images = pictures(count, side=96, seed=seed)
        (folder / f"{name}_X.bin").write_bytes(np.ascontiguousarray(images.transpose(0, 3, 2, 1)).tobytes())
        (folder / f"{name}_y.bin").write_bytes((classes(count) + 1).astype(np.uint8).tobytes())
    (folder / "class_names.txt").write_text("".join(f"{name}\n" for name in NAMES))
    (folder / "unlabeled_X.bin").write_bytes(b"")
    return folder


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def table(root: Path, *lines: str, name: str = "photos.csv") -> Path:
    (root / name).write_text("".join(f"{line}\n" for line in lines))
    return root / name


def load(root: Path, **options: Any) -> Dataset:
    return load_dataset(root, SPEC, **options)


def refused(root: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(root)
    assert len(str(caught.value).splitlines()) <= 3
