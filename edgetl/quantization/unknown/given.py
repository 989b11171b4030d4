"""The user's photos of things that the model was not taught: listed, decoded, and made small for the bundle."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgetl._lib.progress import note
from edgetl.data.pixels import PhotoFacts, decode_files, hash_files
from edgetl.runs.directory import Run
from edgetl_device._lib.folders import PHOTO_SUFFIXES, photos_below
from edgetl_device.errors import InputError
from edgetl_device.preprocess import Preprocess, image_of, preprocess

# More take longer and hardly narrow the interval: 1,000 photos measure a rate of 10% within 2 points.
MOST = 1000
# Photos in the bundle, each a few kilobytes.
MOST_IN_BUNDLE = 60
_QUALITY = 95


@dataclass(frozen=True, eq=False)
class UnknownGiven:
    """Photos of things that the model was not taught.

    Attributes:
        pixels: uint8 [n, H, W, C], every photo.
        files: Some of them as JPEG files of the model's size, without metadata.
        file_pixels: uint8 [files, H, W, C], what a device makes of these files.
    """

    pixels: npt.NDArray[np.uint8]
    files: tuple[bytes, ...]
    file_pixels: npt.NDArray[np.uint8]


def unknown_given(run: Run, folder: Path) -> UnknownGiven:
    """Read the photos below a folder that the model of a run was not taught, as :func:`read_unknown`."""
    keys = ((key, sample) for sample in run.samples for key in (sample.sha256, sample.group))
    return read_unknown(
        folder, run.preprocess, {key: f"{sample.path}, a photo of {sample.label}" for key, sample in keys}
    )


def read_unknown(folder: Path, spec: Preprocess, taught: Mapping[str, str]) -> UnknownGiven:
    """Read the photos below a folder.

    At most :data:`MOST` are used, those with the lowest hashes, which is a reproducible random sample.

    Args:
        folder: Photos at any depth.
        spec: Preprocessing of the model.
        taught: Description of each photo that the model knows, by the SHA-256 of its file or of its pixels.

    Raises:
        InputError: The folder is missing or has no readable photo, or the model knows one of its photos.
    """
    if not folder.is_dir():
        what = "is a file, not a folder of photos" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {what}", hint="Give a folder of photos of things that the model was not taught.")
    paths = sorted(photos_below(folder))
    if not paths:
        raise InputError(f"{folder}: contains no photos", hint=f"Photos end in {', '.join(PHOTO_SUFFIXES)}.")
    known = {sha256: path for path, sha256 in zip(paths, hash_files(paths), strict=True) if isinstance(sha256, str)}
    # By a hash of the hash, so that the sample has nothing to do with how the cache sorts photos.
    first = sorted(known, key=lambda sha256: hashlib.sha256(f"unknown {sha256}".encode()).digest())[:MOST]
    if not first:
        raise InputError(f"{folder}: none of its {len(paths)} files can be opened", hint="Check the permissions.")
    cache = decode_files({sha256: known[sha256] for sha256 in first}, spec)
    readable = [sha256 for sha256 in first if sha256 in cache.row]
    if not readable:
        raise InputError(f"{folder}: none of its {len(paths)} files is a readable photo")
    if len(readable) < len(paths):
        note(f"note: {len(readable)} of the {len(paths)} files in {folder.name} are used as unknown photos")
    for sha256 in readable:
        fact = cache.facts[sha256]
        same = taught.get(sha256) or (taught.get(fact.digest) if isinstance(fact, PhotoFacts) else None)
        if same is not None:
            raise InputError(
                f"{known[sha256]}: is {same} that the model knows",
                why="unknown photos measure how often the model takes something for what it knows",
                hint="Remove it from the folder.",
            )
    pixels = cache.array[[cache.row[sha256] for sha256 in readable]]
    files = tuple(_jpeg(one) for one in pixels[:MOST_IN_BUNDLE])
    return UnknownGiven(pixels, files, np.stack([preprocess(file, spec) for file in files]))


def _jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    image_of(pixels).save(stream, "JPEG", quality=_QUALITY, subsampling=0)
    return stream.getvalue()
