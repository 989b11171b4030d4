"""The document of a comparison (``edgetl.comparison/1``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from edgetl_device._lib.documents import Interval, Json, Named, Positive, Sha256, Time, Unknown, optional, to_json
from edgetl_device.bundle import BundleName
from edgetl_device.options import Value
from edgetl_device.preprocess import Preprocess
from edgetl_device.reasons import Code
from edgetl_device.truth import Truth

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
        """The delegate that ran part of the model."""


@dataclass(frozen=True)
class RunSide:
    """A run of a result that is compared.

    Attributes:
        source: Name of the result.
        variant: Name of the bundle's variant.
        threads: Number of CPU threads.
        delegate: The delegate that ran part of the model.
        batch: Images per inference.
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
        source: Name of the run.
    """

    source: str


@dataclass(frozen=True)
class TimeRatio:
    """The median of a time over that of the baseline.

    Attributes:
        ratio: The ratio; above 1 is slower.
        ci95: Its 95% bootstrap interval.
        verdict: Conclusion: whether the interval contains 1.
    """

    ratio: float
    ci95: Interval
    verdict: Literal["faster", "slower"] | NoDifference


@dataclass(frozen=True)
class Ratios:
    """Cost of a run relative to the baseline.

    Attributes:
        model: Ratio of the model's time: pixels in, probabilities out.
        photo: Ratio of a photo's time: from a file's bytes to a label.
        size: Ratio of the file sizes.
    """

    model: TimeRatio
    photo: TimeRatio
    size: float


@dataclass(frozen=True)
class Warning:
    """A condition in which two measurements differ.

    Attributes:
        about: The measurements concerned.
        text: The difference.
        kind: ``degraded`` if it is the verdict of one of them.
    """

    about: str
    text: str
    kind: Literal["circumstances", "degraded"] = "circumstances"


Metrics = dict[str, float | Unknown]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One run against the baseline.

    Attributes:
        baseline: The baseline.
        other: The run that is compared with it.
        ratios: Ratios of times and sizes; only for bench results.
        agreement: The predictions compared photo by photo.
        warnings: Conditions in which the measurements differ.
        codes: Codes of the verdict on ``other``, for bench results that have them.
        baseline_metrics: Metrics of the baseline alone.
        metrics: Metrics for gates and CSV.
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
        name: Name in the comparison.
        path: Path of the result file; of a result in a store, its digest.
        created: Time of the measurement.
        digest: Digest of the result.
        bundle: The bundle that was measured.
        photos: Number of photos behind the accuracy.
        folder: Folder of the photos, if they are not the bundle's own.
        truth: What the photos are held against: their ``labels``, or, for pictures that edgetl drew, the answers of the
            original ``model``.
        board: The board.
        cpu: The CPU.
        governor: The CPU frequency governor.
    """

    name: str
    path: str
    created: Time
    digest: Sha256
    bundle: BundleName
    photos: Positive
    folder: str | None = optional()
    truth: Truth = optional("labels")
    board: str | Unknown
    cpu: str | Unknown
    governor: str | Unknown


@dataclass(frozen=True)
class TrainedSource:
    """A training run that is compared.

    Attributes:
        name: Name in the comparison.
        path: Path of the run directory.
        created: Time of training.
        split: Split that the accuracy was measured on.
        photos: Number of photos in it.
        config: Settings of the run.
        preprocess: Preprocessing of photos.
        weights: Weights that training started from.
        truth: What the photos are held against, likewise.
    """

    name: str
    path: str
    created: Time
    split: str
    photos: Positive
    config: dict[str, Value]
    preprocess: Preprocess
    weights: Json
    truth: Truth = optional("labels")


@dataclass(frozen=True)
class Bootstrap:
    """How the intervals of ratios were made.

    Attributes:
        resamples: Number of resamples.
        blocks: Number of blocks that a run is divided into.
        seed: Seed of the resampling.
        interval: Kind of interval.
    """

    resamples: Positive
    blocks: Positive
    seed: int
    interval: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Bench results, or training runs, compared with the first of them.

    Attributes:
        producer: The program that compared them.
        created: Time in UTC, ISO 8601.
        of: Whether results or runs are compared.
        baseline: The variant that everything is compared with, if one was chosen.
        sources: The results or runs, the baseline first.
        bootstrap: How intervals were made; only for bench results.
        comparisons: Each run with its counterpart.
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
