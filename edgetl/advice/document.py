"""What ``edgetl advise --json`` prints, and ``run.json`` keeps of ``--strategy auto``. Not for: how it is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from edgetl.backbones import WeightsRecord
from edgetl_device.documents import Count, Positive, Text
from edgetl_device.scores import Accuracy


@dataclass(frozen=True)
class AdvisedPhotos:
    """The training photos.

    Attributes:
        count: How many there are.
        fewest: In the smallest class.
        classes: How many classes.
        side: Median of the shorter sides in the files, in pixels.
        size: Input height and width in pixels.
        probed: How many the probes used.
        split: The only one that is looked at.
        folds: Of the cross-validation.
    """

    count: Positive
    fewest: Positive
    classes: Positive
    side: Positive
    size: Positive
    probed: Positive
    split: Literal["train"]
    folds: Positive


@dataclass(frozen=True)
class ProbedDepth:
    """A network that ends at one of a backbone's layers: what it costs, and what a linear probe there has right.

    Attributes:
        block: Name of the last block that is kept; null for the whole base.
        blocks: How many are kept.
        layer: The layer whose output is pooled.
        channels: Width of the pooled features.
        parameters: Values in the weights up to there and in the head.
        multiply_adds: For one photo, the head included.
        int8_bytes: Estimated size of its int8 TFLite file, with the head.
        accuracy: Of the probe, each photo while it was held out.
    """

    block: str | None
    blocks: Count
    layer: str
    channels: Positive
    parameters: Count
    multiply_adds: Count
    int8_bytes: Count
    accuracy: Accuracy


@dataclass(frozen=True)
class RecommendationRecord:
    """What to train.

    Attributes:
        backbone: Its name.
        strategy: As ``edgetl train --strategy`` takes it.
        trainable_blocks: Null takes the default of ``edgetl train``.
        truncate: The last block to keep; null keeps all.
        title: One line.
        reasons: Sentences, the decisive one first.
        flags: The options that make ``edgetl train`` do it.
    """

    backbone: Text
    strategy: Text
    trainable_blocks: Count | None
    truncate: str | None
    title: str
    reasons: tuple[str, ...]
    flags: str


@dataclass(frozen=True)
class AdvisedBackbone:
    """One backbone on these photos.

    Attributes:
        name: The backbone.
        weights: What its base got.
        depths: Every depth with its probe, the whole base last.
        recommendation: The best of it.
    """

    name: Text
    weights: WeightsRecord
    depths: tuple[ProbedDepth, ...]
    recommendation: RecommendationRecord


@dataclass(frozen=True)
class AdviceDocument:
    """What to train on some photos, and why.

    Attributes:
        photos: The training photos.
        backbones: Those that were compared.
        recommendation: What to train.
    """

    SCHEMA: ClassVar[str] = "edgetl.advice/1"

    photos: AdvisedPhotos
    backbones: tuple[AdvisedBackbone, ...]
    recommendation: RecommendationRecord
