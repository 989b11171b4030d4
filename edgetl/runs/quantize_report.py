"""``quantize.json``: the variants of a run and their loss against the float model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from edgetl.data import Finding, Split
from edgetl_device._lib.documents import Count, Json, Milliseconds, Positive, Seconds, Sha256, Text, Unknown, optional
from edgetl_device.options import Value
from edgetl_device.scores import Accuracy, Agreement
from edgetl_device.truth import Truth
from edgetl_device.unknown import UnknownVariant

from .calibration_error import CalibrationError

DOCUMENT = "quantize.json"


@dataclass(frozen=True)
class PixelRanges:
    """Lowest and highest pixel value of each channel, 0..255; three times the same for grey."""

    red: tuple[int, int]
    green: tuple[int, int]
    blue: tuple[int, int]


@dataclass(frozen=True)
class CalibrationAudit:
    """Audit of calibration photos.

    Attributes:
        unique: Number of photos with distinct pixels.
        classes: Number of photos of each class.
        pixel_range: Lowest and highest pixel values.
        findings: Problems found with the photos.
    """

    unique: Count
    classes: dict[str, Count] | Unknown
    pixel_range: PixelRanges
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class CalibrationFile:
    """A calibration photo: path in the data set or folder, SHA-256 of the file."""

    path: str
    sha256: Sha256


@dataclass(frozen=True, kw_only=True)
class CalibrationRecord:
    """The calibration photos of an int8 model.

    Attributes:
        split: ``train``; absent for the user's own photos.
        folder: Name of the user's folder.
        photos: Number of photos.
        audit: Audit of the photos.
        files: List of the photos; only in quantize.json, which stays with the run.
        sha256: SHA-256 of each file, in order; only in bundles, which leave out the names.
    """

    split: Literal["train"] | None = optional()
    folder: str | None = optional()
    photos: Positive
    audit: CalibrationAudit
    files: tuple[CalibrationFile, ...] = optional(())
    sha256: tuple[Sha256, ...] = optional(())


@dataclass(frozen=True)
class HeldOut:
    """The photos used to score variants: split and number."""

    split: Split
    photos: Positive


@dataclass(frozen=True)
class VariantScores:
    """Scores of a bundle's variant on the held-out photos.

    Attributes:
        name: Name of the variant.
        format: ``tflite`` or ``onnx``.
        bytes: Size of the file in bytes.
        accuracy: Accuracy on the held-out photos.
        agreement: Agreement with the float model.
        sha256: SHA-256 of the file; absent in reports of edgetl 0.1.0 and earlier.
        calibration: Calibration error of its own probabilities; absent in reports of earlier versions, and for variants
            kept from one.
    """

    name: Text
    format: Text
    bytes: Positive
    accuracy: Accuracy
    agreement: Agreement
    sha256: Sha256 | None = optional()
    calibration: CalibrationError | None = optional()


@dataclass(frozen=True)
class CandidateVariant:
    """Scores of a candidate's variant on the validation photos.

    Attributes:
        name: Name of the variant.
        bytes: Size of the file in bytes.
        latency_ms: Median latency of one inference on one thread of the quantizing machine.
        accuracy: Accuracy on the validation photos.
        agreement: Agreement with the float model.
    """

    name: Text
    bytes: Positive
    latency_ms: Milliseconds
    accuracy: Accuracy
    agreement: Agreement


@dataclass(frozen=True)
class FloatControl:
    """Control of distillation: the same training without rounding."""

    accuracy: Accuracy
    agreement: Agreement


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A quantization candidate and its result.

    Attributes:
        name: ``plain``, ``repair``, ``float layers`` or ``distillation``; for an int8 file of the user, its name.
        repair: Repair steps applied before conversion.
        float_layers: Names of layers that stay float in TFLite.
        float_control: Control of distillation, trained without rounding.
        photos: Number of training photos for distillation.
        views: Number of augmented views of each photo for distillation.
        passed: Whether the target can run it and all variants are within the bounds.
        seconds: Duration in seconds.
        variants: Scores of the variants on the validation photos.
    """

    name: Text
    repair: str
    float_layers: tuple[str, ...]
    float_control: FloatControl | None = optional()
    photos: Count | None = optional()
    views: Count | None = optional()
    passed: bool
    seconds: Seconds
    variants: tuple[CandidateVariant, ...]


@dataclass(frozen=True)
class Candidates:
    """The search for int8 files within the bounds.

    Attributes:
        judged_on: Split used to select the candidate.
        taken: Name of the first candidate that passed; null if none did.
        tried: Candidates tried, in order of increasing cost.
    """

    judged_on: Literal["val"]
    taken: str | None
    tried: tuple[Candidate, ...]


@dataclass(frozen=True)
class TargetReport:
    """The deployment target.

    Attributes:
        name: Name of the target.
        incompatibility: Why the int8 TFLite file cannot run on the target; null if it can.
    """

    name: Text
    incompatibility: str | None


@dataclass(frozen=True)
class BoundWarning:
    """A warning about a bound.

    Attributes:
        kind: ``uncertain``: within the bound on the photos used for selection, but the 95% confidence interval exceeds
            it; ``missed``: outside the bound on the photos of the final score, which play no part in selection.
        variant: Name of the variant.
        split: Split of the photos.
        message: The warning as text, with value, interval and number of photos.
    """

    kind: Literal["uncertain", "missed"]
    variant: Text
    split: Split
    message: Text


def _from_version_1(document: Json) -> Json:
    """Rename ``ladder``, its ``rungs`` and the target's ``misfit``; nothing else changed since version 1."""
    found = dict(document)
    if isinstance(target := found.get("target"), dict) and "misfit" in target:
        found["target"] = {"name": target.get("name"), "incompatibility": target["misfit"]}
    candidates = found.pop("ladder", None)
    if isinstance(candidates, dict) and "rungs" in candidates:
        candidates = {key: value for key, value in candidates.items() if key != "rungs"} | {
            "tried": candidates["rungs"]
        }
    return found | {"candidates": candidates}


@dataclass(frozen=True)
class QuantizeReport:
    """The variants written for a run and their loss against the float model.

    Attributes:
        producer: Version of edgetl that wrote the file.
        config: Quantization options, by name.
        held_out: The photos used to score the variants.
        reference: Accuracy of the float model on these photos.
        variants: Scores of the variants.
        calibration: The calibration photos; null without int8 files that edgetl made.
        target: The deployment target.
        candidates: The search for int8 files within the bounds; null without bounds.
        warnings: Bounds that are uncertain with so few photos, or missed on the held-out photos.
        command: The command that wrote it, of each path the last part; absent in reports of earlier versions.
        unknown: How the variants tell unknown photos, of those that can.
        truth: What the photos are held against: their ``labels``, or, for pictures that edgetl drew, the answers of the
            original ``model``. Then nothing that is called accuracy here is one: it is agreement with the original.
    """

    SCHEMA: ClassVar[str] = "edgetl.quantize/2"
    OLDER: ClassVar[Mapping[str, Callable[[Json], Json]]] = {"edgetl.quantize/1": _from_version_1}

    producer: str
    config: dict[str, Value]
    held_out: HeldOut
    reference: Accuracy
    variants: tuple[VariantScores, ...]
    calibration: CalibrationRecord | None
    target: TargetReport
    candidates: Candidates | None
    warnings: tuple[BoundWarning, ...] = optional(())
    command: str | None = optional()
    unknown: tuple[UnknownVariant, ...] = optional(())
    truth: Truth = optional("labels")
