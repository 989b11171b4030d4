"""Give variants their output of features, choose their thresholds, and measure how often they are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgetl._lib.cores import available_cores
from edgetl._lib.progress import note, track
from edgetl._lib.quiet import quietly
from edgetl.data import stratified_sample
from edgetl.export.bundle import UnknownFiles, VariantFile
from edgetl.runs.directory import Run
from edgetl.runs.held_out import Photos, find_photos
from edgetl_device.bench.accuracy import accepted_of
from edgetl_device.errors import InputError, OptionError
from edgetl_device.runtime import features_in, open_runtime
from edgetl_device.unknown import Accepted, FeatureBank, UnknownVariant

from .bank import distances, feature_bank, threshold
from .distortions import DISTORTIONS, drawn
from .given import UnknownGiven

# Share of the validation photos that the thresholds keep.
KEPT = 0.95
# More photos take longer and change little.
_BANK_PHOTOS, _VALIDATION_PHOTOS, _DISTORTED_PHOTOS = 2000, 1000, 100


@dataclass(frozen=True, eq=False)
class UnknownPixels:
    """The photos that thresholds are chosen and measured with, each uint8 [n, H, W, C].

    Attributes:
        train: Training photos, for the bank.
        validation: Validation photos, for the thresholds.
        held_out: The held-out photos of the bundle.
        given: The user's unknown photos, if any.
    """

    train: npt.NDArray[np.uint8]
    validation: npt.NDArray[np.uint8]
    held_out: npt.NDArray[np.uint8]
    given: UnknownGiven | None


def unknown_pixels(run: Run, held_out: Photos, given: UnknownGiven | None, *, data: Path | None) -> UnknownPixels:
    """Find and decode the photos of a run that telling unknown photos needs.

    Raises:
        InputError: The run has no validation photos, or its photos changed since training.
    """
    if not run.of("val"):
        raise OptionError(
            "{unknown=} needs validation photos, and the run has none",
            why="the threshold is chosen on them, as test photos are for the final number only",
            hint="Train with --val 0.15.",
            unknown=True,
        )
    train = find_photos(run, stratified_sample(run.of("train"), count=_BANK_PHOTOS, seed=0), data=data)
    validation = find_photos(run, stratified_sample(run.of("val"), count=_VALIDATION_PHOTOS, seed=0), data=data)
    return UnknownPixels(train.pixels, validation.pixels, held_out.pixels, given)


def unknown_files(variants: Sequence[VariantFile], pixels: UnknownPixels) -> UnknownFiles:
    """Return the bank, and each variant's threshold with its measured rates.

    Args:
        variants: All variants of the bundle. Those without outputs of features, or compiled for an accelerator, get
            no threshold. The first, float32 TFLite, has the features for the bank; one with another number of them gets
            no threshold, either, and is named.
        pixels: The photos.
    """
    counts = {variant.name: count for variant in variants if (count := _count_features(variant))}
    first = next(iter(counts))
    for name in (name for name, count in counts.items() if count != counts[first]):
        note(f"warning: {name} cannot tell unknown photos: it has {counts[name]} features, {first} has {counts[first]}")
    telling = [variant for variant in variants if counts.get(variant.name) == counts[first]]
    made = feature_bank(_features(telling[0], pixels.train, "Feature bank"))
    given = pixels.given
    return UnknownFiles(
        bank=made.arrays,
        neighbours=made.bank.neighbours,
        kept=KEPT,
        variants=tuple(_measured(variant, made.bank, pixels) for variant in telling),
        photos=given.files if given else (),
    )


def _count_features(variant: VariantFile) -> int:
    if variant.described is not None and variant.described.compilation is not None:
        return 0
    with quietly():
        runtime = open_runtime(variant.data, variant.format)
    runtime.close()
    return features_in(runtime.features)


def _measured(variant: VariantFile, bank: FeatureBank, pixels: UnknownPixels) -> UnknownVariant:
    def found(photos: npt.NDArray[np.uint8], what: str) -> npt.NDArray[np.float64]:
        return distances(bank, _features(variant, photos, f"{variant.name}, {what}"))

    validation = found(pixels.validation, "validation photos")
    limit = threshold(validation, KEPT)

    def accepted(distances: npt.NDArray[np.float64]) -> Accepted:
        return accepted_of(int((distances <= limit).sum()), len(distances))

    some = pixels.held_out[:: max(1, len(pixels.held_out) // _DISTORTED_PHOTOS)][:_DISTORTED_PHOTOS]
    given = pixels.given
    return UnknownVariant(
        name=variant.name,
        threshold=limit,
        validation=accepted(validation),
        held_out=accepted(found(pixels.held_out, "held-out photos")),
        unknown=accepted(found(given.pixels, "unknown photos")) if given else None,
        in_bundle=accepted(found(given.file_pixels, "unknown photos in the bundle")) if given else None,
        drawn={name: accepted(found(drawn(name, some), name)) for name in DISTORTIONS},
    )


def _features(variant: VariantFile, pixels: npt.NDArray[np.uint8], description: str) -> npt.NDArray[np.float32]:
    """Return the pooled features of photos by a variant, float32 [n, features]."""
    with quietly():
        runtime = open_runtime(variant.data, variant.format, threads=available_cores())
    rows = []
    with track(description, len(pixels)) as advance:
        for photo in pixels:
            runtime.set_input(photo)
            runtime.invoke()
            rows.append(runtime.pooled())
            advance(1)
    runtime.close()
    found = np.stack(rows)
    if not np.isfinite(found).all():
        raise InputError(f"the features of {variant.name} are not all finite", hint="Its weights are damaged.")
    return found
