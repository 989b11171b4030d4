"""The photos of the class to teach: read, checked, and divided into shots and held-out photos."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping
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
        digest: SHA-256 of the pixels, as :func:`digest_of`.
        pixels: uint8 [H, W, C].
    """

    path: Path
    sha256: str
    digest: str
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
    learned: Collection[str],
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
        learned: Digests of the photos that the bundle was taught with before: none of them is held out.
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
            known = held_out.get(shot.digest)
            if known is not None and known != label:
                raise _Contradiction(photo.name, known, label)
            if known is not None:
                why = "it is one of the bundle's held-out photos, which nothing may learn from"
            elif shot.digest in found:
                why = f"it shows the same as {found[shot.digest].path.name}"
            else:
                found[shot.digest] = shot
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
    return _divided(place, files, found, learned, aside, shots, say)


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
    pixels = preprocess(data, spec)
    return Shot(Path(name), sha256_bytes(data), digest_of(pixels), pixels)


def _divided(
    place: str,
    files: int,
    found: Mapping[str, Shot],
    learned: Collection[str],
    aside: list[SetAside],
    shots: int | None,
    say: Callable[[str], None],
) -> Given:
    # By a hash of the hash: the order has nothing to do with names, and the same photos divide the same way.
    order = sorted(found, key=lambda digest: hashlib.sha256(f"adapt {digest}".encode()).digest())
    before, new = ([found[digest] for digest in order if (digest in learned) is known] for known in (True, False))
    count, usable = len(found), [*before, *new]
    least = max(1, math.ceil(HELD_OUT * count))
    # Where most are known from before, all new ones are held out.
    wanted = max(count - least, len(before)) if shots is None else shots
    if not new or count < 2 or (shots is not None and wanted > count - least):
        raise _too_few(place, files, count, wanted, aside, new=bool(new))
    for shot in before[wanted:]:
        why = "the bundle has learned from it before, so it proves nothing"
        aside.append(SetAside(shot.path.name, why))
        say(f"set aside: {shot.path.name}: {why}")
    held_out = [shot for shot in usable[wanted:] if shot.digest not in learned]
    return Given(files, tuple(usable[:wanted]), tuple(held_out), tuple(aside))


def _too_few(place: str, files: int, count: int, wanted: int, aside: list[SetAside], *, new: bool) -> InputError:
    needed = 2 if count < 2 else math.ceil(wanted / (1 - HELD_OUT))
    why, hint = f"{wanted} shots leave fewer than a fifth to check with", f"Give at least {needed}."
    if count < 2:
        why = "one is needed to learn from and another to check with"
    elif not new:
        why, hint = "the bundle has learned from each before, and none is left to check with", "Give new ones, too."
    if aside:
        hint += f" Set aside: {aside[0].photo}: {aside[0].why}."
    return InputError(f"{place}: {count} usable {'photo' if count == 1 else 'photos'} of {files}", why=why, hint=hint)
