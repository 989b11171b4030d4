"""Select, decode and audit the calibration photos that set the activation ranges of an int8 model.

They come from the training split, stratified by class, or from a user's folder, never from held-out photos.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from edgetl.data import Finding, Sample, finding, stratified_sample
from edgetl.runs.directory import Run
from edgetl.runs.held_out import find_photos
from edgetl.runs.quantize_report import CalibrationAudit, CalibrationFile, CalibrationRecord, PixelRanges
from edgetl_device._lib.documents import Unknown
from edgetl_device.errors import InputError
from edgetl_device.text import listed

from .findings import CALIBRATION
from .own_photos import OwnPhoto, own_photos
from .without_photos import needs_calibration_photos

# With min-max ranges, 10 photos gave the same error as 500; bias correction needs more for its means.
FEW_PHOTOS = 10
# A few ordinary photos span nearly all of 0..255.
NARROW_SPAN = 192


class _Sample(Protocol):
    @property
    def label(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def sha256(self) -> str: ...


S = TypeVar("S", bound=_Sample)


@dataclass(frozen=True)
class CalibrationPhoto:
    """A calibration photo.

    ``path`` is relative to its folder and ``label`` is None in a flat folder. ``group`` is the digest of the decoded
    pixels, shared by identical photos in any format.
    """

    path: str
    label: str | None
    sha256: str
    group: str


@dataclass(frozen=True, eq=False)
class Calibration:
    """Calibration photos and their audit.

    Attributes:
        folder: Name of the user's folder; None for the training split.
        photos: The photos, in the order of ``pixels``.
        pixels: Decoded photos, uint8 [n, H, W, C].
        findings: Audit findings: ``few_photos``, ``repeated``, ``narrow_range``, ``missing_class``, ``unreadable``,
            ``not_all``.
        labels: Class names of the run.
    """

    folder: str | None
    photos: tuple[CalibrationPhoto, ...]
    pixels: npt.NDArray[np.uint8]
    findings: tuple[Finding, ...]
    labels: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Messages of all findings above severity ``info``."""
        return tuple(finding.message for finding in self.findings if finding.severity != "info")

    @property
    def record(self) -> CalibrationRecord:
        """Photos and audit, for documents that stay in the run directory."""
        count = Counter(photo.label for photo in self.photos)
        reach = [(int(channel.min()), int(channel.max())) for channel in np.moveaxis(self.pixels, -1, 0)]
        reach *= 3 // len(reach)  # grey is three equal channels
        return CalibrationRecord(
            split="train" if self.folder is None else None,
            folder=self.folder,
            photos=len(self.photos),
            audit=CalibrationAudit(
                unique=len({photo.group for photo in self.photos}),
                classes=Unknown("the folder has no class folders")
                if None in count
                else {label: count[label] for label in self.labels},
                pixel_range=PixelRanges(*reach),
                findings=self.findings,
            ),
            files=tuple(CalibrationFile(photo.path, photo.sha256) for photo in self.photos),
        )

    @property
    def record_without_names(self) -> CalibrationRecord:
        """The record with file hashes instead of paths, for bundles."""
        record = self.record
        findings = tuple(replace(finding, files=(), groups=()) for finding in record.audit.findings)
        return replace(
            record,
            audit=replace(record.audit, findings=findings),
            files=(),
            sha256=tuple(photo.sha256 for photo in self.photos),
        )


def calibration_photos(
    run: Run, *, count: int = 100, seed: int = 0, folder: Path | None = None, data: Path | None = None
) -> Calibration:
    """Select, decode and audit the calibration photos of a run.

    Args:
        run: A finished run.
        count: Maximum number of photos, at least 1.
        seed: Random seed of the selection.
        folder: A folder of photos to use instead of the training split, flat or with a folder per class.
        data: The data set's folder if it has moved since training.

    Raises:
        InputError: ``count`` is below 1, the training split is empty or its photos changed, or ``folder`` is missing
            or empty, has a class unknown to the run, or contains a validation or test photo (same file or same
            decoded pixels), or the run was imported without photos and no folder is given.
    """
    if folder is None and run.truth == "model":
        raise needs_calibration_photos(run)
    if folder is None:
        chosen = choose_calibration(run.samples, count=count, seed=seed)
        found = find_photos(run, chosen, data=data)
        photos = _listed(chosen)
        return Calibration(None, photos, found.pixels, audit(photos, found.pixels, run.labels), run.labels)
    _check_count(count)
    own = own_photos(run, folder)
    drawn = stratified_sample([photo for photo in own.photos if photo.first], count=count, seed=seed)
    photos = _listed(drawn)
    pixels = own.pixels.array[own.pixels.rows(drawn)]
    findings = (*own.findings, *audit(photos, pixels, run.labels))
    unused = sum(photo.first for photo in own.photos) - len(drawn)
    name = folder.resolve().name
    if unused:
        message = f"{unused} more in {name} not used: --calibration {count}"
        findings += (finding(CALIBRATION, "not_all", message),)
    return Calibration(name, photos, pixels, findings, run.labels)


def audit(
    photos: Sequence[CalibrationPhoto], pixels: npt.NDArray[np.uint8], labels: Sequence[str]
) -> tuple[Finding, ...]:
    """Audit calibration photos: too few, duplicates, missing classes, narrow pixel range.

    The input range never depends on the photos, as the converters always see 0 and 255
    (:func:`.conversion.tflite.calibration_inputs` puts them into corners). The ranges of all later layers do.

    Args:
        photos: At least one photo.
        pixels: Their pixels, uint8 [n, H, W, C].
        labels: Class names of the model.
    """
    findings = []
    unique = len({photo.group for photo in photos})
    if unique < FEW_PHOTOS:
        message = f"only {unique} different calibration photo{'s' * (unique != 1)}; {FEW_PHOTOS} or more are safer"
        findings.append(finding(CALIBRATION, "few_photos", message))
    if unique < len(photos):
        message = f"{len(photos) - unique} of {len(photos)} calibration photos are repeated"
        findings.append(finding(CALIBRATION, "repeated", message, _repeated(photos)))
    missing = [label for label in labels if label not in {photo.label for photo in photos}]
    if missing and all(photo.label is not None for photo in photos):
        findings.append(finding(CALIBRATION, "missing_class", f"no calibration photo of {listed(missing)}"))
    low, high = int(pixels.min()), int(pixels.max())
    if high - low < NARROW_SPAN:
        message = f"calibration photos cover pixel values {low} to {high} only: brighter or darker ones may saturate"
        findings.append(finding(CALIBRATION, "narrow_range", message))
    return tuple(findings)


def choose_calibration(samples: Iterable[S], *, count: int = 100, seed: int = 0) -> tuple[S, ...]:
    """Return a stratified sample of up to ``count`` training photos, balanced over the classes where possible.

    Photos of a class are ranked by a hash of content and ``seed``, so adding photos changes few of the choices and the
    order of ``samples`` does not matter. Classes alternate in the result: any prefix is stratified too.

    Args:
        samples: Photos of any split; only ``train`` is used.
        count: Maximum number of photos, at least 1.
        seed: Random seed of the selection.

    Raises:
        InputError: ``count`` is below 1, or no sample is in the training split.
    """
    _check_count(count)
    training = [sample for sample in samples if sample.split == "train"]
    if not training:
        raise InputError(
            "no calibration photos: the training split is empty",
            why="calibrating on the photos of the evaluation would make int8 look better than it is",
        )
    chosen = stratified_sample(training, count=count, seed=seed)
    _refuse_held_out(chosen)
    return chosen


def _listed(photos: Iterable[Sample | OwnPhoto]) -> tuple[CalibrationPhoto, ...]:
    return tuple(CalibrationPhoto(one.path, one.label, one.sha256, one.group) for one in photos)


def _check_count(count: int) -> None:
    if count < 1:
        raise InputError(f"{count} calibration photos", why="at least 1 is needed")


def _repeated(photos: Sequence[CalibrationPhoto]) -> tuple[str, ...]:
    count = Counter(photo.group for photo in photos)
    return tuple(photo.path for photo in photos if count[photo.group] > 1)


def _refuse_held_out(chosen: Iterable[_Sample]) -> None:
    # Double check: calibration must never see held-out photos.
    for sample in chosen:
        if sample.split != "train":
            raise AssertionError(f"calibration photo {sample.sha256} is from the {sample.split} split")
