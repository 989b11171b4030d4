"""Decode photos once, into a memory-mapped uint8 array with a few facts about each photo.

``edgetl_device.preprocess`` turns a single photo into a tensor.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from edgetl._lib.array_file import ArrayFile
from edgetl._lib.cache import entry, key_of
from edgetl._lib.progress import track
from edgetl._lib.threads import in_threads
from edgetl.data.near_duplicates import SIDE
from edgetl_device._lib.files import sha256_bytes, sha256_file
from edgetl_device.decoding.heif import AVIF, HEIC, NAMES, decoders
from edgetl_device.errors import InputError, is_of_machine
from edgetl_device.input_size import square
from edgetl_device.preprocess import (
    MAX_DEPTH_VALUE,
    PhotoError,
    Preprocess,
    check_file,
    decode,
    fit,
    open_photo,
    orientation_of,
    read_photo,
    why_colours_as_stored,
    wide_greys,
)

# Increment when the files of an entry change, or when edgetl_device.preprocess gives other pixels for the same photo.
_FORMAT = 5

# A photo's digest must not depend on the preprocessing, or another --size or --depth-range would change the split.
_DIGEST_SPEC = Preprocess(size=square(160), colours="as-stored")
_REDUCED_FROM = 4 * _DIGEST_SPEC.size.longest
_BAND_ROWS = 256
# Text that version control keeps instead of large files: the specification of Git LFS, git-annex's unlocked files.
_POINTERS = {
    "Git LFS": (b"version https://git-lfs.github.com/spec/", "git lfs pull"),
    "git-annex": (b"/annex/objects/", "git annex get ."),
}
# Decoded at a reduced size where they are large.
_REDUCED_FORMATS = ("JPEG", "MPO", HEIC, AVIF)
# The share of a photo's darkest and of its brightest pixels that do not count for its depth: dead and hot pixels of
# the sensor.
_OUTLIERS = 0.001


@dataclass(frozen=True)
class PhotoFacts:
    """Facts about a photo besides its pixels.

    Attributes:
        width: Upright width in the file, in pixels.
        height: Upright height in the file, in pixels.
        digest: SHA-256 over the upright size and the decoded RGB pixels: equal for the same picture saved losslessly
            in two formats, and independent of the preprocessing. JPEGs, HEICs and AVIFs of at least 640 x 640 pixels
            are compared at the reduced resolution that :func:`edgetl_device.preprocess.decode` uses for size 160.
        broken_profile: Why its colour profile cannot be used; "" if it can, or there is none.
        depth: Darkest and brightest value of greys of more than 8 bits, without the 0.1% beyond each; None for other
            photos.
        container: ``HEIC`` or ``AVIF``, which not every board can read; "" for other formats.
    """

    width: int
    height: int
    digest: str
    broken_profile: str = ""
    depth: tuple[int, int] | None = None
    container: str = ""


@dataclass(frozen=True)
class Unreadable:
    """Why a file gave no pixels.

    Attributes:
        kind: As in :class:`edgetl_device.preprocess.PhotoError`, ``no_access`` or ``pointer``.
        why: The reason, in a few words.
    """

    kind: str
    why: str


@dataclass(frozen=True)
class PixelCache:
    """Decoded photos on disk.

    Attributes:
        key: Name of the cache entry; it changes with the files, the preprocessing and the decoders' versions.
        array: Memory-mapped, read-only uint8 0..255, [files, H, W, C]; unreadable files are zeros.
        row: The row of each readable file, by the SHA-256 of its bytes.
        facts: Facts about each file, by the SHA-256 of its bytes.
        thumbnails: The whole photos as squares of grey, uint8 [files, 32, 32], as :mod:`edgetl.data.near_duplicates`
            compares them. Like digests they do not depend on the preprocessing.
    """

    key: str
    array: np.memmap[Any, np.dtype[np.uint8]]
    row: dict[str, int]
    facts: dict[str, PhotoFacts | Unreadable]
    thumbnails: np.memmap[Any, np.dtype[np.uint8]]

    def rows(self, samples: Iterable[HasSha256]) -> npt.NDArray[np.int64]:
        """Return the row of each sample, int64, shape [samples]."""
        return np.array([self.row[sample.sha256] for sample in samples], dtype=np.int64)


class HasSha256(Protocol):
    """Anything that identifies a file by the SHA-256 of its bytes."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes in hexadecimal."""


def decode_files(files: Mapping[str, Path], spec: Preprocess) -> PixelCache:
    """Decode and fit every file once, on all cores, and keep the result in the cache.

    Memory grows by only a few hundred bytes of facts per photo: workers take one file at a time and write its pixels
    straight to their place on disk.

    Args:
        files: Path of each file by the SHA-256 of its bytes; at least one.
        spec: How photos are fitted.

    Raises:
        InputError: A file was changed since it was hashed.
        OSError: The cache cannot be written (disk full, no permission).
    """
    if not files:
        raise InputError("no files to decode")
    hashes = sorted(files)
    key = key_of(
        files=hashlib.sha256("".join(hashes).encode()).hexdigest(),
        spec=spec.to_json(),
        pillow=PIL.__version__,
        # Files that could not be read without a decoder can be once it is installed.
        heif=decoders(),
        format=_FORMAT,
    )
    folder = entry("pixels", key, partial(_make, files=files, hashes=hashes, spec=spec))
    facts = _read_facts(folder)
    row = {sha256: index for index, sha256 in enumerate(hashes) if isinstance(facts[sha256], PhotoFacts)}
    array, thumbnails = (
        np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in ("pixels.npy", "thumbnails.npy")
    )
    return PixelCache(key=key, array=array, row=row, facts=facts, thumbnails=thumbnails)


def hash_files(paths: Sequence[Path]) -> list[str | Unreadable]:
    """Return the SHA-256 of each file's bytes, in order, or why it could not be read."""
    hashes: list[str | Unreadable] = [""] * len(paths)

    def hash_one(index: int) -> None:
        try:
            check_file(paths[index])
            hashes[index] = _pointer(paths[index]) or sha256_file(paths[index])
        except PhotoError as error:
            hashes[index] = Unreadable(error.kind, error.why or error.what)
        except OSError as error:
            # A failing disk says nothing about the photo: going on would train on whatever happens to be readable.
            if is_of_machine(error):
                raise
            hashes[index] = Unreadable("no_access", error.strerror or str(error))

    with track("Reading photos", len(paths)) as advance:
        in_threads(hash_one, range(len(paths)), advance)
    return hashes


def _pointer(path: Path) -> Unreadable | None:
    """Return what stands in a file's place where its content was not downloaded; None for any other file."""
    with open(path, "rb") as stream:
        start = stream.read(64)
    for program, (mark, command) in _POINTERS.items():
        if start.startswith(mark):
            return Unreadable("pointer", f"it is a pointer of {program}; fetch the content: {command}")
    return None


def _make(folder: Path, files: Mapping[str, Path], hashes: list[str], spec: Preprocess) -> None:
    facts: dict[str, PhotoFacts | Unreadable] = {}
    with (
        ArrayFile(folder / "pixels.npy", (len(hashes), *spec.size.shape), np.uint8) as file,
        ArrayFile(folder / "thumbnails.npy", (len(hashes), SIDE, SIDE), np.uint8) as thumbnails,
    ):

        def decode_one(index: int) -> None:
            sha256 = hashes[index]
            try:
                pixels, thumbnail, facts[sha256] = _decode(files[sha256], sha256, spec)
            except PhotoError as error:
                facts[sha256] = Unreadable(error.kind, error.why or error.what)
            else:
                file.write(index, pixels)
                thumbnails.write(index, thumbnail)

        with track("Decoding photos", len(hashes)) as advance, warnings.catch_warnings():
            # preprocess has its own pixel limit; Pillow's warning at half of it would only break the progress bar.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            in_threads(decode_one, range(len(hashes)), advance)
    _write_facts(folder, facts)


def _decode(
    path: Path, sha256: str, spec: Preprocess
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], PhotoFacts]:
    """Return a photo's pixels, its thumbnail and facts about it."""
    data = read_photo(path)
    if sha256_bytes(data) != sha256:
        raise InputError(f"{path}: was changed while it was read", hint="Run again when no other program writes to it.")
    image = decode(data, spec)
    with open_photo(data, str(path)) as header:
        width, height, may_be_reduced = _upright_size(header, image)
        broken_profile = why_colours_as_stored(header, str(path))
        converted = (header.mode != "RGB" or "transparency" in header.info) and "icc_profile" in header.info
        depth = _depth(header)
        container = NAMES.get(header.format or "", "")
    reduced = may_be_reduced and (min(width, height) >= _REDUCED_FROM or image.width < width)
    if converted or (depth and spec.depth_range) or (reduced and spec.size.longest != _DIGEST_SPEC.size.longest):
        reference = decode(data, _DIGEST_SPEC)
    else:
        reference = image
    digest = hashlib.sha256(f"{width} x {height}\n".encode())
    # In bands, because converting a whole photo to an array would take two copies.
    for top in range(0, reference.height, _BAND_ROWS):
        band = reference.crop((0, top, reference.width, min(top + _BAND_ROWS, reference.height)))
        digest.update(np.asarray(band).data)
    thumbnail = np.asarray(reference.resize((SIDE, SIDE), Image.Resampling.BOX).convert("L"))
    return fit(image, spec), thumbnail, PhotoFacts(width, height, digest.hexdigest(), broken_profile, depth, container)


def _upright_size(header: Image.Image, image: Image.Image) -> tuple[int, int, bool]:
    """Return the width and height in the file after EXIF orientation, and whether large ones are decoded reduced."""
    # The EXIF of other formats may follow the pixels.
    if header.format not in _REDUCED_FORMATS:
        return image.width, image.height, False
    turned = orientation_of(header) in (5, 6, 7, 8)
    width, height = header.size
    return (height, width, True) if turned else (width, height, True)


def _depth(header: Image.Image) -> tuple[int, int] | None:
    """Return :attr:`PhotoFacts.depth` of an opened photo."""
    count = np.zeros(MAX_DEPTH_VALUE + 1, np.int64)
    if not header.mode.startswith("I"):
        return None
    for top in range(0, header.height, _BAND_ROWS):
        band = wide_greys(header.crop((0, top, header.width, min(top + _BAND_ROWS, header.height))))
        if band is not None:
            count += np.bincount(np.clip(band, 0, MAX_DEPTH_VALUE).ravel(), minlength=len(count))
    share = np.cumsum(count) / count.sum()
    low, high = np.searchsorted(share, [_OUTLIERS, 1 - _OUTLIERS])
    return int(low), int(high)


def _write_facts(folder: Path, facts: Mapping[str, PhotoFacts | Unreadable]) -> None:
    photos = {
        sha256: [fact.width, fact.height, fact.digest, fact.broken_profile, fact.depth, fact.container]
        if isinstance(fact, PhotoFacts)
        else [fact.kind, fact.why]
        for sha256, fact in facts.items()
    }
    (folder / "facts.json").write_text(json.dumps(photos), encoding="utf-8")


def _read_facts(folder: Path) -> dict[str, PhotoFacts | Unreadable]:
    photos = json.loads((folder / "facts.json").read_bytes())
    return {sha256: _read_fact(fields) for sha256, fields in photos.items()}


def _read_fact(fields: list[Any]) -> PhotoFacts | Unreadable:
    if len(fields) == 2:
        return Unreadable(*fields)
    width, height, digest, broken_profile, depth, container = fields
    return PhotoFacts(width, height, digest, broken_profile, tuple(depth) if depth else None, container)
