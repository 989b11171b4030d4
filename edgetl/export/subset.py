"""Write a small bundle: some variants of a bundle, and some of its held-out photos as proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgetl.data import stratified_rows
from edgetl_device._lib import documents
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.bundle import (
    EVALSET,
    INDEX,
    LABELS,
    MANIFEST,
    REFERENCE,
    Bundle,
    Manifest,
    ReferenceFile,
    Variant,
    read_manifest,
)
from edgetl_device.packing import index_csv, npz
from edgetl_device.storage import Entry
from edgetl_device.text import shown
from edgetl_device.truth import NOT_KNOWN, photos_called, share_called

README = "README.txt"
_LABELS = 20


def write_subset(bundle: Bundle, folder: Path, *, variants: Sequence[str] = (), photos: int | None = None) -> Bundle:
    """Write a bundle of fewer variants and photos to an empty folder and return it opened.

    The variants' recorded accuracy stays that on all held-out photos. The golden photos stay first; the others are a
    sample with as many of each class as possible. Signatures do not apply to the new bundle and are left out.

    Args:
        bundle: The whole bundle.
        folder: An empty folder.
        variants: Names of the variants to keep; all of them when empty.
        photos: Number of held-out photos to keep; all of them when None or larger.

    Raises:
        InputError: The bundle has no such variant, or is damaged.
    """
    kept = [bundle.variant(name) for name in dict.fromkeys(variants)] or list(bundle.variants)
    reference, index = bundle.reference(), bundle.photos()
    rows = _rows(reference.golden_rows.tolist(), [photo.index for photo in index], photos or len(index))
    golden = [place for place, row in enumerate(rows) if row in reference.golden_rows]
    of_golden = [int(np.flatnonzero(reference.golden_rows == rows[place])[0]) for place in golden]
    chosen = [index[row] for row in rows]
    table = [(one.file.removeprefix(EVALSET), bundle.labels[one.index], one.sha256) for one in chosen]
    contents = {
        LABELS: bundle.read(LABELS),
        INDEX: index_csv(table),
        REFERENCE: npz(
            probabilities=reference.probabilities[rows],
            logits=reference.logits[rows],
            golden_rows=np.array(golden, np.int64),
            golden_pixels=reference.golden_pixels[of_golden],
        ),
        README: _readme(bundle, kept, photos=len(rows), of=len(index)).encode(),
    }
    copied = [variant.file for variant in kept] + [photo.file for photo in chosen]
    names = {variant.name for variant in kept}
    unknown = bundle.unknown and replace(
        bundle.unknown, variants=tuple(one for one in bundle.unknown.variants if one.name in names)
    )
    if unknown and not unknown.variants:
        unknown = None
    if unknown:
        copied += [unknown.file, *unknown.photos]
    entries = {name: Entry(sha256_bytes(data), len(data)) for name, data in contents.items()}
    entries |= {name: bundle.files[name] for name in copied}
    for name in entries:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[name] if name in contents else bundle.read(name))
    manifest: Manifest = read_manifest(bundle.descriptions()[MANIFEST], name=str(bundle.path))
    changed = replace(
        manifest,
        variants=tuple(kept),
        reference=ReferenceFile(REFERENCE, len(rows), tuple(golden)),
        provenance=manifest.provenance | {"packed_from": bundle.digest},
        unknown=unknown,
        files=dict(sorted(entries.items())),
    )
    documents.write(folder / MANIFEST, documents.sealed(changed))
    Bundle.open(folder).reference()  # read back what was written
    return Bundle.open(folder)


def _rows(golden: Sequence[int], classes: Sequence[int], most: int) -> list[int]:
    """Return the rows of ``most`` photos in their order: the golden ones, then a sample of each class."""
    first = list(golden)[:most]
    rest = np.array([row for row in range(len(classes)) if row not in first], np.int64)
    more = stratified_rows(np.asarray(classes)[rest], most - len(first), seed=0)
    return sorted([*first, *rest[more].tolist()])


def _readme(bundle: Bundle, variants: Sequence[Variant], *, photos: int, of: int) -> str:
    names = ", ".join(shown(label) for label in bundle.labels[:_LABELS])
    more = f", and {len(bundle.labels) - _LABELS} more" if len(bundle.labels) > _LABELS else ""
    share, called = share_called(bundle.truth), photos_called(bundle.truth)
    pictures = photos_called(bundle.truth, "photos")
    rows = [
        f"  {one.name:<16}{one.format:<8}{one.bytes / 1e6:6.2f} MB   "
        + (f"{share} {one.accuracy.top1:.3f} on {one.accuracy.photos} {pictures}" if one.accuracy else "not measured")
        for one in variants
    ]
    if bundle.truth == "model":
        rows += ["", NOT_KNOWN.capitalize() + ".", "As original: the pictures with the answer of the original model."]
    return "\n".join(
        [
            "An image classifier, packed by edgetl",
            "",
            f"{len(bundle.labels)} classes: {names}{more}",
            "",
            "Variants, as measured when they were made:",
            *rows,
            "",
            f"evalset/ contains {photos} of {of} {called}, reference.npz the float model's predictions on them.",
            "A board compares its own pixels and predictions with these. On the board, with edgetl-device installed:",
            "",
            "  edgetl-device verify FILE.edgetl",
            "  edgetl-device bench FILE.edgetl",
            "  edgetl-device classify FILE.edgetl PHOTO",
            "",
        ]
    )
