"""Outputs of a frozen base on photos, computed once by LiteRT and cached on disk.

The frozen layers are converted to a float TFLite model and run by LiteRT's XNNPACK kernels, one interpreter per core:
about three times the speed of ``keras.Model.predict`` on two cores (``benchmarks/frozen_base.py``).
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.array_file import ArrayFile
from edgetl._lib.cache import entry, key_of
from edgetl._lib.cores import available_cores
from edgetl._lib.extras import keras, require
from edgetl._lib.interrupts import uninterrupted
from edgetl._lib.progress import step, track
from edgetl._lib.quiet import quietly
from edgetl._lib.threads import thread_pool
from edgetl.data.pixels import PixelCache
from edgetl.export.conversion import float32_tflite
from edgetl.features.augment import PRESETS, augmenter, mixes, share_mixer
from edgetl_device.input_size import InputSize

Pixels = npt.NDArray[np.uint8]
# Photos or views, uint8 [n, H, W, C], and the rows of the result that they belong to, int64 [n].
_Batch = tuple[npt.NDArray[np.int64], Pixels]

# Increment when the content of cached activations changes for the same key.
_FORMAT = 1
# The same for views.
_VIEWS_FORMAT = 2
# Photos per call of the augmentation layers. The views depend on it.
_VIEW_BATCH = 32


@dataclass(frozen=True)
class Frozen:
    """The frozen part of a network as a TFLite model.

    Attributes:
        model: The file's bytes; input float32 [1, H, W, C] of raw pixels 0..255.
        key: Changes with the layers, their weights and where the part ends.
    """

    model: bytes
    key: str


@dataclass(frozen=True)
class Activations:
    """Outputs of the frozen part, memory-mapped, one row per photo.

    Attributes:
        pooled: float32 [n, channels], what the head reads: the last feature map averaged over its pixels.
        cut: float16 [n, h, w, c], the input of the first trainable layer; None when only the head is trained.
    """

    pooled: npt.NDArray[np.float32]
    cut: npt.NDArray[np.float16] | None


def freeze(base: Any, cut_layer: str | None) -> Frozen:
    """Convert a base for LiteRT, with its pooled features and, for ``cut_layer``, that layer's output.

    The output of a base that is no feature map, float32 [None, channels], is its pooled features. The result is cached
    under the weights' own hash.
    """
    pooled = base.output
    if len(pooled.shape) == 4:
        pooled = keras().layers.GlobalAveragePooling2D(name="pool")(pooled)
    outputs = [pooled] if cut_layer is None else [pooled, base.get_layer(cut_layer).output]
    return _converted(base, outputs, cut=cut_layer)


def freeze_depths(base: Any, layers: Sequence[str]) -> Frozen:
    """Convert a base for LiteRT so that one pass gives the pooled features of several layers.

    :attr:`Activations.pooled` concatenates them per photo in the order of ``layers``, one value per channel.
    """
    # One output, not many: TFLite does not keep the order of a graph's outputs.
    pooled = [
        keras().layers.GlobalAveragePooling2D(name=f"pool_{place}")(base.get_layer(layer).output)
        for place, layer in enumerate(layers)
    ]
    joined = keras().layers.Concatenate(name="depths")(pooled) if len(pooled) > 1 else pooled[0]
    return _converted(base, [joined], depths=list(layers))


def freeze_logits(network: Any) -> Frozen:
    """Convert a whole trained network for LiteRT; :attr:`Activations.pooled` are its logits, [n, classes]."""
    return _converted(network, [network.get_layer("logits").output], logits=True)


def _converted(base: Any, outputs: list[Any], **ends: Any) -> Frozen:
    digest = hashlib.sha256(base.to_json().encode())
    for array in base.get_weights():
        digest.update(np.ascontiguousarray(array).data)
    versions = [version(package) for package in ("ai-edge-litert", "tensorflow")]
    key = key_of(base=digest.hexdigest(), **ends, versions=versions, format=_FORMAT)

    def make(folder: Path) -> None:
        with step("Preparing the frozen base"):
            (folder / "base.tflite").write_bytes(float32_tflite(keras().Model(base.input, outputs)))

    return Frozen((entry("bases", key, make) / "base.tflite").read_bytes(), key)


def photo_activations(frozen: Frozen, pixels: PixelCache) -> Activations:
    """Return the activations of every decoded photo; row i belongs to ``pixels.array[i]``."""
    key = key_of(frozen=frozen.key, pixels=pixels.key)
    total = len(pixels.array)
    return _cached("photos", key, frozen, lambda: _slices(pixels.array, np.arange(total)), total)


def row_activations(frozen: Frozen, pixels: PixelCache, rows: npt.NDArray[np.int64]) -> Activations:
    """Return the activations of some decoded photos; row i belongs to ``pixels.array[rows[i]]``."""
    key = key_of(frozen=frozen.key, pixels=pixels.key, rows=hashlib.sha256(rows.tobytes()).hexdigest())
    return _cached("photos", key, frozen, lambda: _slices(pixels.array, rows), len(rows))


def view_activations(
    frozen: Frozen, pixels: PixelCache, rows: npt.NDArray[np.int64], *, preset: str, seed: int, count: int
) -> list[Activations]:
    """Return the activations of ``count`` augmented views of each photo in ``rows``, one item per view.

    Row i of every view belongs to ``rows[i]``.
    """
    if not count:
        return []
    key = key_of(frozen=frozen.key, pixels=pixels.key, **_views_key(rows, preset, seed, count))
    name = f"{count} augmented views"
    all_views = _cached(name, key, frozen, lambda: draw_views(pixels, rows, preset, seed, count), count * len(rows))
    parts = [slice(view * len(rows), (view + 1) * len(rows)) for view in range(count)]
    return [
        Activations(all_views.pooled[part], None if all_views.cut is None else all_views.cut[part]) for part in parts
    ]


def view_pixels(pixels: PixelCache, rows: npt.NDArray[np.int64], *, preset: str, seed: int, count: int) -> list[Pixels]:
    """Return ``count`` augmented views of each photo in ``rows``, uint8 [rows, H, W, C]: for training every layer."""
    if not count:
        return []
    key = key_of(views_of=pixels.key, **_views_key(rows, preset, seed, count))
    total = count * len(rows)

    def make(folder: Path) -> None:
        shape = (total, *pixels.array.shape[1:])
        with ArrayFile(folder / "pixels.npy", shape, np.uint8) as file, track("Augmented views", total) as advance:
            for places, pictures in draw_views(pixels, rows, preset, seed, count):
                for place, picture in zip(places, pictures, strict=True):
                    file.write(place, picture)
                advance(len(places))

    drawn = np.load(entry("views", key, make) / "pixels.npy", mmap_mode="r")
    return [drawn[view * len(rows) : (view + 1) * len(rows)] for view in range(count)]


@uninterrupted()
def view_targets(
    targets: npt.NDArray[np.int64], *, classes: int, size: InputSize, preset: str, seed: int, count: int
) -> list[npt.NDArray[np.float32]] | None:
    """Return the labels of mixed views as shares of the classes; None for presets that do not mix photos.

    Args:
        targets: int64 [n], the classes of the photos, in the order of the rows that the views were drawn for.
        classes: Number of classes.
        size: Height, width and channels of the photos.
        preset: As for :func:`view_activations` and :func:`view_pixels`.
        seed: As for :func:`view_activations`.
        count: As for :func:`view_activations`.

    Returns:
        One float32 [n, classes] per view; rows sum to 1.
    """
    if not mixes(preset):
        return None
    mix, shown = share_mixer(preset, size=size, seed=seed), np.eye(classes, dtype=np.float32)[targets]
    found = np.empty((count * len(targets), classes), np.float32)
    for places, photos in _order(len(targets), preset, seed, count):
        found[places] = mix(shown[photos])
    return list(found.reshape(count, len(targets), classes))


def _cached(name: str, key: str, frozen: Frozen, batches: Callable[[], Iterator[_Batch]], total: int) -> Activations:
    folder = entry("activations", key, lambda folder: _run(folder, frozen, batches(), total, f"Frozen base, {name}"))
    cut = folder / "cut.npy"
    return Activations(
        pooled=np.load(folder / "pooled.npy", mmap_mode="r"),
        cut=np.load(cut, mmap_mode="r") if cut.exists() else None,
    )


def _slices(array: Pixels, rows: npt.NDArray[np.int64]) -> Iterator[_Batch]:
    for start in range(0, len(rows), _VIEW_BATCH):
        part = rows[start : start + _VIEW_BATCH]
        yield np.arange(start, start + len(part)), array[part]


def draw_views(pixels: PixelCache, rows: npt.NDArray[np.int64], preset: str, seed: int, count: int) -> Iterator[_Batch]:
    """Draw views in batches; view v of ``rows[i]`` is at position v * len(rows) + i."""
    draw = augmenter(preset, size=InputSize(*pixels.array.shape[1:]), seed=seed)
    return ((places, draw(pixels.array[rows[photos]])) for places, photos in _order(len(rows), preset, seed, count))


def _order(
    photos: int, preset: str, seed: int, count: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield the batches in which views are drawn: their positions among all views, and their photos."""
    for view in range(count):
        order = np.arange(photos)
        if mixes(preset):
            # Photos are sorted by class: without shuffling, a photo would be mixed only with its own class.
            order = np.random.default_rng([seed, view]).permutation(photos)
        for start in range(0, photos, _VIEW_BATCH):
            part = order[start : start + _VIEW_BATCH]
            yield view * photos + part, part


def _views_key(rows: npt.NDArray[np.int64], preset: str, seed: int, count: int) -> dict[str, Any]:
    return {
        "rows": hashlib.sha256(rows.tobytes()).hexdigest(),
        "layers": PRESETS[preset],
        "seed": seed,
        "count": count,
        "batch": _VIEW_BATCH,
        "keras": version("keras"),
        "format": _VIEWS_FORMAT,
    }


def _run(folder: Path, frozen: Frozen, batches: Iterator[_Batch], total: int, label: str) -> None:
    """Write ``pooled.npy`` and, if the base has it, ``cut.npy``: one row per photo, at its batch's positions."""
    workers = available_cores()
    interpreters = [_interpreter(frozen.model) for _ in range(workers)]
    idle: SimpleQueue[Any] = SimpleQueue()
    for interpreter in interpreters:
        idle.put(interpreter)
    outputs = sorted(interpreters[0].get_output_details(), key=lambda detail: len(detail["shape"]))

    with ExitStack() as stack:
        names = (("pooled.npy", np.float32), ("cut.npy", np.float16))
        files = [
            stack.enter_context(ArrayFile(folder / name, (total, *detail["shape"][1:]), dtype))
            for detail, (name, dtype) in zip(outputs, names, strict=False)
        ]

        def work(places: npt.NDArray[np.int64], batch: Pixels) -> int:
            interpreter = idle.get()
            try:
                for place, photo in zip(places, batch, strict=True):
                    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], photo[None].astype(np.float32))
                    interpreter.invoke()
                    for detail, file in zip(outputs, files, strict=True):
                        file.write(int(place), interpreter.get_tensor(detail["index"])[0])
            finally:
                idle.put(interpreter)
            return len(batch)

        advance = stack.enter_context(track(label, total))
        pool = stack.enter_context(thread_pool())
        pending: deque[Future[int]] = deque()
        for places, batch in batches:
            pending.append(pool.submit(work, places, batch))
            # A short queue keeps the workers busy while the next views are drawn, and memory constant.
            if len(pending) > 2 * workers:
                advance(pending.popleft().result())
        for future in pending:
            advance(future.result())


def _interpreter(model: bytes) -> Any:
    with quietly():
        interpreter = require("ai_edge_litert.interpreter").Interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
    return interpreter
