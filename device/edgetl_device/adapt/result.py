"""What teaching a class gave, as a document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from edgetl_device._lib import documents
from edgetl_device._lib.documents import (
    Count,
    Interval,
    Is,
    Json,
    Named,
    Percentage,
    Positive,
    Seconds,
    Sha256,
    Text,
    Time,
)
from edgetl_device.bundle import BundleName
from edgetl_device.errors import GateFailed
from edgetl_device.scores import Accuracy, Agreement
from edgetl_device.unknown import Accepted

Kind = Literal["added", "more shots"]


@dataclass(frozen=True)
class SetAside:
    """A photo that is neither learned from nor held out.

    Attributes:
        photo: Name of its file.
        why: The reason.
    """

    photo: str
    why: Text


@dataclass(frozen=True)
class PhotosUsed:
    """The photos that were given.

    Attributes:
        given: Number of files.
        shots: Photos that were learned from.
        held_out: Photos that were not, which are now part of the bundle's held-out photos.
        set_aside: The rest.
    """

    given: Positive
    shots: Positive
    held_out: Positive
    set_aside: tuple[SetAside, ...]


@dataclass(frozen=True)
class BeforeAfter:
    """Accuracy on the held-out photos that the bundle had before.

    Attributes:
        before: Accuracy before.
        after: Accuracy of the new bundle on the same photos.
        drop_pp: before - after, percentage points; negative when the new bundle is better.
        drop_ci95_pp: Adjusted Wald interval for matched pairs (Agresti and Min, 2005), percentage points.
        lost: Photos that only the old bundle got right.
        gained: Photos that only the new one got right.
    """

    before: Accuracy
    after: Accuracy
    drop_pp: Percentage
    drop_ci95_pp: Interval
    lost: Count
    gained: Count


@dataclass(frozen=True)
class AdaptedVariant:
    """What one variant gained and lost.

    Attributes:
        name: Name of the variant.
        old: On the held-out photos that the bundle had before.
        taught_before: Accuracy before on the class's new held-out photos; null for a new class.
        taught: Accuracy on the class's new held-out photos.
        agreement: Agreement with the new float reference, on all held-out photos.
    """

    name: Text
    old: BeforeAfter
    taught_before: Accuracy | None
    taught: Accuracy
    agreement: Agreement


@dataclass(frozen=True)
class AdaptedUnknown:
    """Photos that a variant takes for known, with the class's shots in the feature bank and thresholds as before.

    Attributes:
        name: Name of the variant.
        taught: The class's new held-out photos.
        held_out: All held-out photos of the new bundle.
        in_bundle_before: The unknown photos in the bundle, as recorded before; null if there are none.
        in_bundle: The same now.
    """

    name: Text
    taught: Accepted
    held_out: Accepted
    in_bundle_before: Accepted | None
    in_bundle: Accepted | None


@dataclass(frozen=True)
class Dropped:
    """A variant that the new bundle does not have.

    Attributes:
        name: Name of the variant.
        why: The reason.
    """

    name: Text
    why: Text


@dataclass(frozen=True)
class Teaching:
    """What a bundle's provenance says of a class that it was taught on a device.

    Attributes:
        producer: The program that did it.
        created: Time in UTC, ISO 8601.
        source: Digest of the bundle before.
        label: The class.
        kind: ``added``, or ``more shots``.
        shots: Number of photos that were learned from.
        shots_pixels_sha256: SHA-256 of their pixels, by which they are known again: none of them may become proof.
        reference: The variant whose features the float reference is computed from.
        dropped: Variants of the bundle before that this one does not have.
    """

    producer: Named
    created: Time
    source: Sha256
    label: Text
    kind: Kind
    shots: Positive
    shots_pixels_sha256: tuple[Sha256, ...]
    reference: Text
    dropped: tuple[Dropped, ...]


@dataclass(frozen=True)
class Adapted:
    """The result of teaching a bundle a class.

    Attributes:
        producer: The program that did it.
        created: Time in UTC, ISO 8601.
        outcome: ``refused`` if a variant lost more than allowed: then nothing was written.
        source: The bundle that was taught.
        bundle: The new bundle; null if it was refused.
        label: The class.
        kind: ``added``, or ``more shots`` for a class that the bundle had.
        photos: The photos that were given.
        max_drop_pp: The largest drop that was allowed, percentage points.
        aim_pp: The drop that was aimed at, percentage points; null for more shots.
        why: What was refused; null otherwise.
        reference: The variant whose features the new float reference is computed from.
        variants: What each variant gained and lost.
        dropped: Variants that the new bundle does not have.
        unknown: How the variants tell unknown photos now.
        was_signed: Whether the source was signed. The new bundle never is.
        seconds: Time that it took.
    """

    SCHEMA: ClassVar[str] = "edgetl.adapted/1"

    producer: Named
    created: Time
    outcome: Literal["written", "refused"]
    source: BundleName
    bundle: BundleName | None
    label: Text
    kind: Kind
    photos: PhotosUsed
    max_drop_pp: Annotated[float, Is(low=0, high=100)]
    aim_pp: Annotated[float, Is(low=0, high=100)] | None
    why: Text | None
    reference: Text
    variants: Annotated[tuple[AdaptedVariant, ...], Is(items=1)]
    dropped: tuple[Dropped, ...]
    unknown: tuple[AdaptedUnknown, ...]
    was_signed: bool
    seconds: Seconds

    def to_json(self) -> Json:
        """Return the document that ``edgetl adapt --json`` prints."""
        return documents.to_json(self)


def raise_refused(result: Adapted) -> None:
    """Raise an error if the new bundle was refused.

    Raises:
        GateFailed: It was.
    """
    if result.outcome == "refused":
        raise GateFailed(
            f"{result.source.name} was not taught {result.label!r}: {result.why}",
            why=f"the largest allowed drop is {result.max_drop_pp:g} pp",
            hint="Nothing was written. Aim at less with {aim}, allow more with {max_drop}, or give more photos.",
            options={"max_drop": result.max_drop_pp},
        )
