"""Photos of a finished run, found and decoded: held-out photos for metrics, training photos for calibration."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgetl.data import Sample, photos_folder
from edgetl.data.pixels import PixelCache, decode_files
from edgetl.runs.directory import Run
from edgetl_device.errors import InputError
from edgetl_device.files import sha256_file


@dataclass(frozen=True)
class Photos:
    """Samples with their pixels.

    Attributes:
        samples: In the order of ``rows``.
        paths: Where their files are.
        targets: int64 [n], class indices.
        pixels: uint8 [n, S, S, 3].
    """

    samples: tuple[Sample, ...]
    paths: tuple[Path, ...]
    targets: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8]


def find_photos(run: Run, samples: Sequence[Sample], *, data: Path | None = None) -> Photos:
    """Find and decode photos of a run.

    Args:
        run: Where the samples come from.
        samples: Which ones; at least one.
        data: The data set (folder or file), where it is not at the place that it was trained from.

    Raises:
        InputError: The data set or a photo of it is missing or was changed since training.
    """
    root = photos_folder(data or run.data_root)
    paths = tuple(root / sample.path for sample in samples)
    for path, sample in zip(paths, samples, strict=True):
        if not path.is_file():
            raise InputError(
                f"{path}: a photo of this run is missing", hint="Say where the data set is now: --data FOLDER"
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
    """Return the photos that numbers are reported on: the test split, else validation.

    Of more than ``most``, those with the lowest hashes are taken, which is a random draw that does not change.
    """
    samples = run.of(run.held_out)
    if len(samples) <= most:
        return samples
    drawn = sorted(samples, key=lambda sample: hashlib.sha256(f"evalset {sample.sha256}".encode()).digest())[:most]
    return tuple(sorted(drawn, key=lambda sample: sample.path))
