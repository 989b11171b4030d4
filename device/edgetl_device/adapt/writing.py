"""Write the new bundle: the old one's photos and the new ones, the new files, and the proof for both."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl_device._lib import documents
from edgetl_device._lib.documents import to_json
from edgetl_device._lib.files import atomic_path, new_files, sha256_bytes
from edgetl_device.bundle import (
    BANK,
    EVALSET,
    INDEX,
    LABELS,
    MANIFEST,
    REFERENCE,
    Bundle,
    ReferenceFile,
    Variant,
    read_manifest,
)
from edgetl_device.errors import InputError
from edgetl_device.packing import index_csv, npz, pack, photo_name
from edgetl_device.photo_metadata import without_metadata
from edgetl_device.preprocess import read_photo
from edgetl_device.runtime import TensorSpec
from edgetl_device.scores import Accuracy, Agreement
from edgetl_device.storage import Entry
from edgetl_device.text import shown
from edgetl_device.unknown import UnknownTest, UnknownVariant

from .photos import Shot
from .result import Teaching

PACKED = ".edgetl"
_MAX_GOLDEN = 64


@dataclass(frozen=True, eq=False)
class NewVariant:
    """A variant of the new bundle.

    Attributes:
        old: The variant that it comes from.
        data: The new file.
        output: Spec of its probabilities.
        accuracy: Accuracy on all held-out photos.
        agreement: Agreement with the new reference on them.
    """

    old: Variant
    data: bytes
    output: TensorSpec
    accuracy: Accuracy
    agreement: Agreement


@dataclass(frozen=True, eq=False)
class NewBundle:
    """What the new bundle is made of.

    Attributes:
        source: The old bundle.
        labels: All classes.
        taught: Index of the class that was taught.
        variants: The new variants.
        held_out: The class's photos to hold out.
        logits: Logits of the new reference, float32 [photos, classes], those of the old photos first.
        probabilities: Their softmax.
        bank: Arrays of the new feature bank.
        unknown: How the variants tell unknown photos.
        record: What was done, for the provenance.
    """

    source: Bundle
    labels: tuple[str, ...]
    taught: int
    variants: Sequence[NewVariant]
    held_out: Sequence[Shot]
    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    bank: dict[str, npt.NDArray[Any]]
    unknown: tuple[UnknownVariant, ...]
    record: Teaching


def write(target: Path, new: NewBundle) -> str:
    """Write a bundle to a new folder, or to a new ``.edgetl`` file, and return its digest.

    Raises:
        InputError: A photo changed since it was read, or the target exists.
    """
    if target.suffix != PACKED:
        with atomic_path(target, directory=True) as folder:
            _fill(folder, new)
        return Bundle.open(target).digest
    with tempfile.TemporaryDirectory(prefix="edgetl-") as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        _fill(folder, new)
        with new_files(target) as (temporary,):
            pack(folder, temporary, card=_card(new))
    return Bundle.open(target).digest


def _fill(folder: Path, new: NewBundle) -> None:
    source = new.source
    contents = {LABELS: "".join(f"{label}\n" for label in new.labels).encode()}
    contents |= {one.old.file: one.data for one in new.variants}
    files = {name: _put(folder, name, data) for name, data in contents.items()}
    photos = source.photos()
    unknown = source.unknown.photos if source.unknown else ()
    for name in (*(photo.file for photo in photos), *unknown):
        files[name] = _put(folder, name, source.read(name))
    index = [(photo.file.removeprefix(EVALSET), source.labels[photo.index], photo.sha256) for photo in photos]
    for position, shot in enumerate(new.held_out, start=len(photos)):
        data = read_photo(shot.path)
        if sha256_bytes(data) != shot.sha256:
            raise InputError(f"{shot.path}: the photo changed since it was read", hint="Run the command again.")
        data, suffix = without_metadata(data, source.preprocess, name=str(shot.path))
        label = new.labels[new.taught]
        name = photo_name(position, len(photos) + len(new.held_out), label, suffix or shot.path.suffix.lower())
        files[EVALSET + name] = _put(folder, EVALSET + name, data)
        index.append((name, label, sha256_bytes(data)))
    files[INDEX] = _put(folder, INDEX, index_csv(index))
    golden, reference = _reference(new, len(photos))
    files[REFERENCE] = _put(folder, REFERENCE, reference)
    files[BANK] = _put(folder, BANK, npz(**new.bank))
    manifest = read_manifest(source.descriptions()[MANIFEST], name=str(source.path))
    earlier = manifest.provenance.get("adapted", [])
    changed = replace(
        manifest,
        producer=new.record.producer,
        created=new.record.created,
        labels=new.labels,
        variants=tuple(_row(one) for one in new.variants),
        reference=ReferenceFile(REFERENCE, len(index), golden),
        provenance=manifest.provenance
        | {"adapted": [*(earlier if isinstance(earlier, list) else []), to_json(new.record)]},
        files=dict(sorted(files.items())),
        unknown=_unknown(new),
    )
    documents.write(folder / MANIFEST, documents.sealed(changed))
    Bundle.open(folder).reference()  # read back what was written


def _row(one: NewVariant) -> Variant:
    return replace(
        one.old,
        bytes=len(one.data),
        sha256=sha256_bytes(one.data),
        output=one.output,
        accuracy=one.accuracy,
        agreement=one.agreement,
    )


def _reference(new: NewBundle, old: int) -> tuple[tuple[int, ...], bytes]:
    """Return the rows of the golden photos, and the file of the reference."""
    before = new.source.reference()
    rows, pixels = before.golden_rows, before.golden_pixels
    if len(rows) < _MAX_GOLDEN:
        # The new class's first photo, too.
        rows = np.append(rows, old)
        pixels = np.concatenate([pixels, new.held_out[0].pixels[None]])
    arrays = npz(
        probabilities=np.ascontiguousarray(new.probabilities, np.float32),
        logits=np.ascontiguousarray(new.logits, np.float32),
        golden_rows=rows.astype(np.int64),
        golden_pixels=np.ascontiguousarray(pixels),
    )
    return tuple(rows.tolist()), arrays


def _unknown(new: NewBundle) -> UnknownTest:
    assert new.source.unknown is not None
    return replace(
        new.source.unknown,
        file=BANK,
        components=len(new.bank["components"]),
        rows=len(new.bank["rows"]),
        variants=new.unknown,
    )


def _card(new: NewBundle) -> bytes | None:
    """Return the model card with a section about the class; None without a card."""
    card = new.source.card()
    if card is None:
        return None
    label, record = shown(new.labels[new.taught]), new.record
    text = (
        f"\n## Taught on a device: {label}\n\n"
        f"From {record.shots} photos, on {record.created}; {len(new.held_out)} more are held out. What this card "
        "says above is about the model before.\n"
    )
    return card + text.encode()


def _put(folder: Path, name: str, data: bytes) -> Entry:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Entry(sha256_bytes(data), len(data))
