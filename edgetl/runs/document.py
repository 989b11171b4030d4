"""``run.json``: inputs, settings and results of a finished run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from edgetl.backbones.weights import WeightsRecord
from edgetl.data import DatasetDescription, Split, SplitCounts
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Count, Json, Positive, Seconds, Sha256, Text, optional, rest
from edgetl_device.errors import InputError
from edgetl_device.input_size import InputSize, size_value
from edgetl_device.options import Value
from edgetl_device.preprocess import Preprocess
from edgetl_device.scores import Accuracy

from .import_record import ImportRecord
from .metrics import Metrics
from .temperature import Temperature


@dataclass(frozen=True)
class TrainedSettings:
    """Resolved training settings; those that later commands need have their own field.

    Attributes:
        backbone: Name of the backbone.
        width: Width multiplier of the backbone.
        size: Height and width of the input in pixels: a number, or ``240x320`` where they differ.
        augment: Augmentation preset.
        strategy: Trained part: ``head``, ``blocks``, ``all`` or ``scratch``.
        trainable_blocks: Number of trained blocks, counted from the last.
        unknown: Whether every bundle of the run tells unknown photos.
        others: All other settings, by name.
    """

    backbone: Text
    width: float
    size: Positive | Text
    augment: str = "none"
    strategy: str | None = None
    trainable_blocks: Count | None = None
    unknown: bool = False
    others: dict[str, Value] = rest()

    @classmethod
    def of(cls, settings: Mapping[str, Value]) -> TrainedSettings:
        """Create from settings by name."""
        return documents.of_json(cls, documents.to_json(settings), name="settings")

    def by_name(self) -> dict[str, Value]:
        """Return all settings by name."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "others"}
        return own | self.others


@dataclass(frozen=True)
class Truncation:
    """Truncation of the backbone.

    Attributes:
        block: Name of the last block kept.
        layer: Name of the last layer of that block.
        blocks: Number of blocks kept.
        of_blocks: Number of blocks of the full backbone.
    """

    block: str
    layer: str
    blocks: Count
    of_blocks: Count


@dataclass(frozen=True)
class StrategyRecord:
    """How the training strategy was chosen.

    Attributes:
        asked: The requested strategy; null if it followed from other settings.
        reasons: Reasons for the choice, in sentences, if edgetl made it.
        advice: Findings of ``--strategy auto`` (``edgetl.advice/1``).
        truncated: Truncation of the backbone; null if it is complete.
    """

    asked: str | None = None
    reasons: tuple[str, ...] = ()
    advice: Json = optional()
    truncated: Truncation | None = None


@dataclass(frozen=True)
class TrainedModel:
    """The model file.

    Attributes:
        file: Name of the file in the run directory.
        bytes: Size of the file in bytes.
        sha256: SHA-256 of the file.
        parameters: Number of parameters.
        cut_layer: Last frozen layer before the trained blocks; null if all layers were trained.
        best_epoch: Epoch of the second stage whose weights were kept; 0 without a second stage.
    """

    file: Text
    bytes: Positive
    sha256: Sha256
    parameters: Positive
    cut_layer: str | None
    best_epoch: Count


@dataclass(frozen=True)
class StageSeconds:
    """A training stage and its duration in seconds."""

    name: str
    seconds: Seconds


@dataclass(frozen=True)
class ResumedFrom:
    """The point where training was resumed.

    Attributes:
        stage: Name of the stage.
        epoch: Last epoch completed by the previous process.
        moved_from: Hardware of the previous process, if different.
    """

    stage: str
    epoch: Count
    moved_from: tuple[Text, ...] | None = optional()


@dataclass(frozen=True)
class TeacherRecord:
    """The teacher run of distillation.

    Attributes:
        sha256: SHA-256 of the teacher's model file.
        backbone: Backbone of the teacher.
        width: Width multiplier of the backbone.
        size: Height, width and channels of its input.
        metrics: Accuracy of the teacher on its own held-out photos, by split; empty if it was imported without photos.
    """

    sha256: Sha256
    backbone: str
    width: float
    size: InputSize
    metrics: dict[Split, Accuracy]


@dataclass(frozen=True)
class StartRecord:
    """The run that training started from.

    Attributes:
        name: Name of its directory.
        sha256: SHA-256 of its model file.
        origin: ``trained`` if edgetl trained its model: the photos of that run, and of those before it, are known.
            ``imported`` if it goes back to an imported model: that the held-out photos were not used to train that one
            is the user's word.
        head: Whether its last layer was ``kept`` as the start, or a ``new`` one was fitted.
        kept: Number of photos that were in that run, or in one before it; each stays in the split that it had there.
    """

    name: Text
    sha256: Sha256
    origin: Literal["trained", "imported"]
    head: Literal["kept", "new"]
    kept: SplitCounts


@dataclass(frozen=True)
class Baseline:
    """A small CNN trained from scratch on the same split.

    Attributes:
        backbone: Name of the CNN.
        parameters: Number of parameters.
        metrics: Metrics on the held-out photos, by split.
        seconds: Training time in seconds, without reading photos.
        interrupted: Whether Ctrl-C ended its training early.
    """

    backbone: str
    parameters: Count
    metrics: dict[Split, Metrics]
    seconds: Seconds
    interrupted: bool


@dataclass(frozen=True, kw_only=True)
class RunDocument:
    """Inputs, settings and results of a finished run.

    Attributes:
        producer: Version of edgetl that wrote the file.
        created: Creation time, UTC.
        run_id: Random ID of the run.
        config: Resolved training settings.
        labels: Class names in the order of the model's outputs.
        preprocess: Preprocessing from photo to model input.
        dataset: The data set, with the findings of its audit.
        weights: Initial weights of the backbone.
        strategy: How the training strategy was chosen.
        model: The model file.
        interrupted: Whether Ctrl-C ended training early; the best weights so far were kept.
        devices: Devices that shared each step of the later stages; empty if only the head was fitted.
        metrics: Metrics on the held-out photos by split, ``val`` and ``test`` if present.
        temperature: The temperature folded into the model; absent in runs of earlier versions, and in imported ones
            unless it was asked for.
        baseline: A small CNN trained from scratch on the same split.
        stages: Training stages, in order.
        seconds_to_model: Time in seconds until the model was on disk.
        seconds: Total time in seconds.
        versions: Versions of the packages used for training.
        resumed: The point where training was last resumed.
        teacher: The teacher run of distillation.
        imported: The model that the run was imported from, if edgetl did not train it.
        started_from: The run whose model was trained further, if it was not a backbone with pretrained weights.
        command: The command that makes such a run, of each path the last part; absent in runs of earlier versions.
    """

    SCHEMA: ClassVar[str] = "edgetl.run/2"
    # Version 1 has the confusion matrix among its metrics, as version 2 has in a file beside it.
    OLDER: ClassVar[Mapping[str, Callable[[Json], Json]]] = {"edgetl.run/1": lambda document: document}

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
    temperature: Temperature | None = optional()
    baseline: Baseline | None = optional()
    stages: tuple[StageSeconds, ...]
    seconds_to_model: Seconds
    seconds: Seconds
    versions: dict[str, str]
    resumed: ResumedFrom | None = optional()
    teacher: TeacherRecord | None = optional()
    imported: ImportRecord | None = optional()
    started_from: StartRecord | None = optional()
    command: str | None = optional()

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels):
            raise InputError("labels", why="must be two or more, all different")
        if size_value(self.preprocess.size) != self.config.size:
            raise InputError("config.size and preprocess.size", why="must be equal")
        if bool(self.config.others.get("grey")) != (self.preprocess.size.channels == 1):
            raise InputError("config.grey and preprocess.size", why="must say the same of the channels")
        for split, metrics in self.metrics.items():
            if len(metrics.per_class) != len(self.labels):
                raise InputError(f"metrics.{split}.per_class", why=f"must have {len(self.labels)} classes, as labels")
