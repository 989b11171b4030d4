"""Audit a data set: unreadable photos, duplicates, leaks, conflicts, small and unbalanced classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from edgetl.data.pixels import PhotoFacts, Unreadable
from edgetl.data.readers.folders import Scan
from edgetl_device._lib.folders import PHOTO_SUFFIXES
from edgetl_device.decoding.heif import INSTALL
from edgetl_device.preprocess import MAX_DEPTH_VALUE
from edgetl_device.reasons import Severity
from edgetl_device.text import listed

from .findings import AUDIT, finding
from .types import SPLITS, Finding, FoundPhoto, Sample, Split

SMALLEST_SIDE = 32
FEWEST_PHOTOS = 5
# At this ratio the smaller of two classes has 20% of the photos: the boundary between "mild" and "moderate" imbalance
# in Google's machine learning crash course, "Datasets: Imbalanced datasets".
IMBALANCE_RATIO = 4
# 14 bits of 16.
NARROW_DEPTH = 1 << 14
DepthRange = tuple[int, int]

_LEFT_OUT = {
    "empty": "zero bytes",
    "not_image": "not an image edgetl reads (JPEG, PNG, WebP, BMP, TIFF, GIF, HEIC, AVIF)",
    "no_decoder": f"HEIC or AVIF, and no decoder for it here; {INSTALL}",
    "truncated": "truncated or damaged",
    "too_large": "too many pixels to decode",
    "no_pixels": "no pixels",
    "unsupported": "unsupported pixel format",
    "pointer": "pointers of Git LFS or git-annex instead of photos; fetch them (git lfs pull, git annex get)",
    "no_access": "cannot be opened (permission, broken link, device, or a name that is not UTF-8)",
}
_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


def unreadable(
    scan: Scan, hashes: Sequence[str | Unreadable], facts: Mapping[str, PhotoFacts | Unreadable]
) -> tuple[list[FoundPhoto], list[Finding]]:
    """Keep the photos that could be decoded; one finding for each reason why others could not.

    Args:
        scan: The files found.
        hashes: Their SHA-256, in order, or why they could not be read.
        facts: Results of decoding, by SHA-256.
    """
    photos: list[FoundPhoto] = []
    left_out: dict[str, list[str]] = defaultdict(list)
    for file, sha256 in zip(scan.files, hashes, strict=True):
        fact = sha256 if isinstance(sha256, Unreadable) else facts[sha256]
        if isinstance(sha256, str) and isinstance(fact, PhotoFacts):
            photos.append(FoundPhoto(file.path, file.label, file.folder, sha256, fact.digest, fact.width, fact.height))
        elif isinstance(fact, Unreadable):
            left_out[fact.kind].append(file.path)
    left_out["no_access"] += scan.unreadable
    found = [
        finding(AUDIT, kind, f"{_files(len(paths))} left out: {_LEFT_OUT.get(kind, kind)}", tuple(sorted(paths)))
        for kind, paths in sorted(left_out.items())
        if paths
    ]
    if scan.masks:
        count = len(scan.masks)
        message = f"{_files(count)} left out: named like {'masks' if count > 1 else 'the mask'} of photos beside them"
        found.append(finding(AUDIT, "mask", message, scan.masks))
    if scan.base:
        found.append(finding(AUDIT, "wrapped", f"the classes are in {scan.base}, the only folder with photos"))
    if scan.ignored:
        found.append(finding(AUDIT, "stray", f"{_files(len(scan.ignored))} of no class, ignored", scan.ignored))
    return photos, found


def lost(scan: Scan, hashes: Sequence[str | Unreadable], facts: Mapping[str, PhotoFacts | Unreadable]) -> list[Finding]:
    """Find classes that would be lost or be another one: at most half of their photos can be read.

    Files of other kinds, such as notes, do not count.

    Args:
        scan: The files found.
        hashes: Their SHA-256, in order, or why they could not be read.
        facts: Results of decoding, by SHA-256.
    """
    everything: Counter[str] = Counter()
    failed: dict[str, Counter[str]] = defaultdict(Counter)
    paths: list[str] = []
    for file, sha256 in zip(scan.files, hashes, strict=True):
        fact = sha256 if isinstance(sha256, Unreadable) else facts[sha256]
        if isinstance(fact, PhotoFacts):
            everything[file.label] += 1
        elif file.path.lower().endswith(PHOTO_SUFFIXES):
            everything[file.label] += 1
            failed[file.label][fact.kind] += 1
            paths.append(file.path)
    gone = {label for label, kinds in failed.items() if 2 * kinds.total() >= everything[label]}
    if not gone:
        return []
    parts = []
    for label in sorted(gone):
        kind, _ = failed[label].most_common()[0]
        parts.append(f"{failed[label].total()} of {_photos(everything[label])} of {label} ({_LEFT_OUT[kind]})")
    of_gone = {file.path for file in scan.files if file.label in gone}
    listed = sorted(path for path in paths if path in of_gone)
    return [finding(AUDIT, "lost_class", f"cannot be read: {', '.join(parts)}", listed)]


def heif(photos: Sequence[FoundPhoto], facts: Mapping[str, PhotoFacts | Unreadable]) -> list[Finding]:
    """Find photos in formats that a board may not be able to read."""
    found = [one.path for one in photos if isinstance(fact := facts[one.sha256], PhotoFacts) and fact.container]
    if not found:
        return []
    message = f"{_photos(len(found))} in HEIC or AVIF: a board that is given such photos needs edgetl-device[heif]"
    return [finding(AUDIT, "heif", f"{message}; held-out photos become PNG in bundles", found)]


def identical(photos: Sequence[FoundPhoto], *, drop_conflicts: bool) -> tuple[list[FoundPhoto], list[Finding]]:
    """Keep one of each set of identical photos, so that no photo leaks between splits.

    Under two labels none is kept; across training and evaluation folders the evaluation copy; across val and test
    folders the test copy; within one split the first by path.
    """
    by_group: dict[str, list[FoundPhoto]] = defaultdict(list)
    for photo in photos:
        by_group[photo.group].append(photo)

    kept: list[FoundPhoto] = []
    conflicts: list[list[FoundPhoto]] = []
    leaks: dict[Split, list[list[FoundPhoto]]] = {"train": [], "val": []}
    repeats: dict[str, list[list[FoundPhoto]]] = {"duplicate_file": [], "duplicate_pixels": []}
    for copies in by_group.values():
        if len({photo.label for photo in copies}) > 1:
            conflicts.append(copies)
            continue
        by_folder: dict[Split | None, list[FoundPhoto]] = defaultdict(list)
        for photo in copies:
            by_folder[photo.folder].append(photo)
        stays = next(folder for folder in ("test", "val", "train", None) if folder in by_folder)
        for folder in ("train", "val"):
            if folder in by_folder and folder != stays:
                leaks[folder].append(by_folder[folder] + by_folder[stays])
        same_place = by_folder[stays]
        kept.append(same_place[0])
        if len(same_place) > 1:
            same_bytes = len({photo.sha256 for photo in same_place}) == 1
            repeats["duplicate_file" if same_bytes else "duplicate_pixels"].append(same_place)

    found = [_conflict(conflicts, drop_conflicts)] if conflicts else []
    for folder, groups in leaks.items():
        if groups:
            sides = "training and evaluation" if folder == "train" else "validation and test"
            count = sum(photo.folder == folder for group in groups for photo in group)
            dropped = f"{_photos(count)} dropped from {'training' if folder == 'train' else 'validation'}"
            found.append(finding(AUDIT, "leak", f"{dropped}: the same photo is in {sides}", groups=_sorted(groups)))
    for kind, groups in repeats.items():
        if groups:
            count = sum(len(group) - 1 for group in groups)
            what = "the same file" if kind == "duplicate_file" else "the same pixels in another file"
            message = f"{_photos(count)} dropped: {what}; the first is kept"
            found.append(finding(AUDIT, kind, message, groups=_sorted(groups)))
    return sorted(kept, key=lambda photo: photo.path), found


def profiles(photos: Sequence[FoundPhoto], facts: Mapping[str, PhotoFacts | Unreadable]) -> list[Finding]:
    """Find photos whose colour profile cannot be used."""
    why = {photo.path: fact.broken_profile for photo in photos if isinstance(fact := facts[photo.sha256], PhotoFacts)}
    broken = sorted(path for path, reason in why.items() if reason)
    if not broken:
        return []
    message = f"{_photos(len(broken))} with a colour profile that cannot be used ({why[broken[0]]}): taken for sRGB"
    return [finding(AUDIT, "broken_profile", message, broken)]


def depth_of(photos: Sequence[FoundPhoto | Sample], facts: Mapping[str, PhotoFacts | Unreadable]) -> DepthRange | None:
    """Return the darkest and the brightest value in photos of greys of more than 8 bits; None without any."""
    found = [fact.depth for photo in photos if isinstance(fact := facts[photo.sha256], PhotoFacts) and fact.depth]
    if not found:
        return None
    return min(low for low, _ in found), max(high for _, high in found)


def depth(photos: Sequence[FoundPhoto], facts: Mapping[str, PhotoFacts | Unreadable]) -> list[Finding]:
    """Find 16-bit greys of which the upper 8 bits hold little, such as those of sensors of 10, 12 or 14 bits."""
    used = depth_of(photos, facts)
    if used is None or used[1] - used[0] > NARROW_DEPTH:
        return []
    wide = [photo.path for photo in photos if isinstance(fact := facts[photo.sha256], PhotoFacts) and fact.depth]
    message = f"{_photos(len(wide))} of 16-bit grey use {used[0]}..{used[1]} of 0..{MAX_DEPTH_VALUE}"
    return [finding(AUDIT, "narrow_depth", f"{message}; --depth-range stretches that to the model's 0..255", wide)]


def small(photos: Sequence[FoundPhoto]) -> list[Finding]:
    """Find photos with a side under 32 pixels, such as thumbnails, icons or digits.

    If all photos are small, the finding does not list them.
    """
    paths = tuple(photo.path for photo in photos if min(photo.width, photo.height) < SMALLEST_SIDE)
    if not paths:
        return []
    what = f"smaller than {SMALLEST_SIDE} px: enlarged to the model's input, which adds no detail"
    if len(paths) < len(photos):
        return [finding(AUDIT, "small", f"{_photos(len(paths))} {what}", paths)]
    return [finding(AUDIT, "small", f"all {_photos(len(paths))} {what}")]


def moved(photos: Sequence[FoundPhoto], sides: Mapping[str, Split]) -> list[Finding]:
    """Find photos that stay in the split that an earlier run had them in, though their folder says another.

    Args:
        photos: The photos, of which some may be in split folders.
        sides: The split of each, by path.
    """
    folders = {photo.folder for photo in photos}
    # Of a train folder edgetl takes the splits that have no folder.
    found = [
        photo
        for photo in photos
        if photo.folder and photo.folder != (side := sides[photo.path]) and (photo.folder != "train" or side in folders)
    ]
    if not found:
        return []
    by_side = Counter(sides[photo.path] for photo in found)
    where = ", ".join(f"{by_side[split]} in {split}" for split in SPLITS if by_side[split])
    message = f"{_photos(len(found))} in another split than their folder says, as in the run before: {where}"
    return [finding(AUDIT, "kept_split", message, [photo.path for photo in found])]


def classes(scan: Scan, samples: Sequence[Sample]) -> list[Finding]:
    """Find classes that are empty, small or imbalanced, a single class, and classes missing from a split."""
    found: list[Finding] = []
    present = {sample.label for sample in samples}
    missing = sorted({label for labels in scan.classes.values() for label in labels} - present)
    if missing:
        found.append(finding(AUDIT, "empty_class", f"left out, no usable photo in: {listed(missing)}"))
    if len(scan.classes) > 1:
        found += _class_mismatch(scan, samples)

    totals = Counter(sample.label for sample in samples)
    few = [f"{label} ({count})" for label, count in sorted(totals.items()) if count < FEWEST_PHOTOS]
    if few:
        found.append(finding(AUDIT, "few_photos", f"fewer than {FEWEST_PHOTOS} photos in: {listed(few)}"))

    training = Counter(sample.label for sample in samples if sample.split == "train")
    if len(training) == 1 and len(present) == 1:
        found.append(finding(AUDIT, "one_class", f"only one class, {next(iter(training))}: a classifier needs two"))
    elif training:
        (most, largest), (least, smallest) = training.most_common()[0], training.most_common()[-1]
        if largest > IMBALANCE_RATIO * smallest:
            message = f"imbalance: {largest} training photos of {most}, {smallest} of {least}"
            found.append(finding(AUDIT, "imbalance", f"{message} (over {IMBALANCE_RATIO} to 1)"))
    return found


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings with errors first, otherwise as they came."""
    return tuple(sorted(findings, key=lambda finding: _SEVERITIES.index(finding.severity)))


def _conflict(groups: list[list[FoundPhoto]], drop: bool) -> Finding:
    what = f"{_photos(len(groups))} under two labels"
    if drop:
        return finding(AUDIT, "conflict", f"{what}; all copies dropped", groups=_sorted(groups), severity="warning")
    return finding(AUDIT, "conflict", what, groups=_sorted(groups))


def _class_mismatch(scan: Scan, samples: Sequence[Sample]) -> list[Finding]:
    folder_of = {file.path: file.folder for file in scan.files}
    have: dict[Split | None, set[str]] = {folder: set() for folder in scan.classes}
    for sample in samples:
        have[folder_of[sample.path]].add(sample.label)
    everything = set().union(*have.values())
    lacks = [
        f"{folder} lacks {listed(sorted(everything - labels))}"
        for folder, labels in have.items()
        if labels != everything
    ]
    if not lacks:
        return []
    return [finding(AUDIT, "class_mismatch", f"classes differ between the split folders: {'; '.join(lacks)}")]


def _sorted(groups: list[list[FoundPhoto]]) -> list[tuple[str, ...]]:
    return sorted(tuple(photo.path for photo in group) for group in groups)


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def _photos(count: int) -> str:
    return f"{count} photo{'' if count == 1 else 's'}"
