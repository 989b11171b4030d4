"""Add a compiled file to a bundle, next to its source variant."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgetl._lib.lock import bundle_locked
from edgetl.inspection.tflite.file import Tensor, describe
from edgetl_device._lib import documents
from edgetl_device._lib.files import atomic_path, sha256_bytes, write_bytes
from edgetl_device.bundle import MANIFEST, SIGNATURES, Bundle, Compilation, Manifest, Variant
from edgetl_device.errors import InputError
from edgetl_device.packing import pack
from edgetl_device.storage import Entry

SUFFIX = "-edgetpu"


def add_compiled(bundle: Bundle, source: Variant, data: bytes, compilation: Compilation) -> None:
    """Add a compiled file as ``<source>-edgetpu``, replacing an existing one, and update hashes and digest.

    Signatures are removed, because they do not cover this file. Accuracy and agreement are unknown (null): the source's
    values do not apply to it.

    Args:
        bundle: A folder or an ``.edgetl`` file; updated atomically.
        source: The variant that was compiled; input, output and calibration are copied from it.
        data: The compiled TFLite file.
        compilation: The compiler's results.

    Raises:
        InputError: Input or output differ from the source, the bundle is damaged, or another process changed it or is
            changing it.
    """
    _check_same_ends(source, data)
    with bundle_locked(bundle.path), _as_folder(bundle) as folder:
        manifest = documents.read(Manifest, folder / MANIFEST)
        if source not in manifest.variants:
            raise InputError(
                f"{bundle.path}: was changed after its variant {source.name} was read", hint="Compile it again."
            )
        name, file = source.name + SUFFIX, f"models/{source.name}{SUFFIX}.tflite"
        entry = Entry(sha256_bytes(data), len(data))
        compiled = replace(
            source,
            name=name,
            file=file,
            bytes=entry.bytes,
            sha256=entry.sha256,
            accuracy=None,
            agreement=None,
            compilation=compilation,
        )
        changed = replace(
            manifest,
            variants=(*(other for other in manifest.variants if other.name != name), compiled),
            files=dict(sorted((manifest.files | {file: entry}).items())),
        )
        write_bytes(folder / file, data)
        (folder / SIGNATURES).unlink(missing_ok=True)  # signs the former bundle
        documents.write(folder / MANIFEST, documents.sealed(changed))
        Bundle.open(folder).read(file)  # read back what was written


def _check_same_ends(source: Variant, data: bytes) -> None:
    model = describe(data)
    for what, indices, spec in (("input", model.inputs, source.input), ("output", model.outputs, source.output)):
        tensor = model.tensors[indices[0]] if len(indices) == 1 else None
        found = (tensor.dtype, tensor.shape, *_grid(tensor)) if tensor else (f"{len(indices)} {what}s",)
        wanted = (spec.dtype, spec.shape, spec.scale, spec.zero_point)
        if found != wanted:
            raise InputError(
                f"the compiled file does not come from the variant {source.name}",
                why=f"its {what} is {found}, not {wanted}",
                hint="Compile the file that edgetl compile --prepare writes for this bundle.",
            )


def _grid(tensor: Tensor) -> tuple[float | None, int | None]:
    return (tensor.scales[0], tensor.zero_points[0]) if tensor.scales else (None, None)


@contextmanager
def _as_folder(bundle: Bundle) -> Iterator[Path]:
    """Yield a copy of a bundle as a folder; it replaces the bundle if the block succeeds."""
    if bundle.path.is_dir():
        # Foreign files are copied too.
        with atomic_path(bundle.path, directory=True, replaceable=lambda _: None) as copy:
            shutil.copytree(bundle.path, copy, symlinks=True, dirs_exist_ok=True)
            yield copy
        return
    with tempfile.TemporaryDirectory(prefix="edgetl-bundle-") as name:
        folder = Path(name) / "bundle"
        folder.mkdir()
        with zipfile.ZipFile(bundle.path) as archive:
            (folder / MANIFEST).write_bytes(archive.read(MANIFEST))
        for file in bundle.files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(bundle.read(file))
        yield folder
        pack(folder, bundle.path)
