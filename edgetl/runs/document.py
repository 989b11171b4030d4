"""``run.json``: what a finished run was made from, how, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar

from edgetl.backbones.weights import WeightsRecord
from edgetl.data import DatasetDescription, Split
from edgetl_device import documents
from edgetl_device.documents import Count, Json, Positive, Seconds, Sha256, Text, optional, rest
from edgetl_device.errors import InputError
from edgetl_device.options import Value
from edgetl_device.preprocess import Preprocess
from edgetl_device.scores import Accuracy

from .metrics import Metrics


@dataclass(frozen=True)
class TrainedSettings:
    """The settings of training, resolved; those that later commands need have a field here.

    Attributes:
        backbone: Its name.
        width: Its width multiplier.
        size: Input height and width in pixels.
        augment: Preset of the augmented views.
        strategy: What was trained: ``head``, ``blocks``, ``all`` or ``scratch``.
        trainable_blocks: How many of the last blocks.
        others: All other settings, by name.
    """

    backbone: Text
    width: float
    size: Positive
    augment: str = "none"
    strategy: str | None = None
    trainable_blocks: Count | None = None
    others: dict[str, Value] = rest()

    @classmethod
    def of(cls, settings: Mapping[str, Value]) -> TrainedSettings:
        """Return settings by name as this class."""
        return documents.of_json(cls, documents.to_json(settings), name="settings")

    def by_name(self) -> dict[str, Value]:
        """Return every setting by its name."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "others"}
        return own | self.others


@dataclass(frozen=True)
class Truncation:
    """Where the base was cut short.

    Attributes:
        block: Name of the last block that was kept.
        layer: Its last layer.
        blocks: How many blocks were kept.
        of_blocks: How many the backbone has.
    """

    block: str
    layer: str
    blocks: Count
    of_blocks: Count


@dataclass(frozen=True)
class StrategyRecord:
    """Why these layers were trained.

    Attributes:
        asked: The strategy as asked for; null where it followed from other settings.
        reasons: Sentences, where edgetl decided it.
        advice: What ``--strategy auto`` found (``edgetl.advice/1``).
        truncated: Where the base was cut short; null where it is whole.
    """

    asked: str | None = None
    reasons: tuple[str, ...] = ()
    advice: Json = optional()
    truncated: Truncation | None = None


@dataclass(frozen=True)
class TrainedModel:
    """The model file.

    Attributes:
        file: Its name in the run directory.
        bytes: Its size.
        sha256: Of the file.
        parameters: How many weights.
        cut_layer: The layer that the trained blocks start after; null where all layers were trained.
        best_epoch: Of the second stage, whose weights were kept; 0 without one.
    """

    file: Text
    bytes: Positive
    sha256: Sha256
    parameters: Positive
    cut_layer: str | None
    best_epoch: Count


@dataclass(frozen=True)
class StageSeconds:
    """One stage of training and how long it took, in seconds."""

    name: str
    seconds: Seconds


@dataclass(frozen=True)
class ResumedFrom:
    """The last epoch of the process before, and its stage.

    Attributes:
        stage: Its name.
        epoch: Its number.
        moved_from: The hardware of that process, where it is another than that of the last one.
    """

    stage: str
    epoch: Count
    moved_from: tuple[Text, ...] | None = optional()


@dataclass(frozen=True)
class TeacherRecord:
    """The teacher run of distillation.

    Attributes:
        sha256: Of its model file.
        backbone: Its backbone.
        width: Width multiplier of that.
        size: Its input height and width in pixels.
        metrics: Its accuracy on its own photos, by split.
    """

    sha256: Sha256
    backbone: str
    width: float
    size: Positive
    metrics: dict[Split, Accuracy]


@dataclass(frozen=True)
class Baseline:
    """A small CNN trained from scratch on the same split.

    Attributes:
        backbone: Its name.
        parameters: How many weights it has.
        metrics: As of the run itself, by split.
        seconds: Of its training, reading photos left out.
        interrupted: Whether Ctrl-C ended it early.
    """

    backbone: str
    parameters: Count
    metrics: dict[Split, Metrics]
    seconds: Seconds
    interrupted: bool


@dataclass(frozen=True, kw_only=True)
class RunDocument:
    """What a finished run was made from, how, and what came out.

    Attributes:
        producer: The version of edgetl that wrote it.
        created: When, in UTC.
        run_id: A random name.
        config: The settings as resolved.
        labels: Class names in the order of the model's outputs.
        preprocess: How photos become the model's input.
        dataset: The photos, with what the audit found.
        weights: What the base started from.
        strategy: Why these layers were trained.
        model: The model file.
        interrupted: Whether Ctrl-C ended training early; these are the best weights up to then.
        devices: Devices that shared each step of the later stages; empty if only the head was fitted.
        metrics: Of the held-out photos, by split: ``val`` and ``test`` where there are such photos.
        baseline: A small CNN trained from scratch on the same split.
        stages: In order.
        seconds_to_model: Time until the model was on disk.
        seconds: In all.
        versions: Of the packages that trained it.
        resumed: Where the last process began.
        teacher: The teacher run of distillation.
    """

    SCHEMA: ClassVar[str] = "edgetl.run/1"

    producer: str
    created: str
    run_id: str | None = optional()
    config: TrainedSettings
    labels: tuple[Text, ...]
    preprocess: Preprocess
    dataset: DatasetDescription
    weights: WeightsRecord
    strategy: StrategyRecord = field(default_factory=StrategyRecord)
    model: TrainedModel
    interrupted: bool
    devices: tuple[str, ...] = ()
    metrics: dict[Split, Metrics]
    baseline: Baseline | None = optional()
    stages: tuple[StageSeconds, ...]
    seconds_to_model: Seconds
    seconds: Seconds
    versions: dict[str, str]
    resumed: ResumedFrom | None = optional()
    teacher: TeacherRecord | None = optional()

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels):
            raise InputError("labels", why="must be two or more, all different")
        if self.preprocess.size != self.config.size:
            raise InputError("config.size and preprocess.size", why="must be equal")
        for split, metrics in self.metrics.items():
            if len(metrics.per_class) != len(self.labels):
                raise InputError(f"metrics.{split}.per_class", why=f"must have {len(self.labels)} classes, as labels")
