"""The document of a comparison (``edgetl.comparison/1``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from edgetl_device.bundle import BundleName
from edgetl_device.documents import Interval, Json, Named, Positive, Sha256, Time, Unknown, optional, to_json
from edgetl_device.options import Value
from edgetl_device.preprocess import Preprocess
from edgetl_device.reasons import Code

from .gates import Judged
from .paired import NoDifference, PairedAgreement


class Way(Protocol):
    """Identifies a run of a result."""

    @property
    def variant(self) -> str:
        """The bundle's name for the model file."""

    @property
    def threads(self) -> int:
        """CPU threads."""

    @property
    def batch(self) -> int:
        """Images in one inference."""

    @property
    def delegate(self) -> str | Unknown:
        """What took a part of the model."""


@dataclass(frozen=True)
class RunSide:
    """A run of a result that is compared.

    Attributes:
        source: Which result.
        variant: The bundle's name for the model file.
        threads: CPU threads.
        delegate: What took a part of the model.
        batch: Images in one inference.
    """

    source: str
    variant: str
    threads: Positive
    delegate: str | Unknown
    batch: Positive


@dataclass(frozen=True)
class TrainedSide:
    """A training run that is compared.

    Attributes:
        source: Which one.
    """

    source: str


@dataclass(frozen=True)
class TimeRatio:
    """The median of a time over that of the baseline.

    Attributes:
        ratio: Over 1 is slower.
        ci95: Its 95% interval by the bootstrap.
        verdict: Whether the interval has 1 in it.
    """

    ratio: float
    ci95: Interval
    verdict: Literal["faster", "slower"] | NoDifference


@dataclass(frozen=True)
class Ratios:
    """What a run costs over what the baseline costs.

    Attributes:
        model: The model's time: pixels in, probabilities out.
        photo: A photo's time: from a file's bytes to a label.
        size: The file's.
    """

    model: TimeRatio
    photo: TimeRatio
    size: float


@dataclass(frozen=True)
class Warning:
    """A condition in which two measurements differ.

    Attributes:
        about: Which ones.
        text: The difference.
        kind: ``degraded`` where it is the verdict of one of them.
    """

    about: str
    text: str
    kind: Literal["circumstances", "degraded"] = "circumstances"


Metrics = dict[str, float | Unknown]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One run against the baseline.

    Attributes:
        baseline: What it is compared with.
        other: What is compared.
        ratios: Of bench results.
        agreement: The predictions, photo by photo.
        warnings: Conditions in which the measurements differ.
        codes: Of the verdict on the other's measurement; of bench results that have them.
        baseline_metrics: Named numbers of the baseline alone.
        metrics: Named numbers that gates and CSV go by.
    """

    baseline: RunSide | TrainedSide
    other: RunSide | TrainedSide
    ratios: Ratios | None = optional()
    agreement: PairedAgreement
    warnings: tuple[Warning, ...]
    codes: tuple[Code, ...] | None = optional()
    baseline_metrics: Metrics
    metrics: Metrics


@dataclass(frozen=True, kw_only=True)
class ResultSource:
    """A result that is compared.

    Attributes:
        name: What it is called.
        path: Its file.
        created: When it was measured.
        digest: Its own.
        bundle: What was measured.
        photos: How many the accuracy is of.
        folder: The folder of the photos, if not the bundle's own.
        board: Where it was measured.
        cpu: Where it was measured.
        governor: What set the clock.
    """

    name: str
    path: str
    created: Time
    digest: Sha256
    bundle: BundleName
    photos: Positive
    folder: str | None = optional()
    board: str | Unknown
    cpu: str | Unknown
    governor: str | Unknown


@dataclass(frozen=True)
class TrainedSource:
    """A training run that is compared.

    Attributes:
        name: What it is called.
        path: Its folder.
        created: When it was trained.
        split: Which photos the accuracy is of.
        photos: How many they are.
        config: How it was trained.
        preprocess: How a photo becomes the model's input.
        weights: What training began with.
    """

    name: str
    path: str
    created: Time
    split: str
    photos: Positive
    config: dict[str, Value]
    preprocess: Preprocess
    weights: Json


@dataclass(frozen=True)
class Bootstrap:
    """How the intervals of ratios were made.

    Attributes:
        resamples: How many.
        blocks: In how many stretches a run is cut.
        seed: Of the drawing.
        interval: Which.
    """

    resamples: Positive
    blocks: Positive
    seed: int
    interval: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Bench results, or training runs, against the first of them.

    Attributes:
        producer: What compared them.
        created: UTC, ISO 8601.
        of: What is compared.
        baseline: The variant that all is compared with, where one was chosen.
        sources: What is compared, the baseline's first.
        bootstrap: Of bench results: how intervals were made.
        comparisons: Each run against its counterpart.
        unpaired: Runs without a counterpart.
        gates: Results of the gates.
    """

    SCHEMA: ClassVar[str] = "edgetl.comparison/1"

    producer: Named
    created: Time
    of: Literal["results", "runs"]
    baseline: str | None = optional()
    sources: tuple[ResultSource | TrainedSource, ...]
    bootstrap: Bootstrap | None = optional()
    comparisons: tuple[Compared, ...]
    unpaired: tuple[str, ...]
    gates: tuple[Judged, ...] | None = optional()

    def to_json(self) -> Json:
        """Return the document that ``edgetl compare --json`` prints."""
        return to_json(self)
