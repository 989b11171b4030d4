"""Run the advice: one pass of each frozen base, probes at every depth, a recommendation."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import check_installed
from edgetl.backbones import BACKBONES, ResolvedWeights, backbone, build_base, resolve_weights
from edgetl.data import Dataset, Sample, load_dataset, require_training, stratified_rows, targets_of
from edgetl.data.pixels import PhotoFacts
from edgetl.features import frozen_base
from edgetl_device.errors import OptionError
from edgetl_device.input_size import InputSize
from edgetl_device.preprocess import Preprocess

from .depths import Depth, depths_of
from .document import AdviceDocument, AdvisedBackbone, AdvisedPhotos
from .probes import Fold, folds_of, probe_all
from .rules import Photos, Probed, Recommendation, choose, recommend

# Enough for intervals of less than +-2 pp; more photos only take longer.
MAX_PHOTOS = 3_000


@dataclass(frozen=True)
class BackboneAdvice:
    """One backbone on these photos.

    Attributes:
        name: The backbone.
        weights: Weights of its base.
        probed: Every depth with its probe, the whole base last.
        recommendation: What to train with this backbone.
    """

    name: str
    weights: ResolvedWeights
    probed: tuple[Probed, ...]
    recommendation: Recommendation

    @property
    def record(self) -> AdvisedBackbone:
        """The same for documents."""
        depths = tuple(one.record for one in self.probed)
        return AdvisedBackbone(self.name, self.weights.record, depths, self.recommendation.record)


@dataclass(frozen=True)
class Advice:
    """What to train on these photos.

    Attributes:
        photos: Facts about the training photos.
        probed_photos: Number of photos that the probes used.
        folds: Number of folds of the cross-validation.
        backbones: The compared backbones.
        recommendation: What to train.
    """

    photos: Photos
    probed_photos: int
    folds: int
    backbones: tuple[BackboneAdvice, ...]
    recommendation: Recommendation

    @property
    def document(self) -> AdviceDocument:
        """The same as a document."""
        photos = AdvisedPhotos(**vars(self.photos), probed=self.probed_photos, split="train", folds=self.folds)
        return AdviceDocument(photos, tuple(one.record for one in self.backbones), self.recommendation.record)


def embedded_backbones() -> tuple[str, ...]:
    """Return the backbones whose weights ship with edgetl, the default one first."""
    return tuple(name for name, row in BACKBONES.items() if row.embedded)


def advise(
    dataset: Dataset, *, backbones: Sequence[str], width: float = 1.0, weights: str = "auto", seed: int = 0
) -> Advice:
    """Probe the training photos of a data set at every depth of each backbone.

    Validation and test photos are not used, so they remain valid for model selection and testing.

    Args:
        dataset: The photos; the size of their ``pixels`` is the input size.
        backbones: Names, at least one.
        width: Width multiplier of each.
        weights: As in ``edgetl train --weights``.
        seed: Seed of the folds and of the sample of at most :data:`MAX_PHOTOS` photos.

    Raises:
        InputError: Unknown backbone, width or weights; or no class has two training photos.
        Unavailable: Weights have to be downloaded, and the download fails.
    """
    sampled = sample_training(dataset, seed=seed)
    photos = _about(dataset, dataset.of("train"))

    found = []
    for name in backbones:
        resolved = resolve_weights(name, width=width, request=_request(name, weights), size=dataset.spec.size)
        base = build_base(name, size=dataset.spec.size, width=width, weights=resolved)
        probed = probe_depths(name, base, depths_of(name, base, classes=len(dataset.labels)), dataset, sampled)
        advised = recommend(name, probed, photos, pretrained=resolved.source != "none")
        found.append(BackboneAdvice(name, resolved, probed, advised))
    chosen = choose([(one.recommendation, one.probed) for one in found])
    return Advice(photos, len(sampled.targets), len(sampled.folds), tuple(found), chosen)


@dataclass(frozen=True, eq=False)
class Sampled:
    """The training photos that probes use, the same at every input size.

    Attributes:
        targets: int64 [n], classes.
        folds: Folds of the cross-validation.
        rows: int64 [n], rows in the pixel cache.
    """

    targets: npt.NDArray[np.int64]
    folds: tuple[Fold, ...]
    rows: npt.NDArray[np.int64]


def sample_training(dataset: Dataset, *, seed: int) -> Sampled:
    """Return a stratified sample of at most :data:`MAX_PHOTOS` training photos, and its folds.

    Raises:
        InputError: No class has two training photos.
    """
    training = dataset.of("train")
    every = targets_of(training, dataset.labels)
    taken = stratified_rows(every, MAX_PHOTOS, seed=seed)
    samples, targets = [training[place] for place in taken], every[taken]
    folds = folds_of(targets, [sample.group for sample in samples], seed=seed)
    return Sampled(targets, tuple(folds), dataset.pixels.rows(samples))


def probe_depths(
    name: str, base: Any, depths: Sequence[Depth], dataset: Dataset, sampled: Sampled
) -> tuple[Probed, ...]:
    """Probe a base at some of its depths, in one pass over the photos.

    Args:
        name: Name of the backbone, for the progress bar.
        base: From :func:`~edgetl.backbones.build_base`, of the input size of ``dataset``.
        depths: Some of :func:`~edgetl.advice.depths.depths_of`, at least one.
        dataset: The photos.
        sampled: From :func:`sample_training`.
    """
    frozen = frozen_base.freeze_depths(base, [depth.layer for depth in depths])
    pooled = np.asarray(frozen_base.row_activations(frozen, dataset.pixels, sampled.rows).pooled)
    ends = np.cumsum([depth.channels for depth in depths])[:-1]
    rights = probe_all(np.split(pooled, ends, axis=1), sampled.targets, sampled.folds, name=name)
    return tuple(Probed(depth, right) for depth, right in zip(depths, rights, strict=True))


def advise_on(
    data: Path,
    *,
    backbones: Sequence[str],
    width: float,
    size: InputSize,
    fit: str,
    weights: str,
    val: float,
    test: float,
    on_conflict: str,
    seed: int,
) -> Advice:
    """Read a data set and advise on its training photos; check everything before TensorFlow is loaded.

    Arguments and errors are those of :func:`edgetl.advise`.
    """
    check_installed("tensorflow")
    if weights == "none":
        raise OptionError("{weights=}: random features say nothing about the photos", weights=weights)
    for name in backbones:
        backbone(name).check(width=width, size=size)
    spec = Preprocess(size=size, fit=fit)  # type: ignore[arg-type]  # checked by the class
    dataset = load_dataset(data, spec, seed=seed, val=val, test=test, on_conflict=on_conflict)  # type: ignore[arg-type]
    require_training(dataset)
    return advise(dataset, backbones=tuple(dict.fromkeys(backbones)), width=width, weights=weights, seed=seed)


def _request(name: str, weights: str) -> str:
    # A backbone without published weights is probed with random ones; the advice is then to train all of it.
    row = BACKBONES.get(name)
    return "none" if row and weights == "auto" and not row.pretrained else weights


def _about(dataset: Dataset, training: Sequence[Sample]) -> Photos:
    counts = Counter(sample.label for sample in training)
    sides = []
    for sample in training:
        facts = dataset.pixels.facts[sample.sha256]
        if isinstance(facts, PhotoFacts):
            sides.append(min(facts.width, facts.height))
    return Photos(
        count=len(training),
        fewest=min(counts[label] for label in dataset.labels),
        classes=len(dataset.labels),
        side=int(statistics.median(sides)),
        size=dataset.spec.size,
    )
