"""Split photos by the hash of their pixels, class by class."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from edgetl_device.errors import InputError, OptionError

from .types import SPLITS, FoundPhoto, Sample, Split


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


def assign(
    photos: Iterable[FoundPhoto],
    *,
    seed: int,
    val: float,
    test: float,
    copies: Sequence[Sequence[FoundPhoto]] = (),
    kept: Mapping[str, Split] | None = None,
) -> dict[str, Split]:
    """Return the split of each photo by path.

    Photos in val and test folders stay there. Of the rest (flat layout, or a train folder), those whose
    :func:`position` is below ``test`` go to test, the next ``val`` to validation, the others to training. A split with
    its own folder gets none of them, and no test photos are taken from a train folder beside a val folder.

    So a photo's split depends only on the seed and its own pixels, and does not change when others are added or
    removed. The one exception: if a class has at least 3 distinct photos and a split would get none, it gets the photo
    nearest to its range (the lowest position), which may return when photos are added. A class of 1 or 2 photos always
    keeps one for training.

    Args:
        photos: All photos, without identical ones.
        seed: Seed of the split.
        val: Fraction for validation.
        test: Fraction for the test split.
        copies: Groups of near-duplicates among them. Each group goes where the largest of them would go, by its pixels,
            so that smaller copies of a photo do not move it. Under two labels, all go to the split that is held out
            most.
        kept: Splits that photos of earlier runs stay in, from :func:`kept_splits`, whatever folder they are in. Their
            copies go there, too.
    """
    photos = list(photos)
    folders = {photo.folder for photo in photos}
    if "val" in folders:
        val = test = 0.0
    elif "test" in folders:
        test = 0.0

    sides: dict[str, Split] = {photo.path: photo.folder for photo in photos if photo.folder in ("val", "test")}
    sides |= _kept_sides(photos, copies, kept or {})
    together = _together(copies)
    to_cut: dict[str, dict[str, float]] = defaultdict(dict)
    for photo in photos:
        if photo.path not in sides:
            group = together.get(photo.path, photo.group)
            to_cut[photo.label][group] = position(group, seed)
    cut = {label: _cut(positions, val=val, test=test) for label, positions in to_cut.items()}
    for photo in photos:
        if photo.path not in sides:
            sides[photo.path] = cut[photo.label][together.get(photo.path, photo.group)]
    for twins in copies:
        held_out = most_held_out(sides[photo.path] for photo in twins)
        sides.update({photo.path: held_out for photo in twins})
    return sides


def kept_splits(samples: Iterable[Sample]) -> dict[str, Split]:
    """Return the split of each photo of earlier runs, by the SHA-256 of its file and by the digest of its pixels.

    A photo that was in two splits counts as in the one that is held out less: what was trained on is not held out.
    """
    found: dict[str, Split] = {}
    for sample in samples:
        for key in (sample.sha256, sample.group):
            found[key] = least_held_out((sample.split, found.get(key, sample.split)))
    return found


def kept_where(photo: FoundPhoto | Sample, kept: Mapping[str, Split]) -> Split | None:
    """Return the split that a photo stays in; None if no earlier run had it."""
    found = [kept[key] for key in (photo.sha256, photo.group) if key in kept]
    return least_held_out(found) if found else None


def kept_together(copies: Sequence[FoundPhoto], kept: Mapping[str, Split]) -> Split | None:
    """Return the split that near-duplicates stay in together; None if no earlier run had any of them."""
    found = [split for photo in copies if (split := kept_where(photo, kept))]
    return least_held_out(found) if found else None


def least_held_out(sides: Iterable[Split]) -> Split:
    """Return train if it is among the splits, otherwise val, otherwise test."""
    return min(sides, key=SPLITS.index)


def most_held_out(sides: Iterable[Split]) -> Split:
    """Return test if it is among the splits, otherwise val, otherwise train."""
    return max(sides, key=SPLITS.index)


def _kept_sides(
    photos: Sequence[FoundPhoto], copies: Sequence[Sequence[FoundPhoto]], kept: Mapping[str, Split]
) -> dict[str, Split]:
    """Return the splits of photos of earlier runs and of their near-duplicates, by path."""
    found = {photo.path: split for photo in photos if (split := kept_where(photo, kept))}
    for group in copies:
        if split := kept_together(group, kept):
            found.update({photo.path: split for photo in group})
    return found


def _together(copies: Sequence[Sequence[FoundPhoto]]) -> dict[str, str]:
    """Return the digest that decides the split of each near-duplicate, by path."""
    found: dict[str, str] = {}
    for group in copies:
        first = max(group, key=lambda photo: (photo.width * photo.height, photo.group))
        found.update({photo.path: first.group for photo in group})
    return found


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
