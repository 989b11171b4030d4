"""The documents of a store: what a query finds (``edgetl.stored/1``), and what waits for it (``edgetl.queued/1``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgetl_device._lib.documents import Count, Milliseconds, Named, Percentage, Positive, Sha256, Share, Time, optional


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What people ask for in a document: one run of a bench, variant of a quantization, or record of the field.

    Attributes:
        board: The board: its name in a bench, or its CPU if it has none; its folder in records of the field.
        bundle: Digest of the bundle.
        bundle_name: Name of the bundle.
        model: SHA-256 of the model file.
        variant: The bundle's name for the model file; ``float`` for the model of a run.
        threads: CPU threads.
        batch: Images per inference.
        delegate: The delegate that ran part of the model.
        verdict: Whether the times are valid.
        p50_ms: Median time of the model alone.
        p95_ms: 95th percentile of that.
        photo_p50_ms: Median time from a photo's file, or a frame, to the answer.
        photo_p95_ms: 95th percentile of that.
        photos: Number of photos.
        top1: Accuracy on labelled photos; null for drawn pictures, whose answers are another model's.
        drop_pp: Accuracy of the reference minus that of the variant, percentage points.
        agreement: Share of photos with the answer of the reference: the float model, or the baseline of a comparison.
        bytes: Size of the model file.
        ram_bytes: Peak memory.
    """

    board: str | None = None
    bundle: Sha256 | None = None
    bundle_name: str | None = None
    model: Sha256 | None = None
    variant: str | None = None
    threads: Positive | None = None
    batch: Positive | None = None
    delegate: str | None = None
    verdict: str | None = None
    p50_ms: Milliseconds | None = None
    p95_ms: Milliseconds | None = None
    photo_p50_ms: Milliseconds | None = None
    photo_p95_ms: Milliseconds | None = None
    photos: Count | None = None
    top1: Share | None = None
    drop_pp: Percentage | None = None
    agreement: Share | None = None
    bytes: Count | None = None
    ram_bytes: Count | None = None


@dataclass(frozen=True)
class StoredRow:
    """A measurement and the document that it is from.

    Attributes:
        digest: Digest of the document.
        kind: ``run``, ``quantize``, ``bench``, ``compare`` or ``field``.
        document: Schema of the document.
        created: Time of the document, UTC; of one without a time, such as quantize.json, when it was added.
        commit: The commit that was given when it was added.
        measurement: What it says.
    """

    digest: Sha256
    kind: str
    document: str
    created: Time
    commit: str | None
    measurement: Measurement


@dataclass(frozen=True)
class StoredRows:
    """The answer of a store, the oldest first.

    Attributes:
        producer: The program that asked.
        rows: What was found.
    """

    SCHEMA: ClassVar[str] = "edgetl.stored/1"

    producer: Named
    rows: tuple[StoredRow, ...]


@dataclass(frozen=True)
class Queued:
    """A document that waits until its store can be reached.

    Attributes:
        added: When it was to be added, UTC.
        body: The document, as in its file.
        board: The board, for records of the field.
        commit: The commit.
    """

    SCHEMA: ClassVar[str] = "edgetl.queued/1"

    added: Time
    body: str
    board: str | None = optional()
    commit: str | None = optional()
