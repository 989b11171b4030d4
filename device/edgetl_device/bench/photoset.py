"""The labelled photos of a bench: the bundle's own, or a folder's, ``DIR/<class>/photos``."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edgetl_device._lib import jsonfile
from edgetl_device._lib.files import sha256_bytes
from edgetl_device._lib.folders import PHOTO_SUFFIXES, children, files_below
from edgetl_device.bundle import EVALSET, Bundle, EvalPhoto
from edgetl_device.errors import InputError
from edgetl_device.preprocess import PhotoError, Preprocess, preprocess, read_photo
from edgetl_device.text import is_utf8, listed, normal, normal_names
from edgetl_device.truth import Truth

# Timed photos stay in memory: as many as fit, but at least one.
TIMED_BYTES = 64 << 20
SEED = 0

_LAYOUT = "Expected DIR/<class>/photos, each folder named after a label of the bundle."


@dataclass(frozen=True)
class PhotoSet:
    """A set of readable, labelled photos.

    Attributes:
        source: ``bundle`` or ``folder``.
        name: Name of the bundle or the folder.
        labels: Class names, in the order of the model's output.
        photos: At least one.
        truth: What they are held against: their labels, or the answers of the original model.
    """

    source: Literal["bundle", "folder"]
    name: str
    labels: tuple[str, ...]
    photos: tuple[EvalPhoto, ...]
    _bytes_of: Callable[[str], bytes]
    _size_bytes: int
    truth: Truth = "labels"

    @property
    def digest(self) -> str:
        """A hash of photos and labels that does not depend on order and file names."""
        return digest((self.labels[photo.index], photo.sha256) for photo in self.photos)

    def read(self, photo: EvalPhoto) -> bytes:
        """Return the bytes of a photo.

        Raises:
            InputError: The photo has changed since the set was made.
        """
        data = self._bytes_of(photo.file)
        if sha256_bytes(data) != photo.sha256:
            raise InputError(f"{self.name}: {photo.file} was changed during the bench", hint="Start over.")
        return data

    def timed(self) -> list[bytes]:
        """Return the photos to time: all, or at most 64 MB of them, drawn at random; photos of a folder are always in
        random order."""
        if self.source == "bundle" and self._size_bytes <= TIMED_BYTES:
            return [self.read(photo) for photo in self.photos]
        drawn: list[bytes] = []
        size = 0
        for photo in random.Random(SEED).sample(self.photos, len(self.photos)):
            data = self.read(photo)
            size += len(data)
            if drawn and size > TIMED_BYTES:
                break
            drawn.append(data)
        return drawn


def digest(photos: Iterable[tuple[str, str]]) -> str:
    """Return one hash for a set of photos, each given as its label's name and its file's SHA-256."""
    return jsonfile.digest({"photos": sorted(photos)})


def of_bundle(bundle: Bundle) -> PhotoSet:
    """Return the held-out photos of a bundle, in the order of its reference.

    Raises:
        InputError: The bundle's index does not fit it.
    """
    photos = tuple(replace(photo, file=photo.file.removeprefix(EVALSET)) for photo in bundle.photos())
    size_bytes = sum(bundle.files[photo.file].bytes for photo in bundle.photos())
    return PhotoSet(
        "bundle",
        bundle.path.name,
        bundle.labels,
        photos,
        lambda file: bundle.read(EVALSET + file),
        size_bytes,
        bundle.truth,
    )


def of_folder(folder: str | os.PathLike[str], bundle: Bundle) -> PhotoSet:
    """Return the photos of a labelled folder, each decoded once, so that a bad photo is found before the bench.

    Every file below a class folder is a photo, except hidden files and leftovers of file managers. A class may have no
    folder.

    Args:
        folder: ``DIR/<class>/photos``; photos may be in subfolders of a class.
        bundle: The bundle, for its labels and preprocessing.

    Raises:
        InputError: A folder is not named after a label, a photo is outside the class folders or cannot be read, or
            there are no photos.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root}: {'is a file' if root.exists() else 'no such folder'}", hint=_LAYOUT)
    folders, ignored, _ = children(root)
    labels = normal_names(bundle.labels)
    if unknown := [name for name in folders if normal(name) not in labels]:
        inside = next((name for name in unknown if set(map(normal, children(root / name).folders)) & set(labels)), "")
        raise InputError(
            f"{root}: {listed(unknown, most=8)}: not among the bundle's labels",
            why=f"its labels are {listed(bundle.labels, most=8)}",
            hint=f"Give {root / inside}." if inside else _LAYOUT,
        )
    if loose := [name for name in ignored if name.lower().endswith(PHOTO_SUFFIXES)]:
        raise InputError(f"{root}: photos outside the class folders: {listed(loose, most=8)}", hint=_LAYOUT)
    photos, bad, size_bytes = [], [], 0
    for name in folders:
        index = labels.index(normal(name))
        for path in files_below(root / name):
            file = path.relative_to(root).as_posix()
            data, fault = _read(path, file, bundle.preprocess)
            size_bytes += len(data)
            if fault:
                bad.append(f"{file} ({fault})")
            photos.append(EvalPhoto(file=file, index=index, sha256=sha256_bytes(data)))
    if bad:
        raise InputError(
            f"{root}: {len(bad)} of {len(photos)} photos cannot be read",
            why=listed(bad, most=8),
            hint="Replace or remove them.",
        )
    if not photos:
        raise InputError(f"{root}: has no photos in folders of the bundle's classes", hint=_LAYOUT)
    return PhotoSet(
        "folder", root.resolve().name, bundle.labels, tuple(photos), lambda file: read_photo(root / file), size_bytes
    )


def _read(path: Path, file: str, spec: Preprocess) -> tuple[bytes, str]:
    """Return the bytes of a file, and why it cannot be used as a photo, or ""."""
    if not is_utf8(file):
        return b"", "its name is not UTF-8"
    try:
        data = read_photo(path)
        preprocess(data, spec)
    except PhotoError as error:
        return b"", error.why if error.kind == "no_decoder" else error.kind.replace("_", " ")
    except OSError as error:
        return b"", error.strerror or "cannot be opened"
    return data, ""
