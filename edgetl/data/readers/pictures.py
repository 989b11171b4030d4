"""Write image arrays once as photo files, so that every later stage sees a folder.

The files are in edgetl's cache, keyed by the arrays' content, beside a table of path, label and split. They are BMPs:
lossless, and byte-identical with every version of Pillow and zlib, so a run finds its photos by hash even after the
cache was emptied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgetl._lib.cache import entry, key_of
from edgetl._lib.csv import write_table
from edgetl._lib.progress import track
from edgetl._lib.threads import in_threads
from edgetl.data.types import Split
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import InputError
from edgetl_device.preprocess import MAX_PIXELS

from .array_files import Array, npz_keys, open_file, open_member
from .array_names import CLASS_NAME_KEYS
from .arrays import ArraySource
from .class_labels import NAME_FILES, Labels, checked_names, decode_labels, name_classes, read_class_names, text_of

# Increment when the same arrays give different files.
_FORMAT = 1
_CHUNK_BYTES = 32 << 20

TABLE = "photos.csv"
TABLE_COLUMNS = ("path", "label", "split")


def unpack(source: ArraySource) -> Path:
    """Return the cache folder with the images as files and :data:`TABLE`, writing it if needed.

    Raises:
        InputError: The arrays do not match, or are not images (``docs/guides/data.md``).
        OSError: The cache cannot be written.
    """
    folder = source.given if source.given.is_dir() else source.given.parent
    names = read_class_names(folder)
    key = key_of(
        files=[[file.name, sha256_file(file)] for file in source.files],
        pairs=[[pair.split, pair.images, pair.labels] for pair in source.pairs],
        names=names,
        format=_FORMAT,
    )
    make = partial(_write, source=source, names=names)
    return entry("pictures", key, make)


@dataclass(frozen=True)
class _Part:
    split: Split | None
    where: str
    images: Array
    labels: Labels


def _write(folder: Path, *, source: ArraySource, names: tuple[str, ...] | None) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    load: Callable[[str], Array]
    if source.files[0].suffix.lower() == ".npz":
        load = partial(open_member, source.given, scratch=scratch)
        names = names or _names_inside(source.given, scratch)
    else:
        by_name = {file.name: file for file in source.files}

        def load(name: str) -> Array:
            return open_file(by_name[name], scratch)

    # STL-10 counts its classes from 1.
    first = int(source.files[0].suffix.lower() == ".bin")
    parts = []
    for pair in source.pairs:
        images = _as_pictures(load(pair.images), f"{source.given}: {pair.images}")
        labels = decode_labels(load(pair.labels), f"{source.given}: {pair.labels}", count=len(images), first=first)
        parts.append(_Part(pair.split, f"{source.given}: {pair.images}", images, labels))
    classes = name_classes([part.labels for part in parts], names, str(source.given), first=first)
    floats = _check_values(parts)

    rows: list[tuple[str, str, str]] = []
    for part in parts:
        rows += _write_part(folder, part, classes.of(part.labels), floats=floats)
    (folder / NAME_FILES[0]).write_text("".join(f"{name}\n" for name in classes.order), encoding="utf-8")
    split = slice(None) if parts[0].split else slice(2)
    write_table(folder / TABLE, TABLE_COLUMNS[split], (row[split] for row in rows), verbatim=True)
    rmtree(scratch)


def _names_inside(file: Path, scratch: Path) -> tuple[str, ...] | None:
    """Return the class names in an ``.npz``; None if it has none."""
    for key in npz_keys(file):
        if key in CLASS_NAME_KEYS:
            array = open_member(file, key, scratch)
            # "classes" may also be the number of classes.
            if array.dtype.kind in "US":
                where = f"{file}: {key}"
                return checked_names(where, [str(name) for name in text_of(array, where)])
    return None


def _as_pictures(array: Array, where: str) -> Array:
    """Return an array as [n, h, w] or [n, h, w, 3]."""
    expected = "expected [N, H, W], [N, H, W, 1] or [N, H, W, 3]"
    shape = array.shape
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        hint = "Channels come last here: numpy.transpose(images, (0, 2, 3, 1))."
        raise InputError(f"{where}: shape {list(shape)}", why=expected, hint=hint)
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        hint = "Give each row its height and width: numpy.reshape." if len(shape) == 2 else ""
        raise InputError(f"{where}: shape {list(shape)}", why=expected, hint=hint)
    if 0 in shape:
        raise InputError(f"{where}: shape {list(shape)}: no images")
    if shape[1] * shape[2] > MAX_PIXELS:
        raise InputError(f"{where}: shape {list(shape)}", why=f"an image may have {MAX_PIXELS:,} pixels at most")
    if array.dtype.kind not in "iuf":
        raise InputError(f"{where}: pixels of type {array.dtype}", why="must be uint8 0..255 or float 0..1")
    return array[..., 0] if len(shape) == 4 and shape[3] == 1 else array


def _check_values(parts: Sequence[_Part]) -> bool:
    """Refuse out-of-range pixels; return whether they are floats 0..1 (else integers 0..255)."""
    kinds = {part.images.dtype.kind == "f" for part in parts}
    if len(kinds) > 1:
        raise InputError(
            f"{parts[0].where}: integers here, floats in {parts[-1].where}", hint="Save all images in one type."
        )
    floats = kinds.pop()
    brightest = 0.0
    for part in parts:
        low, high = _range(part)
        brightest = max(brightest, high)
        if floats and (low < 0 or high > 1):
            hint = (
                "Divide by 255, or save them as uint8."
                if low >= 0 and high <= 255
                else "Undo the normalization (edgetl does its own), or save them as uint8 0..255."
            )
            raise InputError(f"{part.where}: floats from {low:g} to {high:g}", why="must be 0..1", hint=hint)
        if not floats and (low < 0 or high > 255):
            raise InputError(
                f"{part.where}: integers from {low:g} to {high:g}", why="must be 0..255", hint="Scale them to 8 bits."
            )
    if not floats and brightest <= 1:
        raise InputError(
            f"{parts[0].where}: no pixel is brighter than {brightest:g} of 255",
            why="the images would be black",
            hint="Multiply by 255, or save floats 0..1.",
        )
    return floats


def _range(part: _Part) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    with track("Checking pixels", len(part.images)) as advance:
        for start, chunk in _chunks(part.images):
            least, most = float(chunk.min()), float(chunk.max())
            if not np.isfinite((least, most)).all():
                row = start + int(np.argwhere(~np.isfinite(chunk))[0][0])
                raise InputError(f"{part.where}: image {row} has NaN or infinite pixels")
            low, high = min(low, least), max(high, most)
            advance(len(chunk))
    return low, high


def _chunks(array: Array) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    rows = max(1, _CHUNK_BYTES // (array.dtype.itemsize * int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), rows):
        yield start, array[start : start + rows]


def _write_part(folder: Path, part: _Part, labels: list[str], *, floats: bool) -> list[tuple[str, str, str]]:
    """Write every image to ``[split/]label/row.bmp``; return the rows of the table."""
    digits = len(str(len(labels) - 1))
    above = f"{part.split}/" if part.split else ""
    paths = [f"{above}{folder_name(label)}/{row:0{digits}}.bmp" for row, label in enumerate(labels)]
    for parent in {folder / Path(path).parent for path in paths}:
        parent.mkdir(parents=True, exist_ok=True)

    def write(row: int) -> None:
        pixels = np.asarray(part.images[row])
        if floats:
            pixels = np.rint(pixels * np.float32(255))
        Image.fromarray(np.ascontiguousarray(pixels, np.uint8)).save(folder / paths[row], "BMP")

    with track("Writing pictures", len(paths)) as advance:
        in_threads(write, range(len(paths)), advance)
    return [(path, label, part.split or "") for path, label in zip(paths, labels, strict=True)]


def folder_name(label: str) -> str:
    """Return a label as a folder name: ``T-shirt/top`` becomes ``T-shirt_top``."""
    name = re.sub(r"[/\\\0]", "_", label).strip()
    return f"_{name}" if name.startswith(".") or not name else name
