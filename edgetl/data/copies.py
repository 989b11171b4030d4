"""Decide about near-duplicates: which are dropped, which stay together in a split, and what the audit says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgetl.data.near_duplicates import near_duplicates
from edgetl.data.pixels import PhotoFacts, PixelCache

from .findings import AUDIT, finding
from .split import kept_together, most_held_out
from .types import Finding, FoundPhoto, Sample, Split

# With fewer pixels along a side there is nothing to tell a copy from a similar photo, such as two digits 1.
_SMALLEST_SIDE = 32
_HOW = "turned, mirrored, rescaled, recompressed or cropped"

Copies = list[list[FoundPhoto]]


def copies_among(
    photos: Sequence[FoundPhoto], pixels: PixelCache, kept: Mapping[str, Split]
) -> tuple[list[FoundPhoto], Copies, list[Finding]]:
    """Drop photos of which a near-duplicate is in a folder that is held out more.

    Args:
        photos: Readable photos, without identical ones.
        pixels: The decoded photos.
        kept: Splits that photos of earlier runs stay in; of their copies none is dropped, as they go there, too.

    Returns:
        The photos kept; groups of near-duplicates among them; findings.
    """
    large = [photo for photo in photos if _is_large(photo)]
    groups, alike = (
        [[large[place] for place in places] for places in found]
        for found in near_duplicates(pixels.thumbnails, pixels.rows(large))
    )
    dropped: dict[Split, Copies] = {"train": [], "val": []}
    gone: set[str] = set()
    for group in groups:
        if kept_together(group, kept):
            continue
        # What edgetl splits itself counts as training: it is dropped if a copy is in an evaluation folder.
        sides: dict[str, Split] = {photo.path: photo.folder or "train" for photo in group}
        stays = most_held_out(sides.values())
        for side, found in dropped.items():
            if side != stays and side in sides.values():
                found.append([photo for photo in group if sides[photo.path] in (side, stays)])
                gone |= {path for path, mine in sides.items() if mine == side}
    left_over = [photo for photo in photos if photo.path not in gone]
    left = [[photo for photo in group if photo.path not in gone] for group in groups]
    copies = [group for group in left if len(group) > 1]
    return left_over, copies, [*_leaks(dropped, gone), *_conflicts(groups), *_repeats(copies), *_alike(alike)]


def copy_groups(samples: Sequence[Sample], pixels: PixelCache) -> list[str]:
    """Return a name for each sample's group of near-duplicates; most are alone in theirs.

    Args:
        samples: Samples of a data set.
        pixels: Their decoded photos, of any size.
    """
    names = [sample.path for sample in samples]
    facts = [pixels.facts[sample.sha256] for sample in samples]
    large = [row for row, one in enumerate(facts) if isinstance(one, PhotoFacts) and _is_large(one)]
    groups, _ = near_duplicates(pixels.thumbnails, pixels.rows([samples[row] for row in large]))
    for places in groups:
        for place in places:
            names[large[place]] = samples[large[places[0]]].path
    return names


def _is_large(photo: FoundPhoto | PhotoFacts) -> bool:
    return min(photo.width, photo.height) >= _SMALLEST_SIDE


def _leaks(dropped: dict[Split, Copies], gone: set[str]) -> list[Finding]:
    found = []
    for side, groups in dropped.items():
        if not groups:
            continue
        count = sum(photo.path in gone and (photo.folder or "train") == side for group in groups for photo in group)
        places = "training and evaluation" if side == "train" else "validation and test"
        what = f"{_photos(count)} dropped from {'training' if side == 'train' else 'validation'}"
        message = f"{what}: the same photo, {_HOW}, is in {places}"
        found.append(finding(AUDIT, "near_leak", message, groups=_paths(groups)))
    return found


def _conflicts(groups: Copies) -> list[Finding]:
    mixed = [group for group in groups if len({photo.label for photo in group}) > 1]
    if not mixed:
        return []
    message = f"{_photos(len(mixed))} under two labels, {_HOW}"
    return [finding(AUDIT, "near_conflict", message, groups=_paths(mixed))]


def _repeats(copies: Copies) -> list[Finding]:
    if not copies:
        return []
    count = sum(map(len, copies))
    message = f"{_photos(count)} are {len(copies)}, {_HOW}: kept, together in one split"
    return [finding(AUDIT, "near_duplicate", message, groups=_paths(copies))]


def _alike(groups: Copies) -> list[Finding]:
    if not groups:
        return []
    photos = [photo for group in groups for photo in group]
    message = f"{_photos(len(photos))} look alike, too many to be copies of one: none is dropped, nor kept together"
    held_out = sum(len({photo.folder or "train" for photo in group}) > 1 for group in groups)
    if held_out:
        message += f"; in {held_out} of {len(groups)} groups they are in training and in evaluation folders"
    return [finding(AUDIT, "alike", message, [photo.path for photo in photos])]


def _paths(groups: Copies) -> list[tuple[str, ...]]:
    return sorted(tuple(photo.path for photo in group) for group in groups)


def _photos(count: int) -> str:
    return f"{count} photo{'' if count == 1 else 's'}"
