"""The document that ``edgetl advise --json`` prints, also in ``run.json`` for ``--strategy auto``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from edgetl.backbones import WeightsRecord
from edgetl_device._lib.documents import Count, Positive, Text
from edgetl_device.input_size import InputSize
from edgetl_device.scores import Accuracy


@dataclass(frozen=True)
class AdvisedPhotos:
    """The training photos.

    Attributes:
        count: Number of training photos.
        fewest: Number of photos in the smallest class.
        classes: Number of classes.
        side: Median of the shorter sides in the files, in pixels.
        size: Height, width and channels of the input.
        probed: Number of photos that the probes used.
        split: The split used: always ``train``.
        folds: Number of folds of the cross-validation.
    """

    count: Positive
    fewest: Positive
    classes: Positive
    side: Positive
    size: InputSize
    probed: Positive
    split: Literal["train"]
    folds: Positive


@dataclass(frozen=True)
class ProbedDepth:
    """A backbone truncated at one of its layers: its cost, and the accuracy of a linear probe there.

    Attributes:
        block: Name of the last kept block; null for the whole base.
        blocks: Number of kept blocks.
        layer: The layer whose output is pooled.
        channels: Width of the pooled features.
        parameters: Number of weights up to there, including the head.
        multiply_adds: Multiply-adds per photo, including the head.
        int8_bytes: Estimated size of its int8 TFLite file, with the head.
        accuracy: Accuracy of the probe in cross-validation.
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
        backbone: Name of the backbone.
        strategy: Value for ``edgetl train --strategy``.
        trainable_blocks: Number of blocks to train; null for the default of ``edgetl train``.
        truncate: The last block to keep; null keeps all.
        title: One-line summary.
        reasons: One sentence each, the decisive one first.
        flags: The corresponding options of ``edgetl train``.
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
        weights: Weights of its base.
        depths: Every depth with its probe, the whole base last.
        recommendation: What to train with this backbone.
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
        backbones: The compared backbones.
        recommendation: What to train.
    """

    SCHEMA: ClassVar[str] = "edgetl.advice/1"

    photos: AdvisedPhotos
    backbones: tuple[AdvisedBackbone, ...]
    recommendation: RecommendationRecord
