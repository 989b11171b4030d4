"""Load a data set: list, hash, decode, audit and split its photos, in this order."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Literal

from edgetl.data.pixels import PhotoFacts, Unreadable, decode_files, hash_files
from edgetl.data.readers.source import list_photos
from edgetl_device.errors import InputError, OptionError
from edgetl_device.preprocess import MAX_DEPTH_VALUE, Preprocess
from edgetl_device.text import listed

from . import audit
from .copies import copies_among
from .findings import AUDIT
from .split import assign, check_fractions
from .types import SPLITS, Dataset, Sample, Split

OnConflict = Literal["error", "drop"]


def load_dataset(
    root: str | os.PathLike[str],
    spec: Preprocess,
    *,
    seed: int = 0,
    val: float = 0.15,
    test: float = 0.15,
    on_conflict: OnConflict = "error",
    auto_depth: bool = False,
    kept: Mapping[str, Split] | None = None,
) -> Dataset:
    """Audit a data set of photos, decode it into the cache and split it.

    Layouts: ``root/<class>/*`` or ``root/{train,val|valid|validation,test}/<class>/*`` with any subset of the splits;
    a CSV; arrays in files (:func:`edgetl.data.readers.source.list_photos`).
    Files that cannot be read, all but one of identical photos, and photos of which a near-duplicate is held out by its
    folder are left out; ``findings`` lists them.

    Args:
        root: The folder or file.
        spec: How photos are decoded and fitted.
        seed: Seed of the split.
        val: Fraction for validation, where there is no folder for it; see :func:`edgetl.data.split.assign`.
        test: Fraction for the test split, in the flat layout and for a lone train folder.
        on_conflict: For a photo under two labels: raise an error, or drop all its copies.
        auto_depth: Set ``depth_range`` of the preprocessing to what the 16-bit greys of the training photos use.
        kept: Splits that photos of earlier runs stay in, from :func:`edgetl.data.kept_splits`.

    Raises:
        InputError: The data set is missing, is in no known form or has no readable photo, half of the photos of a class
            cannot be read, or a photo has two labels.
    """
    dataset = check_dataset(
        root, spec, seed=seed, val=val, test=test, on_conflict=on_conflict, auto_depth=auto_depth, kept=kept
    )
    for finding in dataset.findings:
        if finding.kind == "lost_class":
            raise InputError(
                f"{root}: photos of a class {finding.message}",
                why=f"such as {finding.files[0]}; a model of the rest would not know the class",
                hint=AUDIT[finding.kind].advice,
            )
        if finding.kind == "conflict" and finding.severity == "error":
            raise InputError(
                f"{root}: {finding.message}",
                why=f"such as {' = '.join(finding.groups[0])}",
                hint="Remove the wrong ones (`edgetl data check` lists all), or pass {on_conflict=}.",
                options={"on_conflict": "drop"},
            )
    return dataset


def check_dataset(
    root: str | os.PathLike[str],
    spec: Preprocess,
    *,
    seed: int = 0,
    val: float = 0.15,
    test: float = 0.15,
    on_conflict: OnConflict = "error",
    auto_depth: bool = False,
    kept: Mapping[str, Split] | None = None,
) -> Dataset:
    """Like :func:`load_dataset`, but report photos under two labels and lost classes as error findings, not raising.

    The samples contain none of their copies.
    """
    if on_conflict not in ("error", "drop"):
        raise OptionError("{on_conflict=}: must be error or drop", on_conflict=on_conflict)
    check_fractions(val, test)
    root = Path(root)
    files = list_photos(root)

    paths = [files.folder / file.path for file in files.files]
    hashes = hash_files(paths)
    by_hash = {sha256: path for sha256, path in zip(hashes, paths, strict=True) if isinstance(sha256, str)}
    if not by_hash:
        reason = next(hash_.why for hash_ in hashes if isinstance(hash_, Unreadable))
        raise InputError(f"{root}: none of its {len(paths)} files can be opened", why=reason)
    pixels = decode_files(by_hash, spec)

    photos, findings = audit.unreadable(files, hashes, pixels.facts)
    if not photos:
        raise InputError(
            f"{root}: none of its {len(paths)} files is a usable photo",
            why=f"{findings[0].message}, such as {findings[0].files[0]}",
            hint=AUDIT[findings[0].kind].advice,
        )
    photos, about_copies = audit.identical(photos, drop_conflicts=on_conflict == "drop")
    photos, copies, about_near = copies_among(photos, pixels, kept or {})
    sides = assign(photos, seed=seed, val=val, test=test, copies=copies, kept=kept)
    samples = tuple(Sample(photo.path, photo.label, sides[photo.path], photo.sha256, photo.group) for photo in photos)
    present = {sample.label for sample in samples}
    found = [*audit.small(photos), *audit.profiles(photos, pixels.facts), *audit.heif(photos, pixels.facts)]
    found += [*audit.lost(files, hashes, pixels.facts), *audit.moved(photos, sides)]
    if auto_depth:
        spec = replace(spec, depth_range=_depth_range(root, samples, pixels.facts))
        pixels = decode_files(by_hash, spec)
    elif spec.depth_range is None:
        found += audit.depth(photos, pixels.facts)
    return Dataset(
        root=root,
        folder=files.folder,
        labels=tuple(label for label in files.order or sorted(present) if label in present),
        samples=samples,
        findings=audit.in_order([*about_copies, *about_near, *findings, *found, *audit.classes(files, samples)]),
        pixels=pixels,
        spec=spec,
    )


def _depth_range(
    root: Path, samples: Sequence[Sample], facts: Mapping[str, PhotoFacts | Unreadable]
) -> tuple[int, int]:
    """Return the depth range of the training photos, or of all if there are none for training."""
    used = audit.depth_of([one for one in samples if one.split == "train"] or samples, facts)
    if used is None:
        raise InputError(
            f"{root}: has no depth range",
            why="none of its training photos is grey with more than 8 bits",
            hint="Leave out --depth-range.",
        )
    low, high = used
    return (low, high) if low < high else (max(0, low - 1), min(MAX_DEPTH_VALUE, low + 1))


def require_training(dataset: Dataset) -> None:
    """Refuse a data set that cannot train a classifier.

    Raises:
        InputError: It has no training photos, fewer than 2 classes, or a class without training photos.
    """
    counts = dataset.counts()
    if not any(count["train"] for count in counts.values()):
        there = ", ".join(split for split in SPLITS if dataset.of(split))
        what = f"{dataset.root}: has no training photos" + (f", only {there}" if there else "")
        if dropped := _dropped(dataset):
            raise _all_dropped(what, dropped)
        raise InputError(
            what,
            hint="Add a train folder, or put the class folders directly under it to have them split.",
        )
    if len(dataset.labels) < 2:
        what = f"{dataset.root}: has only one class, {dataset.labels[0]}"
        if dropped := [path for path in _dropped(dataset) if dataset.labels[0] not in Path(path).parts]:
            raise _all_dropped(what, dropped)
        raise InputError(
            what,
            why="a classifier needs at least two",
            hint="Add a folder with photos of something else.",
        )
    untrained = [label for label, count in counts.items() if not count["train"]]
    if untrained:
        what = f"{dataset.root}: no training photos of {', '.join(untrained)}"
        if dropped := [path for path in _dropped(dataset) if not set(untrained).isdisjoint(Path(path).parts)]:
            raise _all_dropped(what, dropped)
        raise InputError(
            what,
            why="there are photos of it for evaluation only" if len(untrained) == 1 else "only for evaluation",
            hint="Add training photos, or remove the class.",
        )


def _dropped(dataset: Dataset) -> list[str]:
    """Return the paths of photos that were dropped because a copy of each is held out more."""
    kept = {sample.path for sample in dataset.samples}
    leaks = [one for one in dataset.findings if one.kind in ("leak", "near_leak")]
    return sorted({path for one in leaks for path in chain(one.files, *one.groups)} - kept)


def _all_dropped(what: str, dropped: list[str]) -> InputError:
    count = f"{len(dropped)} photo{'s were' if len(dropped) > 1 else ' was'} dropped"
    return InputError(
        what,
        why=f"{count}, because copies are in folders for evaluation: {listed(dropped, most=3)}",
        hint="Keep each photo in one split only: remove its other copies. edgetl data check shows them in groups.",
    )
