"""Read bundles: variants, labels, preprocessing, held-out photos and the float reference, each checked when read.

A bundle is a folder, or a zip of it, ``.edgetl``; nothing is ever extracted or unpickled.
"""

from __future__ import annotations

import csv
import io
import math
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from . import storage
from ._lib import documents
from ._lib.documents import Count, Is, Json, Named, Positive, Sha256, Text, Time, Unknown, optional
from ._lib.files import heal, sha256_bytes
from .errors import InputError
from .preprocess import MAX_BYTES, Preprocess
from .runtime import TensorSpec
from .scores import Accuracy, Agreement
from .signature import Checked, PublicKey, Signature, Signatures, check
from .storage import MAX_FILE_BYTES, NPY_DAMAGE, Entry, Storage, damaged
from .text import closest
from .truth import Truth
from .unknown import FeatureBank, UnknownScorer, UnknownTest

MANIFEST = "bundle.json"
LABELS = "labels.txt"
REFERENCE = "reference.npz"
SIGNATURES = "signature.json"
CARD = "MODEL_CARD.md"
EVALSET = "evalset/"
INDEX = "evalset/index.csv"
INDEX_COLUMNS = ("file", "label", "sha256")
BANK = "unknown/bank.npz"
UNKNOWN_PHOTOS = "unknown/photos/"
MAX_UNKNOWN_PHOTOS = 1000

_MAX_MANIFEST_BYTES = 16 << 20
_MAX_INDEX_BYTES = 64 << 20
_MAX_SIGNATURES_BYTES = 64 << 10
_MAX_CARD_BYTES = 1_000_000
_MAX_GOLDEN = 64
_MAX_BANK_BYTES = 16 << 20
_MAX_NPY_HEADER_BYTES = 16 << 10


@dataclass(frozen=True)
class CompiledFrom:
    """The file that was compiled.

    Attributes:
        variant: The variant that was compiled.
        sha256: SHA-256 of the file.
    """

    variant: Text
    sha256: Sha256


@dataclass(frozen=True)
class Compilation:
    """The Edge TPU compiler's report on a compiled file.

    Attributes:
        compiler: Version of the compiler.
        mapped: Operators that the Edge TPU runs.
        total: Operators of the file that was compiled.
        on_chip_bytes: Parameters kept in the Edge TPU's memory.
        off_chip_bytes: Parameters streamed for every photo.
        source: The file that was compiled.
    """

    compiler: str | Unknown
    mapped: Count | Unknown
    total: Count | Unknown
    on_chip_bytes: Count | Unknown
    off_chip_bytes: Count | Unknown
    source: CompiledFrom


@dataclass(frozen=True)
class Variant:
    """One model file of a bundle.

    Attributes:
        name: ``float32``, ``int8``, ``float16``, ``float32-onnx`` or ``int8-onnx``; with the suffix ``-edgetpu`` if
            compiled for the Edge TPU.
        format: Format of the file.
        precision: ``float32``, ``float16`` or ``int8``.
        file: Path in the bundle.
        bytes: Size of the file.
        sha256: SHA-256 of the file.
        input: Spec of the pixels.
        output: Spec of the probabilities.
        calibration: How quantization ranges were chosen; null for float models, and for int8 files that edgetl did not
            make.
        accuracy: Accuracy on the held-out photos when the bundle was made, if measured.
        agreement: Agreement with the reference when the bundle was made, if measured.
        compilation: The Edge TPU compiler's report, for compiled files.
    """

    name: Text
    format: Literal["tflite", "onnx"]
    precision: Text
    file: Text
    bytes: Annotated[int, Is(low=0, high=MAX_FILE_BYTES)]
    sha256: Sha256
    input: TensorSpec
    output: TensorSpec
    calibration: dict[str, Json] | None
    accuracy: Accuracy | None
    agreement: Agreement | Unknown | None
    compilation: Compilation | None = optional()


@dataclass(frozen=True)
class ReferenceFile:
    """The file of the float model's predictions.

    Attributes:
        file: Path in the bundle.
        photos: Number of photos.
        golden: The photos whose pixels are kept.
    """

    file: str
    photos: Positive
    golden: tuple[Count, ...]


@dataclass(frozen=True)
class Manifest:
    """The manifest of a bundle: its ``bundle.json``.

    Attributes:
        producer: The program that wrote it.
        created: Time in UTC, ISO 8601.
        labels: Class names, in the order of the models' output.
        preprocess: Preprocessing of photos.
        variants: The models.
        reference: The float model's predictions on the held-out photos.
        provenance: Origin of the model.
        files: Size and SHA-256 of every file, by path in the bundle.
        unknown: How variants tell photos of nothing they were taught, if they can.
        truth: What its photos are held against: their ``labels``, or, for pictures that edgetl drew, the answers of the
            original ``model``. Then nothing that is called accuracy here is one: it is agreement with the original.
        digest: SHA-256 of this document's canonical form without this field; it identifies the bundle.
    """

    SCHEMA: ClassVar[str] = "edgetl.bundle/3"
    # Version 1 has square RGB inputs only, and version 2 has labelled photos only. Those are still written as that, for
    # devices with an earlier edgetl, which would take agreement for accuracy.
    OLDER: ClassVar[Mapping[str, Callable[[Json], Json]]] = {
        "edgetl.bundle/1": lambda document: document,
        "edgetl.bundle/2": lambda document: document,
    }
    SEALED: ClassVar[bool] = True

    producer: Named
    created: Time
    labels: Annotated[tuple[Annotated[str, Is(pattern="[^\n]+")], ...], Is(items=2, unique=True)]
    preprocess: Preprocess
    variants: Annotated[tuple[Variant, ...], Is(items=1)]
    reference: ReferenceFile
    provenance: dict[str, Json]
    files: dict[str, Entry]
    unknown: UnknownTest | None = optional()
    truth: Truth = optional("labels")
    digest: Sha256 = documents.stated("0" * 64)

    def written_as(self) -> str:
        """Return the first schema that has such inputs and such photos."""
        if self.truth != "labels":
            return self.SCHEMA
        return "edgetl.bundle/2" if self.preprocess.size.brief() is None else "edgetl.bundle/1"


@dataclass(frozen=True)
class BundleName:
    """Identifies a bundle.

    Attributes:
        name: Name of its folder or file.
        digest: Digest of its bundle.json.
    """

    name: str
    digest: Sha256


@dataclass(frozen=True, kw_only=True)
class EvalPhoto:
    """A photo to evaluate with.

    Attributes:
        file: Path in the bundle's evalset folder, or in the labelled folder.
        index: Index of the true class.
        sha256: SHA-256 of the file.
    """

    file: str
    index: Count = documents.named("label")
    sha256: Sha256


@dataclass(frozen=True)
class ReferenceArrays:
    """Output of the float model for some photos, row i = photo i.

    Attributes:
        probabilities: float32 [n, classes].
        logits: float32 [n, classes].
    """

    probabilities: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]


@dataclass(frozen=True)
class BundleReference(ReferenceArrays):
    """Output of the float model for the held-out photos of a bundle, and the preprocessed pixels of some.

    Attributes:
        golden_rows: int64 [k], the photos whose pixels are kept.
        golden_pixels: uint8 [k, H, W, C], those pixels after preprocessing, 0..255.
    """

    golden_rows: npt.NDArray[np.int64]
    golden_pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose ``bundle.json`` has been checked. Make one with :meth:`open`.

    Attributes:
        path: The folder or the ``.edgetl`` file.
        labels: Class names, in the order of the model's output.
        preprocess: Preprocessing of photos.
        variants: The models, in the order of the file.
        files: Size and SHA-256 of every file, by path in the bundle.
        provenance: Origin of the model.
        unknown: How variants tell unknown photos, if they can.
        truth: What its photos are held against, as in the manifest.
        digest: SHA-256 of the canonical ``bundle.json``, which identifies the bundle.
    """

    path: Path
    labels: tuple[str, ...]
    preprocess: Preprocess
    variants: tuple[Variant, ...]
    files: Mapping[str, Entry]
    provenance: dict[str, Json]
    unknown: UnknownTest | None
    truth: Truth
    digest: str
    _storage: Storage

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Open a folder, a run folder with ``bundle`` in it, or an ``.edgetl`` file.

        Raises:
            InputError: It is missing, damaged, edited, or of a schema that this version does not read; the message
                names the wrong field.
        """
        place = Path(path)
        heal(place)
        if not (place / MANIFEST).exists():
            heal(place / "bundle")
        if (place / "bundle" / MANIFEST).is_file():
            place = place / "bundle"
        store = storage.open_storage(place, MANIFEST)
        name = f"{place}: {MANIFEST}"
        manifest = read_manifest(store.read(MANIFEST, limit_bytes=_MAX_MANIFEST_BYTES), name=name)
        return cls(
            path=place,
            labels=manifest.labels,
            preprocess=manifest.preprocess,
            variants=manifest.variants,
            files=manifest.files,
            provenance=manifest.provenance,
            unknown=manifest.unknown,
            truth=manifest.truth,
            digest=manifest.digest,
            _storage=store,
        )

    def variant(self, name: str) -> Variant:
        """Return the variant called ``name``.

        Raises:
            InputError: There is none; the message lists the existing variants.
        """
        by_name = {variant.name: variant for variant in self.variants}
        if name in by_name:
            return by_name[name]
        raise InputError(
            f"variant {name!r} is not in {self.path}",
            why=f"it has {', '.join(by_name)}",
            hint=closest(name, by_name),
        )

    def read(self, file: str, *, limit_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Return the bytes of a file that ``bundle.json`` lists.

        Raises:
            InputError: It is not listed, missing, too large, or differs from the listed size or SHA-256.
        """
        entry = self.files.get(file)
        if entry is None:
            raise InputError(f"{self.path}: {file} is not listed in {MANIFEST}")
        if entry.bytes > limit_bytes:
            raise damaged(f"{self.path}: {file}", f"its {entry.bytes} bytes exceed the limit for such a file")
        if self._storage.size_bytes(file) != entry.bytes:
            raise damaged(f"{self.path}: {file}", f"its size differs from the {entry.bytes} bytes in {MANIFEST}")
        data = self._storage.read(file, limit_bytes=entry.bytes)
        if len(data) != entry.bytes or sha256_bytes(data) != entry.sha256:
            raise damaged(f"{self.path}: {file}", f"its SHA-256 differs from {MANIFEST}")
        return data

    def signatures(self) -> tuple[Signature, ...]:
        """Return the bundle's signatures, unchecked; empty if it is not signed.

        Raises:
            InputError: Its ``signature.json`` is damaged.
        """
        data = self.descriptions().get(SIGNATURES)
        name = f"{self.path}: {SIGNATURES}"
        return () if data is None else documents.parse(Signatures, data, name=name).signatures

    def check_signed(self, trust: Sequence[PublicKey], *, at: datetime | None = None, min_version: int = 0) -> Checked:
        """Return the valid signature with the highest version by a trusted key.

        Args:
            trust: Trusted keys, at least one.
            at: The time at which keys and signatures must be valid; None ignores expiry.
            min_version: A lower version is refused.

        Raises:
            InputError: No signature is valid.
        """
        try:
            return check(self.digest, self.signatures(), trust, at=at, min_version=min_version)
        except InputError as error:
            raise InputError(f"{self.path}: {error.what}", why=error.why, hint=error.hint) from None

    def descriptions(self) -> dict[str, bytes]:
        """Return the documents that ``bundle.json`` does not list: itself and, if there is one, ``signature.json``.

        Raises:
            InputError: A file is too large.
        """
        limits = {MANIFEST: _MAX_MANIFEST_BYTES, SIGNATURES: _MAX_SIGNATURES_BYTES}
        return {
            name: self._storage.read(name, limit_bytes=limit)
            for name, limit in limits.items()
            if self._storage.has(name)
        }

    def card(self) -> bytes | None:
        """Return the model card, if there is one: words for people, which neither digest nor signatures cover.

        Raises:
            InputError: It is too large.
        """
        return self._storage.read(CARD, limit_bytes=_MAX_CARD_BYTES) if self._storage.has(CARD) else None

    def photos(self) -> tuple[EvalPhoto, ...]:
        """Return the held-out photos in the order of the reference's rows; ``read(photo.file)`` gives the bytes.

        Raises:
            InputError: The index does not fit the bundle.
        """
        name = f"{self.path}: {INDEX}"
        try:
            rows = csv.DictReader(
                io.StringIO(self.read(INDEX, limit_bytes=_MAX_INDEX_BYTES).decode("utf-8"), newline="")
            )
            if tuple(rows.fieldnames or ()) != INDEX_COLUMNS:
                raise damaged(name, f"its columns are not {', '.join(INDEX_COLUMNS)}")
            return tuple(self._photo(row, name) for row in rows)
        except (UnicodeDecodeError, csv.Error) as error:
            raise damaged(name, str(error)) from None

    def reference(self) -> BundleReference:
        """Return the float model's predictions on :meth:`photos`.

        Raises:
            InputError: The arrays do not fit the bundle.
        """
        name = f"{self.path}: {REFERENCE}"
        n, classes, shape = len(self.photos()), len(self.labels), self.preprocess.size.shape
        if n == 0:
            raise damaged(f"{self.path}: {INDEX}", "it lists no photos")
        # The manifest determines all sizes before anything is read.
        golden_bytes = _MAX_GOLDEN * (8 + math.prod(shape))
        data = self.read(REFERENCE, limit_bytes=2 * 4 * n * classes + golden_bytes + (64 << 10))
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                rows = _array(archive, "golden_rows", "int64", None, name)
                reference = BundleReference(
                    probabilities=_array(archive, "probabilities", "float32", (n, classes), name),
                    logits=_array(archive, "logits", "float32", (n, classes), name),
                    golden_rows=rows,
                    golden_pixels=_array(archive, "golden_pixels", "uint8", (len(rows), *shape), name),
                )
        except (zipfile.BadZipFile, OSError, RuntimeError, *NPY_DAMAGE) as error:
            raise damaged(name, str(error)) from None
        if len(rows) and not (rows.min() >= 0 and rows.max() < n):
            raise damaged(name, "golden_rows names a photo that does not exist")
        # Written so that NaN fails.
        found = reference.probabilities
        if not (found.min() >= 0 and found.max() <= 1 and np.isfinite(reference.logits).all()):
            raise damaged(name, "its probabilities are not all within 0..1, or its logits not all finite")
        return reference

    def unknown_scorer(self, variant: str) -> UnknownScorer | None:
        """Return what scores the features of a variant; None if the bundle has no threshold for it.

        Raises:
            InputError: The feature bank does not fit the bundle.
        """
        found = self.unknown
        threshold = {one.name: one.threshold for one in found.variants}.get(variant) if found else None
        if found is None or threshold is None:
            return None
        name = f"{self.path}: {found.file}"
        # The manifest, whose reader bounds it, determines the size before anything is read.
        size = (found.features + found.rows) * (found.components + 4) + 4 * found.components
        data = self.read(found.file, limit_bytes=size + (64 << 10))
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                mean = _array(archive, "mean", "float32", (found.features,), name)
                components = _scaled(archive, "components", (found.components, found.features), name)
                rows = _scaled(archive, "rows", (found.rows, found.components), name)
        except (zipfile.BadZipFile, OSError, RuntimeError, *NPY_DAMAGE) as error:
            raise damaged(name, str(error)) from None
        if not all(np.isfinite(array).all() for array in (mean, components, rows)):
            raise damaged(name, "its numbers are not all finite")
        return UnknownScorer(FeatureBank(mean, components, rows, found.neighbours), threshold)

    def _photo(self, row: dict[str, str], name: str) -> EvalPhoto:
        file = EVALSET + str(row["file"])
        entry = self.files.get(file)
        if entry is None or entry.sha256 != row["sha256"]:
            raise damaged(name, f"{file} is not listed in {MANIFEST} with this SHA-256")
        if entry.bytes > MAX_BYTES:
            raise damaged(name, f"{file} has {entry.bytes} bytes, more than a photo may have")
        if row["label"] not in self.labels:
            raise damaged(name, f"{file} has the label {row['label']!r}, which is not one of the bundle's")
        return EvalPhoto(file=file, index=self.labels.index(row["label"]), sha256=entry.sha256)


def _array(
    archive: zipfile.ZipFile, field: str, dtype: str, shape: tuple[int, ...] | None, name: str
) -> npt.NDArray[Any]:
    """Read an array of known type and shape (None: 1-D of any length) from an ``.npz``, without allocating more."""
    member = archive.getinfo(f"{field}.npy")
    if member.compress_type != zipfile.ZIP_STORED:
        raise damaged(name, f"{field} is compressed")
    with archive.open(member) as stream:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise damaged(name, f"{field} is in a newer format of NumPy")
        found, is_fortran, found_dtype = np.lib.format.read_array_header_1_0(
            stream, max_header_size=_MAX_NPY_HEADER_BYTES
        )
        fits = len(found) == 1 if shape is None else found == shape
        if found_dtype != dtype or not fits or (is_fortran and len(found) > 1):
            raise damaged(name, f"{field} is {found_dtype} {found}, expected {dtype} {shape or ''}".rstrip())
        data = stream.read()
    return np.frombuffer(data, dtype).reshape(found)


def _scaled(archive: zipfile.ZipFile, field: str, shape: tuple[int, int], name: str) -> npt.NDArray[np.float32]:
    """Read an int8 array whose rows have a scale each, float32 in ``<field>_scales``, as float32."""
    scales = _array(archive, f"{field}_scales", "float32", shape[:1], name)
    return np.asarray(_array(archive, field, "int8", shape, name) * scales[:, None], np.float32)


def read_manifest(data: bytes, *, name: str) -> Manifest:
    """Read a ``bundle.json`` and check that its parts are consistent; error messages use ``name``.

    Raises:
        InputError: It is damaged, edited, or has another schema; the message names the field.
    """
    manifest = documents.parse(Manifest, data, name=name)
    for file in manifest.files:
        if storage.checked_name(file) in (MANIFEST, SIGNATURES, CARD):
            raise damaged(f"{name}: files lists {file}", "it describes the bundle and cannot be part of it")
    names: set[str] = set()
    for place, variant in enumerate(manifest.variants):
        if variant.name in names:
            raise damaged(f"{name}: variants[{place}].name is {variant.name}", "another variant has the same name")
        names.add(variant.name)
        if manifest.files.get(variant.file) != Entry(variant.sha256, variant.bytes):
            raise damaged(
                f"{name}: variants[{place}].file is {variant.file}", "files does not list it with this size and SHA-256"
            )
    if manifest.unknown is not None:
        _check_unknown(manifest.unknown, manifest.files, names, name)
    return manifest


def _check_unknown(unknown: UnknownTest, files: Mapping[str, Entry], variants: set[str], name: str) -> None:
    for place, variant in enumerate(unknown.variants):
        if variant.name not in variants:
            raise damaged(f"{name}: unknown.variants[{place}].name is {variant.name}", "there is no such variant")
    if unknown.file not in files:
        raise damaged(f"{name}: unknown.file is {unknown.file}", "files does not list it")
    if unknown.neighbours > unknown.rows:
        raise damaged(f"{name}: unknown.neighbours is {unknown.neighbours}", f"the bank has {unknown.rows} rows")
    if (unknown.rows + unknown.features) * unknown.components > _MAX_BANK_BYTES:
        raise damaged(
            f"{name}: unknown has {unknown.rows} rows and {unknown.components} components of {unknown.features}",
            "a feature bank is smaller",
        )
    if len(unknown.photos) > MAX_UNKNOWN_PHOTOS:
        raise damaged(f"{name}: unknown.photos has {len(unknown.photos)}", f"at most {MAX_UNKNOWN_PHOTOS} are allowed")
    for file in unknown.photos:
        if file not in files or files[file].bytes > MAX_BYTES:
            raise damaged(f"{name}: unknown.photos has {file}", "files does not list it with the size of a photo")
