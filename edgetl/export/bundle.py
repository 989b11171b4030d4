"""Write bundles atomically, as a folder.

``docs/reference/bundle.md`` describes the format; ``edgetl_device.bundle`` reads it, ``edgetl_device.packing`` zips it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgetl import __version__
from edgetl._lib.owned import check_bundle
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Json, Named, Unknown
from edgetl_device._lib.files import atomic_path, sha256_bytes
from edgetl_device._lib.times import created
from edgetl_device.bundle import (
    BANK,
    EVALSET,
    INDEX,
    LABELS,
    MANIFEST,
    REFERENCE,
    UNKNOWN_PHOTOS,
    Bundle,
    Manifest,
    ReferenceArrays,
    ReferenceFile,
    Variant,
)
from edgetl_device.errors import InputError
from edgetl_device.packing import index_csv, npz, photo_name
from edgetl_device.photo_metadata import without_metadata
from edgetl_device.preprocess import Preprocess, preprocess, read_photo
from edgetl_device.runtime import open_runtime
from edgetl_device.scores import Accuracy, Agreement
from edgetl_device.storage import Entry
from edgetl_device.truth import Truth
from edgetl_device.unknown import UnknownTest, UnknownVariant

GOLDEN_PHOTOS = 4


@dataclass(frozen=True)
class VariantFile:
    """A model to add to a bundle.

    Attributes:
        name: ``float32``, ``int8``, ``float16``, ``float32-onnx`` or ``int8-onnx``.
        format: ``tflite`` or ``onnx``.
        precision: ``float32``, ``float16`` or ``int8``.
        data: Content of the model file.
        calibration: Calibration record as JSON values; None for float models, and for int8 files that edgetl did not
            make.
        accuracy: Accuracy on the held-out photos, if measured.
        agreement: Agreement with the float model on the held-out photos, if measured.
        described: Description in the bundle that the file comes from; the model is not loaded again.
    """

    name: str
    format: Literal["tflite", "onnx"]
    precision: str
    data: bytes
    calibration: dict[str, Json] | None = None
    accuracy: Accuracy | None = None
    agreement: Agreement | Unknown | None = None
    described: Variant | None = None


@dataclass(frozen=True)
class PhotoFile:
    """A held-out photo to add to a bundle: path, label, SHA-256 of the file."""

    path: Path
    label: str
    sha256: str


@dataclass(frozen=True, eq=False)
class UnknownFiles:
    """What a bundle needs to tell unknown photos.

    Attributes:
        bank: Arrays of the feature bank (``docs/reference/bundle.md``).
        neighbours: The score is the distance to this one of the nearest rows.
        kept: Share of the validation photos that the thresholds keep.
        variants: The thresholds.
        photos: Unknown photos, as JPEG files without metadata.
    """

    bank: dict[str, npt.NDArray[Any]]
    neighbours: int
    kept: float
    variants: tuple[UnknownVariant, ...]
    photos: tuple[bytes, ...]


def write_bundle(
    folder: str | os.PathLike[str],
    *,
    labels: Sequence[str],
    preprocess: Preprocess,
    variants: Sequence[VariantFile],
    evalset: Sequence[PhotoFile],
    reference: ReferenceArrays,
    provenance: dict[str, Json],
    unknown: UnknownFiles | None = None,
    truth: Truth = "labels",
) -> Bundle:
    """Write a bundle to ``folder``, replacing any previous bundle, and return it opened.

    Each model is loaded once to record its actual input and output. Golden pixels are taken from the first photo of up
    to four labels, or from four of the drawn pictures.

    Args:
        folder: The bundle's folder; replaced only when everything is written.
        labels: Class names, in the order of the models' outputs.
        preprocess: Preprocessing from photo to model input.
        variants: At least one model.
        evalset: Held-out photos, at least one; copied without metadata.
        reference: The float model's predictions, in the order of ``evalset``.
        provenance: Origin of the model, as JSON values.
        unknown: What variants tell unknown photos by, if they can.
        truth: What the photos are held against: their labels, or the answers of the original model.

    Raises:
        InputError: The arguments are inconsistent, a photo does not match its hash, or ``folder`` is not a bundle or
            has foreign files.
        Unavailable: A model cannot be loaded on this machine.
    """
    _check(labels, variants, evalset, reference)
    contents: dict[str, bytes] = {LABELS: "".join(f"{label}\n" for label in labels).encode()}
    rows = []
    for variant in variants:
        file = f"models/{variant.name}.{variant.format}"
        contents[file] = variant.data
        rows.append(variant.described or _variant_row(variant, file, preprocess=preprocess, classes=len(labels)))
    with atomic_path(folder, directory=True, replaceable=check_bundle) as temporary:
        files = {name: _put(temporary, name, data) for name, data in contents.items()}
        index = []
        for position, photo in enumerate(evalset):
            data = read_photo(photo.path)
            if sha256_bytes(data) != photo.sha256:
                raise InputError(f"{photo.path}: the photo changed since it was read", hint="Run the command again.")
            data, suffix = without_metadata(data, preprocess, name=str(photo.path))
            name = photo_name(position, len(evalset), photo.label, suffix or PurePosixPath(photo.path).suffix.lower())
            files[EVALSET + name] = _put(temporary, EVALSET + name, data)
            index.append((name, photo.label, sha256_bytes(data)))
        files[INDEX] = _put(temporary, INDEX, index_csv(index))
        golden = _golden_rows(evalset, truth)
        arrays = npz(
            probabilities=np.ascontiguousarray(reference.probabilities, np.float32),
            logits=np.ascontiguousarray(reference.logits, np.float32),
            golden_rows=np.array(golden, np.int64),
            golden_pixels=_golden_pixels([evalset[row] for row in golden], preprocess),
        )
        files[REFERENCE] = _put(temporary, REFERENCE, arrays)
        test = _put_unknown(temporary, unknown, files) if unknown is not None else None
        manifest = Manifest(
            producer=Named("edgetl", __version__),
            created=created(),
            labels=tuple(labels),
            preprocess=preprocess,
            variants=tuple(rows),
            reference=ReferenceFile(REFERENCE, len(evalset), tuple(golden)),
            provenance=provenance,
            files=dict(sorted(files.items())),
            unknown=test,
            truth=truth,
        )
        documents.write(temporary / MANIFEST, documents.sealed(manifest))
        Bundle.open(temporary).reference()  # read back what was written
    return Bundle.open(folder)


def _check(
    labels: Sequence[str],
    variants: Sequence[VariantFile],
    evalset: Sequence[PhotoFile],
    reference: ReferenceArrays,
) -> None:
    names = [variant.name for variant in variants]
    if not names or len(set(names)) != len(names):
        raise InputError(f"variants {names}", why="a bundle needs at least one, and names must differ")
    if bad := [name for name in names if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name)]:
        raise InputError(f"variant name {bad[0]!r}", why="must be lower-case letters, digits and dashes")
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise InputError(f"{len(labels)} labels", why="a bundle needs at least two, all different")
    if not evalset:
        raise InputError("no held-out photos", why="a device needs them to check itself against the float model")
    if unknown := {photo.label for photo in evalset} - set(labels):
        raise InputError(f"held-out photos have the label {min(unknown)!r}", why="the model has no such label")
    shape = (len(evalset), len(labels))
    if reference.probabilities.shape != shape or reference.logits.shape != shape:
        raise InputError(
            f"reference of shapes {reference.probabilities.shape} and {reference.logits.shape}", why=f"expected {shape}"
        )


def _variant_row(variant: VariantFile, file: str, *, preprocess: Preprocess, classes: int) -> Variant:
    runtime = open_runtime(variant.data, variant.format)
    if runtime.input.shape != (1, *preprocess.size.shape) or runtime.output.shape != (1, classes):
        raise InputError(
            f"the {variant.name} model maps {list(runtime.input.shape)} to {list(runtime.output.shape)}",
            why=f"the bundle is for photos of {preprocess.size.px} and {classes} labels",
        )
    row = Variant(
        name=variant.name,
        format=variant.format,
        precision=variant.precision,
        file=file,
        bytes=len(variant.data),
        sha256=sha256_bytes(variant.data),
        input=runtime.input,
        output=runtime.output,
        calibration=variant.calibration,
        accuracy=variant.accuracy,
        agreement=variant.agreement,
    )
    runtime.close()
    return row


def _put(folder: Path, name: str, data: bytes) -> Entry:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Entry(sha256_bytes(data), len(data))


def _put_unknown(folder: Path, unknown: UnknownFiles, files: dict[str, Entry]) -> UnknownTest:
    files[BANK] = _put(folder, BANK, npz(**unknown.bank))
    photos = {f"{UNKNOWN_PHOTOS}{place:03d}.jpg": data for place, data in enumerate(unknown.photos)}
    for name, data in photos.items():
        files[name] = _put(folder, name, data)
    return UnknownTest(
        file=BANK,
        features=len(unknown.bank["mean"]),
        components=len(unknown.bank["components"]),
        rows=len(unknown.bank["rows"]),
        neighbours=unknown.neighbours,
        kept=unknown.kept,
        variants=unknown.variants,
        photos=tuple(photos),
    )


def _golden_rows(evalset: Sequence[PhotoFile], truth: Truth) -> list[int]:
    if truth == "model":  # all drawn pictures may have the same answer
        return [row * len(evalset) // GOLDEN_PHOTOS for row in range(min(GOLDEN_PHOTOS, len(evalset)))]
    first: dict[str, int] = {}
    for row, photo in enumerate(evalset):
        first.setdefault(photo.label, row)
    return sorted(first.values())[:GOLDEN_PHOTOS]


def _golden_pixels(photos: Sequence[PhotoFile], spec: Preprocess) -> npt.NDArray[np.uint8]:
    return np.stack([preprocess(photo.path, spec) for photo in photos])
