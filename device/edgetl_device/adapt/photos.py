"""The photos of the class to teach: read, checked, and divided into shots and held-out photos."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgetl_device._lib.files import sha256_bytes
from edgetl_device.errors import EdgetlError, InputError, Unavailable, from_os_error
from edgetl_device.named_photos import named_photos
from edgetl_device.preprocess import PhotoError, Pixels, Preprocess, preprocess, read_photo

from .result import SetAside

# With more, training again is worth its time.
MOST = 1000
# Share of the photos that is held out at least.
HELD_OUT = 0.2


@dataclass(frozen=True, eq=False)
class Shot:
    """A photo of the class.

    Attributes:
        path: Its file.
        sha256: SHA-256 of the file.
        pixels: uint8 [S, S, 3].
    """

    path: Path
    sha256: str
    pixels: Pixels


@dataclass(frozen=True, eq=False)
class Given:
    """The photos of the class.

    Attributes:
        files: Number of files that were given.
        shots: To learn from, at least one.
        held_out: Not to learn from, at least one.
        set_aside: The others.
    """

    files: int
    shots: tuple[Shot, ...]
    held_out: tuple[Shot, ...]
    set_aside: tuple[SetAside, ...]


def digest_of(pixels: Pixels) -> str:
    """Return the SHA-256 of a photo's pixels, by which copies are found."""
    return sha256_bytes(pixels.tobytes())


def read_given(
    place: str,
    spec: Preprocess,
    label: str,
    held_out: Mapping[str, str],
    *,
    shots: int | None,
    say: Callable[[str], None],
) -> Given:
    """Read the photos below a folder, or those that a pattern names, and divide them by a hash of their pixels.

    Args:
        place: The folder or pattern.
        spec: Preprocessing of the bundle.
        label: The class.
        held_out: Label of each held-out photo of the bundle, by :func:`digest_of`.
        shots: Number of photos to learn from; None for all but those that have to be held out.
        say: Called with a line for each photo that is set aside.

    Raises:
        InputError: There are too few photos, or too many, or one is a held-out photo of another class.
        Unavailable: This machine cannot read them.
    """
    found: dict[str, Shot] = {}
    aside: list[SetAside] = []
    files = 0
    for photo in named_photos([place]):
        files += 1
        if files > MOST:
            raise InputError(f"{place}: more than {MOST} photos", hint="Train again with them: edgetl train.")
        name = Path(photo.name).name
        why = ""
        try:
            shot = _read(photo.source, photo.name, spec)
            digest = digest_of(shot.pixels)
            known = held_out.get(digest)
            if known is not None and known != label:
                raise _Contradiction(photo.name, known, label)
            if known is not None:
                why = "it is one of the bundle's held-out photos, which nothing may learn from"
            elif digest in found:
                why = f"it shows the same as {found[digest].path.name}"
            else:
                found[digest] = shot
        except _Contradiction:
            raise
        except (PhotoError, OSError) as error:
            known_error = from_os_error(error) if isinstance(error, OSError) else error
            if isinstance(known_error, Unavailable):
                raise known_error from None
            why = f"{known_error.why or known_error.what}"
        if why:
            aside.append(SetAside(name, why))
            say(f"set aside: {name}: {why}")
    return _divided(place, files, found, tuple(aside), shots)


class _Contradiction(InputError):
    def __init__(self, name: str, known: str, label: str) -> None:
        super().__init__(
            f"{name}: is a held-out photo of {known!r} in the bundle",
            why=f"it cannot be one of {label!r}, too",
            hint="Remove it from the photos.",
        )


def _read(source: str | bytes | EdgetlError, name: str, spec: Preprocess) -> Shot:
    if isinstance(source, EdgetlError):
        raise source
    if isinstance(source, bytes):
        raise InputError("photos from standard input", why="one photo teaches nothing", hint="Give a folder of photos.")
    data = read_photo(source)
    return Shot(Path(name), sha256_bytes(data), preprocess(data, spec))


def _divided(
    place: str, files: int, found: Mapping[str, Shot], aside: tuple[SetAside, ...], shots: int | None
) -> Given:
    count = len(found)
    least = max(1, math.ceil(HELD_OUT * count))
    wanted = count - least if shots is None else shots
    if count < 2 or wanted > count - least:
        needed = 2 if count < 2 else math.ceil(wanted / (1 - HELD_OUT))
        raise InputError(
            f"{place}: {count} usable {'photo' if count == 1 else 'photos'} of {files}",
            why="one is needed to learn from and another to check with"
            if count < 2
            else f"{wanted} shots leave fewer than a fifth to check with",
            hint=f"Give at least {needed}." + (f" Set aside: {aside[0].photo}: {aside[0].why}." if aside else ""),
        )
    # By a hash of the hash: the order has nothing to do with names, and the same photos divide the same way.
    order = sorted(found, key=lambda digest: hashlib.sha256(f"adapt {digest}".encode()).digest())
    photos = [found[digest] for digest in order]
    return Given(files, tuple(photos[:wanted]), tuple(photos[wanted:]), aside)
