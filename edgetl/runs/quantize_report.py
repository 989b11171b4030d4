"""``quantize.json``: the variants of a run and what they lost against the float model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from edgetl.data import Finding, Split
from edgetl_device.documents import Count, Json, Milliseconds, Positive, Seconds, Sha256, Text, Unknown, optional
from edgetl_device.options import Value
from edgetl_device.scores import Accuracy, Agreement

DOCUMENT = "quantize.json"


@dataclass(frozen=True)
class PixelRanges:
    """Lowest and highest value of each channel, 0..255."""

    red: tuple[int, int]
    green: tuple[int, int]
    blue: tuple[int, int]


@dataclass(frozen=True)
class CalibrationAudit:
    """Audit of calibration photos.

    Attributes:
        unique: Number of photos without duplicates of the same pixels.
        classes: How many there are of each class.
        pixel_range: Lowest and highest pixel values.
        findings: What is wrong with the photos.
    """

    unique: Count
    classes: dict[str, Count] | Unknown
    pixel_range: PixelRanges
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class CalibrationFile:
    """A calibration photo: its path in the data set or folder, and the SHA-256 of the file."""

    path: str
    sha256: Sha256


@dataclass(frozen=True, kw_only=True)
class CalibrationRecord:
    """The photos that set the activation ranges of an int8 model, as documents tell it.

    Attributes:
        split: ``train``; absent where they are the user's own.
        folder: The name of the user's folder.
        photos: How many they are.
        audit: Audit of these photos.
        files: Which they are; in quantize.json, which stays with the run.
        sha256: Of their files, in order; in bundles, which travel without names.
    """

    split: Literal["train"] | None = optional()
    folder: str | None = optional()
    photos: Positive
    audit: CalibrationAudit
    files: tuple[CalibrationFile, ...] = optional(())
    sha256: tuple[Sha256, ...] = optional(())


@dataclass(frozen=True)
class HeldOut:
    """The photos that variants were scored on: which split, and how many."""

    split: Split
    photos: Positive


@dataclass(frozen=True)
class VariantScores:
    """A file of the bundle on the held-out photos.

    Attributes:
        name: Of the variant.
        format: ``tflite`` or ``onnx``.
        bytes: Size of the file.
        accuracy: How often it is right.
        agreement: How it differs from the float model.
    """

    name: Text
    format: Text
    bytes: Positive
    accuracy: Accuracy
    agreement: Agreement


@dataclass(frozen=True)
class CandidateVariant:
    """A file of a candidate on the validation photos.

    Attributes:
        name: Of the variant.
        bytes: Size of the file.
        latency_ms: Median of one inference on one thread of the machine that wrote it.
        accuracy: How often it is right.
        agreement: How it differs from the float model.
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
    """One way to make int8 files, and what it gave.

    Attributes:
        name: ``plain``, ``repair``, ``float layers`` or ``distillation``.
        repair: What was done to the model before it was converted.
        float_layers: Names of layers that stay float in TFLite.
        float_control: Of distillation: the same training without rounding.
        photos: Of distillation: number of training photos.
        views: Of distillation: number of augmented views of each.
        passed: Whether all its files keep the bounds.
        seconds: How long it took.
        variants: Its files, on the validation photos.
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
        judged_on: The split whose photos decided.
        taken: Name of the first candidate that passed; null where none did.
        tried: In order, each costlier than the one before.
    """

    judged_on: Literal["val"]
    taken: str | None
    tried: tuple[Candidate, ...]


@dataclass(frozen=True)
class TargetReport:
    """What the files are for.

    Attributes:
        name: Of the target.
        incompatibility: What keeps the int8 TFLite file from running on it; null where nothing does.
    """

    name: Text
    incompatibility: str | None


@dataclass(frozen=True)
class BoundWarning:
    """What is worth knowing of a bound that int8 keeps.

    Attributes:
        kind: ``uncertain``: it is kept on the photos that judge, and their 95% interval reaches beyond it; ``missed``:
            it is not kept on the photos that give the final number, which judge nothing.
        variant: Name of the variant.
        split: Of the photos.
        message: For people, with the number, its interval and how many photos.
    """

    kind: Literal["uncertain", "missed"]
    variant: Text
    split: Split
    message: Text


def _from_version_1(document: Json) -> Json:
    """Rename ``ladder`` with its ``rungs`` and the ``misfit`` of the target; all else is as it was."""
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
    """What was written for a run, and what it lost against the float model.

    Attributes:
        producer: The version of edgetl that wrote it.
        config: The options, by name.
        held_out: The photos that the files were scored on.
        reference: The float model on them.
        variants: The files.
        calibration: The photos that set the activation ranges; null without int8 files.
        target: What the files are for.
        candidates: The search for int8 files within the bounds; null where no bound was asked for.
        warnings: Bounds that few photos cannot tell, or that the held-out photos do not keep.
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
