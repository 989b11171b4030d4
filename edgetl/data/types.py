"""What the data stage speaks in: photos, samples, findings, the data set. Not for: how they come about."""

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
from edgetl_device.documents import Count, Is, Sha256, optional
from edgetl_device.preprocess import Preprocess
from edgetl_device.reasons import Code, Severity

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class FoundPhoto:
    """A readable photo where it was found.

    Attributes:
        path: Relative to the data set's folder, with ``/``.
        label: Name of its class.
        folder: The split folder it lies in, or the split that its source gives; None where edgetl splits.
        sha256: Hash of the file's bytes.
        group: Digest of the decoded pixels; identical photos share it, whatever their format.
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
    """A photo with its side of the split; fields as in :class:`FoundPhoto`."""

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
    """Something the audit saw.

    Attributes:
        kind: A stable name, such as ``leak`` or ``truncated``; ``docs/guides/data.md`` lists them.
        severity: ``error`` needs a decision before training, ``warning`` changed or may spoil the data, ``info`` is
            for the record.
        message: One sentence: what it is, and what edgetl did about it.
        files: The files it is about, relative to the data set's folder.
        groups: The same files, grouped by identical content, for kinds that are about identical photos.
        code: The stable code of the kind, as in other documents; absent in older ones.
    """

    kind: str
    severity: Severity
    message: str
    files: tuple[str, ...] = ()
    groups: tuple[Annotated[tuple[str, ...], Is(items=1)], ...] = optional(())
    code: Code | None = optional()


@dataclass(frozen=True)
class SplitCounts:
    """How many photos there are on each side of the split."""

    train: Count
    val: Count
    test: Count

    @property
    def all(self) -> int:
        """How many there are together."""
        return self.train + self.val + self.test


@dataclass(frozen=True)
class DatasetDescription:
    """A data set: what is in it and what the audit found.

    Attributes:
        root: The folder or file that the user named; in run.json its name only.
        labels: Class names, in the order of a model's outputs.
        photos: How many photos there are, by split.
        classes: The same for each class.
        preprocess: How photos were decoded.
        findings: What the audit saw, errors first.
        fingerprint: Hash of every photo's path, label, split and content.
    """

    SCHEMA: ClassVar[str] = "edgetl.data/1"

    root: str
    labels: tuple[str, ...]
    photos: SplitCounts
    classes: dict[str, SplitCounts]
    preprocess: Preprocess
    findings: tuple[Finding, ...]
    fingerprint: Sha256


@dataclass(frozen=True)
class Dataset:
    """Photos that can be used, each on one side of the split, with their decoded pixels.

    Attributes:
        root: The folder or file that the user named.
        folder: What the samples' paths are relative to: ``root``, the folder of a CSV, or, for arrays, a folder in
            edgetl's cache that :func:`edgetl.data.photos_folder` finds again.
        labels: Class names in the order of the model's outputs: sorted by name (Unicode code points), or as a source
            with class names gives them.
        samples: Sorted by path.
        findings: What the audit saw, errors first.
        pixels: The decoded photos; ``pixels.array[pixels.rows(dataset.of("train"))]``.
        spec: The preprocessing they were decoded with.
    """

    root: Path
    folder: Path
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]
    pixels: PixelCache
    spec: Preprocess

    def of(self, split: Split) -> tuple[Sample, ...]:
        """Return the samples on one side of the split; empty when there is no such side."""
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
        )
