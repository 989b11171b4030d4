"""Types of the data stage: photos, samples, findings, data sets."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from edgetl.data.pixels import PixelCache
from edgetl_device._lib.documents import Count, Is, Positive, Sha256, Text, optional
from edgetl_device.preprocess import Preprocess
from edgetl_device.reasons import Code, Severity
from edgetl_device.truth import Truth

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class FoundPhoto:
    """A readable photo, before splitting.

    Attributes:
        path: Path relative to the data set's folder, with ``/``.
        label: Name of its class.
        folder: The split folder that it is in, or the split given by its source; None where edgetl splits.
        sha256: SHA-256 of the file.
        group: Digest of the decoded pixels, shared by identical photos in any format.
        width: Upright width in pixels.
        height: Upright height in pixels.
    """

    path: str
    label: str
    folder: Split | None
    sha256: str
    group: str
    width: int
    height: int


@dataclass(frozen=True)
class Sample:
    """A photo with its split; fields as in :class:`FoundPhoto`."""

    path: str
    label: str
    split: Split
    sha256: str
    group: str


def targets_of(samples: Sequence[Sample], labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the class index of each sample, int64 [samples]."""
    index = {label: place for place, label in enumerate(labels)}
    return np.array([index[sample.label] for sample in samples], dtype=np.int64)


@dataclass(frozen=True)
class Finding:
    """A finding of the audit.

    Attributes:
        kind: A stable name, such as ``leak`` or ``truncated``; ``docs/guides/data.md`` lists them.
        severity: ``error`` needs a decision before training, ``warning`` changed the data or may harm training,
            ``info`` is for the record.
        message: One sentence: what was found, and what edgetl did about it.
        files: Files concerned, relative to the data set's folder.
        groups: The same files grouped by identical content, for findings about identical photos.
        code: The stable code of the kind; absent in older documents.
    """

    kind: str
    severity: Severity
    message: str
    files: tuple[str, ...] = ()
    groups: tuple[Annotated[tuple[str, ...], Is(items=1)], ...] = optional(())
    code: Code | None = optional()


@dataclass(frozen=True)
class SplitCounts:
    """Number of photos in each split."""

    train: Count
    val: Count
    test: Count

    @property
    def all(self) -> int:
        """Number of photos in all splits."""
        return self.train + self.val + self.test


@dataclass(frozen=True)
class LabelSuspect:
    """A photo whose label is probably wrong.

    Attributes:
        path: Relative to the data set's folder.
        label: Its label.
        suggested: The class that its features speak for.
        margin: Estimated probability of that class minus that of the label, from least squares: over 0, seldom over 1.
    """

    path: Text
    label: Text
    suggested: Text
    margin: float


@dataclass(frozen=True)
class LabelCheck:
    """Photos whose label is probably wrong.

    Attributes:
        backbones: Backbones whose features were used.
        size: Input height and width in pixels, a square.
        photos: Number of photos checked, of all splits.
        unchecked: Classes with too few photos.
        suspects: The clearest first.
    """

    backbones: tuple[str, ...]
    size: Positive
    photos: Count
    unchecked: tuple[str, ...]
    suspects: tuple[LabelSuspect, ...]


@dataclass(frozen=True)
class DatasetDescription:
    """Content and audit of a data set.

    Attributes:
        root: The folder or file that the user gave; in run.json only its name.
        labels: Class names, in the order of a model's outputs.
        photos: Number of photos by split.
        classes: Number of photos by class and split.
        preprocess: Preprocessing that photos were decoded with.
        findings: Findings of the audit, errors first.
        fingerprint: Hash of every photo's path, label, split and content.
        label_check: Photos whose label is probably wrong; null if that was not asked for.
        truth: What their labels are: ``labels`` that people gave, or, of pictures that edgetl drew because a model was
            imported without photos, the answers of that ``model``.
    """

    SCHEMA: ClassVar[str] = "edgetl.data/1"

    root: str
    labels: tuple[str, ...]
    photos: SplitCounts
    classes: dict[str, SplitCounts]
    preprocess: Preprocess
    findings: tuple[Finding, ...]
    fingerprint: Sha256
    label_check: LabelCheck | None = optional()
    truth: Truth = optional("labels")


@dataclass(frozen=True)
class Dataset:
    """Usable photos with their splits and decoded pixels.

    Attributes:
        root: The folder or file that the user gave.
        folder: The folder that the samples' paths are relative to: ``root``, the folder of a CSV, or, for arrays, a
            folder in edgetl's cache that :func:`edgetl.data.photos_folder` finds again.
        labels: Class names in the order of the model's outputs: sorted by name (Unicode code points), or in the order
            of the source's class names.
        samples: Samples sorted by path.
        findings: Findings of the audit, errors first.
        pixels: The decoded photos; ``pixels.array[pixels.rows(dataset.of("train"))]``.
        spec: Preprocessing that photos were decoded with.
        truth: What their labels are.
    """

    root: Path
    folder: Path
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]
    pixels: PixelCache
    spec: Preprocess
    truth: Truth = "labels"

    def of(self, split: Split) -> tuple[Sample, ...]:
        """Return the samples of one split; empty if it has none."""
        return tuple(sample for sample in self.samples if sample.split == split)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every sample's path, label, split and file hash."""
        rows = sorted((sample.path, sample.label, sample.split, sample.sha256) for sample in self.samples)
        return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()

    def counts(self) -> dict[str, dict[Split, int]]:
        """Return the number of photos by label and split, zeros included."""
        count = Counter((sample.label, sample.split) for sample in self.samples)
        return {label: {split: count[label, split] for split in SPLITS} for label in self.labels}

    def describe(self) -> DatasetDescription:
        """Return the data set as a document."""
        return DatasetDescription(
            root=str(self.root),
            labels=self.labels,
            photos=SplitCounts(**{split: len(self.of(split)) for split in SPLITS}),
            classes={label: SplitCounts(**count) for label, count in self.counts().items()},
            preprocess=self.spec,
            findings=self.findings,
            fingerprint=self.fingerprint,
            truth=self.truth,
        )
