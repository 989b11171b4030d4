"""Find and decode photos of a finished run: held-out photos for metrics, training photos for calibration."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgetl.data import Sample
from edgetl.data.pixels import PixelCache, decode_files
from edgetl.data.readers.folders import find_file
from edgetl.runs.directory import Run
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import InputError


@dataclass(frozen=True)
class Photos:
    """Samples with their pixels.

    Attributes:
        samples: Samples in the order of ``pixels``.
        paths: Paths of the files.
        targets: Class indices, int64 [n].
        pixels: Decoded photos, uint8 [n, H, W, C].
    """

    samples: tuple[Sample, ...]
    paths: tuple[Path, ...]
    targets: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8]


def find_photos(run: Run, samples: Sequence[Sample], *, data: Path | None = None) -> Photos:
    """Find and decode photos of a run.

    Args:
        run: The run of the samples.
        samples: At least one sample.
        data: The data set (folder or file) if it has moved since training.

    Raises:
        InputError: The data set or a photo is missing or changed since training.
    """
    root = run.photos_folder(data)
    # Copying to another system may have changed the Unicode normalization of names.
    paths = tuple(find_file(root, sample.path) or root / sample.path for sample in samples)
    for path, sample in zip(paths, samples, strict=True):
        if not path.is_file():
            raise InputError(
                f"{path}: a photo of this run is missing", hint="Give the current path of the data set: --data FOLDER"
            )
        if sha256_file(path) != sample.sha256:
            raise InputError(f"{path}: was changed since training", hint="Restore it, or train again.")
    cache: PixelCache = decode_files(
        {sample.sha256: path for sample, path in zip(samples, paths, strict=True)}, run.preprocess
    )
    index = {label: place for place, label in enumerate(run.labels)}
    return Photos(
        samples=tuple(samples),
        paths=paths,
        targets=np.array([index[sample.label] for sample in samples], dtype=np.int64),
        pixels=cache.array[cache.rows(samples)],
    )


def held_out(run: Run, *, most: int) -> tuple[Sample, ...]:
    """Return the photos that metrics are reported on: the test split, else validation.

    At most ``most`` photos, those with the lowest hashes: a reproducible random sample.
    """
    samples = run.of(run.held_out)
    if len(samples) <= most:
        return samples
    drawn = sorted(samples, key=lambda sample: hashlib.sha256(f"evalset {sample.sha256}".encode()).digest())[:most]
    return tuple(sorted(drawn, key=lambda sample: sample.path))
