"""Keep photos worth labelling: unknown, uncertain and random ones, few, small together, and unlike each other."""

from __future__ import annotations

import hashlib
import io
import random
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgetl_device._lib import documents
from edgetl_device._lib.documents import Count, Positive, Sha256, Share, Text, Time
from edgetl_device._lib.files import remove_file, sha256_file, sweep, write_bytes
from edgetl_device.classifier import PhotoLike
from edgetl_device.errors import InputError
from edgetl_device.photo_metadata import without_metadata
from edgetl_device.preprocess import Pixels, Preprocess, decode, image_of, preprocess, read_photo

from .record import Collected

Reason = Literal["unknown", "uncertain", "random"]
REASONS: tuple[Reason, ...] = ("unknown", "uncertain", "random")
PHOTOS, _INDEX = "photos", "photos.json"
# Where places of one reason are free, the other may use them.
_OTHER: dict[Reason, Reason] = {"unknown": "uncertain", "uncertain": "unknown", "random": "random"}
# The name has the beginning of the SHA-256, which proves whose file it is.
_NAME = re.compile(r"(unknown|uncertain|random)-([0-9a-f]{16})\.[a-z]{3,4}")
_SUFFIXES = {b"\xff\xd8": "jpg", b"\x89P": "png", b"RI": "webp", b"BM": "bmp"}
_QUALITY = 95
# One photo must not push many others out.
_LARGEST_SHARE = 0.25
_MAX_INDEX_BYTES = 16 << 20


@dataclass(frozen=True)
class Kept:
    """A photo that was kept.

    Attributes:
        file: Its name in ``photos``.
        sha256: SHA-256 of the file.
        bytes: Size of the file.
        reason: Why it was kept.
        hour: The hour in which it was taken.
        bundle: Digest of the bundle that classified it.
        label: The likeliest class.
        confidence: Its probability.
        unknown_score: Above 1, it is unknown; None if the bundle cannot tell.
        place: Coordinates by which its likeness to other photos is measured.
    """

    file: Text
    sha256: Sha256
    bytes: Positive
    reason: Reason
    hour: Time
    bundle: Sha256
    label: str
    confidence: Share
    unknown_score: float | None
    place: tuple[float, ...]


@dataclass(frozen=True)
class CollectionDocument:
    """The photos that a monitor has kept.

    Attributes:
        seen: Photos among which the random ones were drawn, since somebody took some of them away.
        photos: The photos.
    """

    SCHEMA: ClassVar[str] = "edgetl.monitor-photos/1"

    seen: Count
    photos: tuple[Kept, ...]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A photo that may be kept; the fields as of :class:`Kept`.

    Attributes:
        photo: The photo as it was classified.
        pixels: What of it was classified, uint8 [H, W, C]: its file may have another photo by now.
        spec: Preprocessing of the bundle.
    """

    photo: PhotoLike
    pixels: Pixels
    reason: Reason
    hour: str
    bundle: str
    spec: Preprocess
    label: str
    confidence: float
    unknown_score: float | None
    place: tuple[float, ...]


class Collection:
    """The photos in a folder, a third of them for each reason.

    A random photo is drawn uniformly from all photos that were seen since random ones were last taken away. Where one
    reason has its third, a photo takes the place of one of the two that are most alike, if it is farther from all
    others than these from each other.

    Args:
        folder: The folder of the monitor.
        most: Photos to keep at most, 1 or more.
        max_bytes: Size of their files at most.

    Attributes:
        removed: Photos that were removed because fewer are asked for than before.

    Raises:
        InputError: The list of photos is damaged, or missing while there are photos.
        OSError: The folder cannot be read or written to.
    """

    def __init__(self, folder: Path, most: int, max_bytes: int) -> None:
        self._folder, self._most, self._max_bytes = folder, most, max_bytes
        self._random = random.Random()
        self._seen, self._photos, self.removed = 0, dict[str, Kept](), 0
        (folder / PHOTOS).mkdir(exist_ok=True)
        if (folder / _INDEX).exists():
            found = documents.read(CollectionDocument, folder / _INDEX, max_bytes=_MAX_INDEX_BYTES)
            self._seen, self._photos = found.seen, {one.file: one for one in found.photos}
            self._look()
            self._sweep()
        elif any(_NAME.fullmatch(path.name) for path in (folder / PHOTOS).iterdir()):
            raise InputError(
                f"{folder}: has photos, and no {_INDEX} that lists them", hint=f"Move {PHOTOS} away, or {_INDEX} back."
            )
        else:
            # From now on, a photo that is not listed is what a kill left.
            self.save()
        while self._photos and (len(self._photos) > most or self._bytes() > max_bytes):
            self._remove(self._random.choice(self._of(self._commonest())))
            self.removed += 1

    def drawn(self) -> bool:
        """Count a photo, and return whether it is one of the random ones."""
        self._seen += 1
        return self._random.random() * self._seen < self._quota("random")

    def add(self, candidate: Candidate) -> bool:
        """Keep a photo if there is reason to, and return whether it was kept.

        Raises:
            EdgetlError: The photo cannot be read again, or its metadata not be removed.
            OSError: It cannot be read or written.
        """
        if not np.isfinite(candidate.place).all():
            raise InputError(
                "the photo", why="its features are not finite, so that its likeness to others is not known"
            )
        self._look()
        of_reason, replaced = self._of(candidate.reason), list[Kept]()
        if self._is_full(candidate.reason):
            # Another reason may have used places that this one did not need so far.
            own = len(of_reason) >= self._quota(candidate.reason)
            found = self._to_replace(candidate, of_reason if own else self._of(_OTHER[candidate.reason]), swap=not own)
            if found is None:
                return False
            replaced.append(found)
        data = _bytes_of(candidate)
        sha256 = hashlib.sha256(data).hexdigest()
        name = f"{candidate.reason}-{sha256[:16]}.{_SUFFIXES.get(data[:2], 'png')}"
        if any(one.sha256 == sha256 for one in self._photos.values()):
            return False
        if len(data) > self._max_bytes * _LARGEST_SHARE:
            return False
        others = [one for one in self._of(self._commonest()) if one not in replaced]
        while self._bytes() - sum(one.bytes for one in replaced) + len(data) > self._max_bytes:
            if not others:
                return False
            replaced.append(others.pop(self._random.randrange(len(others))))
        write_bytes(self._folder / PHOTOS / name, data)
        for one in replaced:
            del self._photos[one.file]
        self._photos[name] = Kept(
            file=name,
            sha256=sha256,
            bytes=len(data),
            reason=candidate.reason,
            hour=candidate.hour,
            bundle=candidate.bundle,
            label=candidate.label,
            confidence=candidate.confidence,
            unknown_score=candidate.unknown_score,
            place=candidate.place,
        )
        # Listed before others go: a kill in between leaves photos that are not listed, which the next start removes.
        self.save()
        for one in replaced:
            self._remove_file(one)
        return True

    def save(self) -> None:
        """Write the list of photos; raises OSError."""
        documents.write(self._folder / _INDEX, CollectionDocument(self._seen, tuple(self._photos.values())))

    def summary(self) -> Collected:
        """Return the numbers of photos."""
        counts = Counter(one.reason for one in self._photos.values())
        return Collected({reason: counts[reason] for reason in REASONS}, self._bytes())

    def _look(self) -> None:
        """Forget photos that somebody took away, which is what they are for."""
        there = {name: one for name, one in self._photos.items() if self._is_there(one)}
        if any(one.reason == "random" for name, one in self._photos.items() if name not in there):
            # What is left says nothing of the photos before.
            self._seen = sum(one.reason == "random" for one in there.values())
        self._photos = there

    def _quota(self, reason: Reason) -> int:
        """Return the number of photos for a reason; the random ones get what a third leaves over."""
        third = self._most // 3
        return self._most - 2 * third if reason == "random" else third

    def _is_full(self, reason: Reason) -> bool:
        """Whether there is no place for a photo; unknown and uncertain ones share theirs."""
        reasons = {reason, _OTHER[reason]}
        return sum(len(self._of(one)) for one in reasons) >= sum(map(self._quota, reasons))

    def _of(self, reason: Reason) -> list[Kept]:
        return [one for one in self._photos.values() if one.reason == reason]

    def _commonest(self) -> Reason:
        return Counter(one.reason for one in self._photos.values()).most_common(1)[0][0] if self._photos else "random"

    def _bytes(self) -> int:
        return sum(one.bytes for one in self._photos.values())

    def _to_replace(self, candidate: Candidate, kept: list[Kept], *, swap: bool) -> Kept | None:
        """Return the photo that a candidate replaces, if any; with ``swap`` it comes in any case."""
        if not kept:
            return None
        if candidate.reason == "random":
            return kept[self._random.randrange(len(kept))]
        place = np.array(candidate.place)
        # A bundle with another feature bank measures elsewhere: its photos are the first to go.
        foreign = [one for one in kept if len(one.place) != len(place) or one.bundle != candidate.bundle]
        if foreign:
            return foreign[0]
        places = np.array([one.place for one in kept])
        between = _distances(places, places) + np.diag(np.full(len(kept), np.inf))
        closest = int(between.min(axis=1).argmin())
        own = _distances(place[None], places)[0]
        if not swap and len(kept) > 1 and own.min() <= between[closest].min():
            return None
        return kept[closest]

    def _is_there(self, one: Kept) -> bool:
        path = self._folder / PHOTOS / one.file
        return _NAME.fullmatch(one.file) is not None and not path.is_symlink() and path.is_file()

    def _remove(self, one: Kept) -> None:
        del self._photos[one.file]
        self._remove_file(one)

    def _remove_file(self, one: Kept) -> None:
        path = self._folder / PHOTOS / one.file
        if self._is_there(one) and sha256_file(path) == one.sha256:
            remove_file(path)

    def _sweep(self) -> None:
        """Remove photos that were written but not listed, when the process was killed in between."""
        place = self._folder / PHOTOS
        sweep(place)
        for path in place.iterdir():
            found = _NAME.fullmatch(path.name)
            if found is None or path.name in self._photos or path.is_symlink() or not path.is_file():
                continue
            with suppress(OSError):
                if sha256_file(path).startswith(found[2]):
                    remove_file(path)


def frozen(photo: PhotoLike) -> PhotoLike:
    """Return a photo that its owner cannot change any more."""
    if isinstance(photo, np.ndarray | Image.Image):
        return photo.copy()
    return photo


def _bytes_of(candidate: Candidate) -> bytes:
    """Return a photo as a file without metadata: its own bytes if it has any."""
    photo = candidate.photo
    if isinstance(photo, np.ndarray):
        photo = image_of(photo)
    if isinstance(photo, Image.Image):
        stream = io.BytesIO()
        upright = decode(photo, candidate.spec)
        profile = upright.info.get("icc_profile")
        upright.save(stream, "JPEG", quality=_QUALITY, subsampling=0, exif=b"", icc_profile=profile)
        photo = stream.getvalue()
    data = photo if isinstance(photo, bytes) else read_photo(photo)
    if not isinstance(photo, bytes) and not np.array_equal(preprocess(data, candidate.spec), candidate.pixels):
        raise InputError("the photo", why="its file has another one by now")
    return without_metadata(data, candidate.spec, name="the photo")[0]


def _distances(some: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    squares = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)[None] - 2 * some @ others.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)))
