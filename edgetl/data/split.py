"""Split photos by the hash of their pixels, class by class."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from edgetl_device.errors import InputError, OptionError

from .types import FoundPhoto, Split


def check_fractions(val: float, test: float) -> None:
    """Refuse fractions that leave no training photos.

    Raises:
        InputError: A fraction is outside 0..1, or their sum reaches 1.
    """
    for name, value in (("val", val), ("test", test)):
        if not 0 <= value < 1:
            raise InputError(
                f"{{{name}=}}: must be a fraction from 0 to below 1", hint="Try 0.15.", options={name: value}
            )
    if val + test >= 1:
        raise OptionError("{val=} with {test=}: nothing is left for training", val=val, test=test)


def position(group: str, seed: int) -> float:
    """Return a photo's position in 0..1: uniform, from its pixel digest and the seed alone."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(photos: Iterable[FoundPhoto], *, seed: int, val: float, test: float) -> dict[str, Split]:
    """Return the split of each photo by path.

    Photos in val and test folders stay there. Of the rest (flat layout, or a train folder), those whose
    :func:`position` is below ``test`` go to test, the next ``val`` to validation, the others to training. A split with
    its own folder gets none of them, and no test photos are taken from a train folder beside a val folder.

    So a photo's split depends only on the seed and its own pixels, and does not change when others are added or
    removed. The one exception: if a class has at least 3 distinct photos and a split would get none, it gets the photo
    nearest to its range (the lowest position), which may return when photos are added. A class of 1 or 2 photos always
    keeps one for training.
    """
    photos = list(photos)
    folders = {photo.folder for photo in photos}
    if "val" in folders:
        val = test = 0.0
    elif "test" in folders:
        test = 0.0

    sides: dict[str, Split] = {photo.path: photo.folder for photo in photos if photo.folder in ("val", "test")}
    to_cut: dict[str, dict[str, float]] = defaultdict(dict)
    for photo in photos:
        if photo.path not in sides:
            to_cut[photo.label][photo.group] = position(photo.group, seed)
    cut = {label: _cut(positions, val=val, test=test) for label, positions in to_cut.items()}
    return {photo.path: sides.get(photo.path) or cut[photo.label][photo.group] for photo in photos}


def _cut(positions: Mapping[str, float], *, val: float, test: float) -> dict[str, Split]:
    """Split one class: return where its test and validation parts end, in order of position."""
    groups = sorted(positions, key=lambda group: (positions[group], group))
    test_end = sum(positions[group] < test for group in groups)
    val_end = sum(positions[group] < test + val for group in groups)
    if len(groups) >= 3:
        test_end = max(test_end, 1) if test else 0
        val_end = max(val_end, test_end + 1) if val else test_end
    val_end = min(val_end, len(groups) - 1)
    test_end = min(test_end, val_end - 1 if val and len(groups) >= 3 else val_end)
    return {
        group: "test" if index < test_end else "val" if index < val_end else "train"
        for index, group in enumerate(groups)
    }
