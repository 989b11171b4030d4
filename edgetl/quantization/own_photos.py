"""List and decode a user's folder of calibration photos, and check it against the held-out photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgetl.data import Finding, finding
from edgetl.data.pixels import PhotoFacts, PixelCache, Unreadable, decode_files, hash_files
from edgetl.data.readers.folders import class_files, class_names
from edgetl.runs.directory import Run
from edgetl_device._lib.folders import children
from edgetl_device.errors import InputError
from edgetl_device.text import listed, normal_names

from .findings import CALIBRATION

_LAYOUT = "Give a folder of photos, or of class folders with photos."


@dataclass(frozen=True)
class OwnPhoto:
    """A readable photo in the folder.

    Attributes:
        path: Path relative to the folder, with ``/``.
        label: Name of the class folder; None in a flat folder.
        sha256: SHA-256 of the file.
        group: Digest of the decoded pixels.
        first: Whether it is the first by path among photos with the same pixels.
    """

    path: str
    label: str | None
    sha256: str
    group: str
    first: bool


@dataclass(frozen=True)
class OwnPhotos:
    """The readable photos of a folder, sorted by path, with pixels and findings."""

    photos: tuple[OwnPhoto, ...]
    pixels: PixelCache
    findings: tuple[Finding, ...]


def own_photos(run: Run, folder: Path) -> OwnPhotos:
    """List and decode a folder of calibration photos.

    Args:
        run: The run to calibrate.
        folder: ``folder/*`` or ``folder/<class>/*`` with classes of the run.

    Raises:
        InputError: The folder is missing or empty, has a class unknown to the run, has no readable photo, or contains
            a validation or test photo (same file or same decoded pixels).
    """
    files = _listed(run, folder)
    hashes = hash_files([folder / path for path in files])
    known = {sha256: folder / path for path, sha256 in zip(files, hashes, strict=True) if isinstance(sha256, str)}
    if not known:
        raise InputError(f"{folder}: none of its {len(files)} files can be opened", hint="Check the permissions.")
    pixels = decode_files(known, run.preprocess)
    photos: list[OwnPhoto] = []
    unreadable: dict[str, str] = {}
    seen = set()
    for (path, label), sha256 in zip(files.items(), hashes, strict=True):
        fact = sha256 if isinstance(sha256, Unreadable) else pixels.facts[sha256]
        if isinstance(sha256, str) and isinstance(fact, PhotoFacts):
            photos.append(OwnPhoto(path, label, sha256, fact.digest, fact.digest not in seen))
            seen.add(fact.digest)
        elif isinstance(fact, Unreadable):
            unreadable[path] = fact.why
    if not photos:
        why = next(iter(unreadable.values()))
        raise InputError(f"{folder}: none of its {len(files)} files is a usable photo", why=why, hint=_LAYOUT)
    _refuse_held_out(run, folder, photos)
    repeated = tuple(photo.path for photo in photos if not photo.first)
    findings, name = [], folder.resolve().name
    if unreadable:
        message = f"{len(unreadable)} of {len(files)} files in {name} left out: not readable as photos"
        if first := next(filter(None, unreadable.values()), ""):
            message += f" ({first})"
        findings.append(finding(CALIBRATION, "unreadable", message, tuple(unreadable)))
    if repeated:
        message = f"{len(repeated)} of {len(photos)} photos in {name} left out: the same pixels as another"
        findings.append(finding(CALIBRATION, "repeated", message, repeated))
    return OwnPhotos(tuple(photos), pixels, tuple(findings))


def _listed(run: Run, folder: Path) -> dict[str, str | None]:
    """Map each file's path in the folder to its class, sorted by path."""
    if not folder.is_dir():
        what = "is a file, not a folder of photos" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {what}", hint=_LAYOUT)
    folders, loose, _ = children(folder)
    if not folders and not loose:
        raise InputError(f"{folder}: is empty", hint=_LAYOUT)
    if not folders:
        return dict.fromkeys(name for name in loose if (folder / name).is_file())
    known = dict(zip(normal_names(run.labels), run.labels, strict=True))
    classes = class_names(folder, folders)
    unknown = [name for label, name in classes.items() if label not in known]
    if unknown:
        raise InputError(
            f"{folder / unknown[0]}: is not a class of this model",
            why=f"its classes are {listed(run.labels)}",
            hint="Rename the folder, or put all photos into one folder without classes.",
        )
    if loose:
        raise InputError(f"{folder}: has photos beside class folders, such as {loose[0]}", hint=_LAYOUT)
    found = {path: known[label] for label, name in classes.items() for path in class_files(folder, folder / name)[0]}
    if not found:
        raise InputError(f"{folder}: has no photos in its class folders", hint=_LAYOUT)
    return dict(sorted(found.items()))


def _refuse_held_out(run: Run, folder: Path, photos: list[OwnPhoto]) -> None:
    scored = [sample for sample in run.samples if sample.split != "train"]
    by_file = {sample.sha256: sample for sample in scored}
    by_pixels = {sample.group: sample for sample in scored}
    for photo in photos:
        same = by_file.get(photo.sha256) or by_pixels.get(photo.group)
        if same is not None:
            how = "the same file" if photo.sha256 == same.sha256 else "the same pixels"
            raise InputError(
                f"{folder / photo.path}: is {same.path} of the {same.split} split ({how})",
                why="calibrating on the photos of the evaluation would make int8 look better than it is",
                hint="Remove it from the folder.",
            )
