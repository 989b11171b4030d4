"""The document of a bench (``edgetl.result/2``), with the checks on reading it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, ClassVar, Literal

from edgetl_device import __version__
from edgetl_device._lib import documents
from edgetl_device._lib.documents import (
    Is,
    Json,
    Milliseconds,
    Named,
    Positive,
    Seconds,
    Sha256,
    Text,
    Time,
    Unknown,
    optional,
)
from edgetl_device.bundle import Bundle
from edgetl_device.delegates.share import External, Share
from edgetl_device.errors import InputError
from edgetl_device.machine.energy import Energy
from edgetl_device.machine.environment import Environment, State
from edgetl_device.preprocess import Preprocess
from edgetl_device.scores import Accuracy, Agreement, AmongAccepted, ClassScore
from edgetl_device.text import closest

from . import photoset
from .latency import STAGES, LatencyIntervals, StageLatency, StageSamples
from .loadgen import LoadgenRun
from .operators import OperatorTimes
from .overhead import Overhead
from .percentiles import PERCENTILES, Percentiles, percentile, too_few
from .predictions import Evalset, Predictions
from .sweep import Skipped
from .verdict import Verdict

_AGAIN = "It is damaged or edited; bench again."


@dataclass(frozen=True)
class BenchedBundle:
    """The bundle that was measured.

    Attributes:
        name: Name of its folder or file.
        digest: Digest of its bundle.json.
        labels: Class names, in the order of the model's output.
        preprocess: Preprocessing of photos.
    """

    name: str
    digest: Sha256
    labels: Annotated[tuple[Text, ...], Is(items=2, unique=True)]
    preprocess: Preprocess


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a bench.

    Attributes:
        variants: Measured variants.
        threads: Numbers of CPU threads.
        delegates: Delegates; ``default`` is the runtime's own choice.
        batches: Batch sizes.
        photos_timed: Number of photos used for timing.
        duration_s: Sampling time of each run.
        min_inferences: Minimum number of samples.
        quick: Whether it was a quick bench, with fewer inferences than a publishable p90 needs.
        sustained: Whether it was one run for minutes, in windows of about a second.
        rounds: Number of rounds; runs are interleaved, and each is sampled in every round.
        order: Order of the runs in each round.
        percentiles: Definition of percentiles.
        command: The command that measures so, of each path the last part; absent in older results.
    """

    variants: Annotated[tuple[str, ...], Is(items=1)]
    threads: Annotated[tuple[Positive, ...], Is(items=1)]
    delegates: Annotated[tuple[str, ...], Is(items=1)] = ("default",)
    batches: Annotated[tuple[Positive, ...], Is(items=1)] = (1,)
    photos_timed: Positive | None = optional()
    duration_s: Annotated[float, Is(above=0)]
    min_inferences: Positive
    quick: bool = False
    sustained: bool = False
    rounds: Positive
    order: str | None = optional()
    percentiles: Literal["nearest rank"] = documents.stated("nearest rank")
    command: str | None = optional()


@dataclass(frozen=True, kw_only=True)
class BenchEnvironment(Environment):
    """The machine, and its state during the bench.

    Attributes:
        delegate: The external delegate of the bench.
        before: State before the first round.
        during: States after each round but the last.
        after: State after the last round.
    """

    delegate: External | Literal["none"]
    before: State
    during: tuple[State, ...]
    after: State

    @property
    def states(self) -> tuple[State, ...]:
        """All states, in order."""
        return self.before, *self.during, self.after


@dataclass(frozen=True)
class Warmup:
    """Warm-up before the first sample.

    Attributes:
        inferences: Number of inferences.
        steady: Whether the running median settled.
    """

    inferences: Positive
    steady: bool


@dataclass(frozen=True)
class Window:
    """One uninterrupted stretch of sampling.

    Attributes:
        clock_s: Start, on the clock of the environment's states.
        duration_s: Length.
        inferences: Number of inferences.
        p50_ms: Median of invoke.
        max_ms: Maximum of invoke.
    """

    clock_s: float
    duration_s: Seconds
    inferences: Positive
    p50_ms: Milliseconds
    max_ms: Milliseconds


@dataclass(frozen=True, kw_only=True)
class ResultRun:
    """One variant with one delegate, number of threads and batch size. Times are for one inference of a whole batch.

    Attributes:
        variant: Name of the bundle's variant.
        format: Format of the model file.
        precision: float32, float16 or int8.
        threads: Number of CPU threads.
        batch: Images per inference; absent in older results: 1.
        runtime: The runtime that ran it.
        delegate: The delegate that ran part of the model: xnnpack, edgetpu, the name of a library, or none.
        delegated: How much of the model the delegate ran.
        bytes: Size of the model file.
        load_ms: Reading the model, checking its hash, creating the interpreter.
        first_inference_ms: The first inference after loading, all stages; not included in other numbers.
        warmup: Warm-up before the first sample.
        samples_ns: Raw times.
        windows: Uninterrupted stretches of sampling, in order: one per round, or about one per second if sustained.
        latency_ms: Percentiles of the times.
        latency_ci95_ms: Intervals of p50 and p90.
        throughput_per_s: Photos per second, one batch after another, from a file's bytes to a label.
        accuracy: Accuracy on the photos of evalset.
        agreement: Agreement with the reference of evalset, on the same photos.
        per_class: One row per class, in the order of the labels.
        among_accepted: Accuracy among the photos that are not unknown; null if the bundle cannot tell.
        answers: Prediction of the variant for each photo.
        peak_rss_bytes: Peak memory of a fresh process that loads only this variant.
        energy: Energy, if requested.
        operators: Time of each operator, if requested.
        loadgen: LoadGen's result, if requested.
        verdict: Whether the times are valid.
    """

    variant: str
    format: Literal["tflite", "onnx"]
    precision: str
    threads: Positive
    batch: Positive = 1
    runtime: Named
    delegate: str | Unknown
    delegated: Share | None = optional()
    bytes: Positive
    load_ms: Milliseconds
    first_inference_ms: Milliseconds
    warmup: Warmup
    samples_ns: StageSamples
    windows: Annotated[tuple[Window, ...], Is(items=1)] | None = optional()
    latency_ms: StageLatency
    latency_ci95_ms: LatencyIntervals | None = optional()
    throughput_per_s: Annotated[float, Is(low=0)]
    accuracy: Accuracy
    agreement: Agreement | Unknown
    per_class: tuple[ClassScore, ...]
    among_accepted: AmongAccepted | None = optional()
    answers: Predictions
    peak_rss_bytes: Positive | Unknown
    energy: Energy | Unknown | None = optional()
    operators: OperatorTimes | Unknown | None = optional()
    loadgen: LoadgenRun | None = optional()
    verdict: Verdict

    @property
    def latency(self) -> Percentiles:
        """Times of the model only: pixels in, probabilities out."""
        return self.latency_ms.invoke


@dataclass(frozen=True, kw_only=True)
class Result:
    """One bench of a bundle on one machine. Names have their unit: _ns, _ms, _bytes; shares are 0 to 1; _pp are
    percentage points. Later versions of edgetl may add fields.

    Attributes:
        producer: The program that wrote it.
        created: Time in UTC, ISO 8601.
        bundle: The bundle that was measured.
        evalset: The photos that runs were measured on.
        settings: Settings of the bench.
        environment: The machine, before, during and after the bench.
        harness: Overhead of the bench; absent in older results.
        runs: Measurements: one per variant, delegate, number of threads and batch size.
        skipped: Variants that this machine cannot run.
        digest: SHA-256 of this document's canonical form without this field.
    """

    SCHEMA: ClassVar[str] = "edgetl.result/2"
    # Version 1 has labelled photos only. It is still written for them: its readers would take agreement for accuracy.
    OLDER: ClassVar[Mapping[str, Callable[[Json], Json]]] = {"edgetl.result/1": lambda document: document}
    SEALED: ClassVar[bool] = True

    producer: Named
    created: Time
    bundle: BenchedBundle
    evalset: Evalset
    settings: Settings
    environment: BenchEnvironment
    harness: Overhead | None = optional()
    runs: Annotated[tuple[ResultRun, ...], Is(items=1)]
    skipped: tuple[Skipped, ...]
    digest: Sha256 = documents.stated("0" * 64)

    def written_as(self) -> str:
        """Return the first schema that has such photos."""
        return "edgetl.result/1" if self.evalset.truth == "labels" else self.SCHEMA

    def variant(self, name: str, *, threads: int | None = None, batch: int | None = None) -> ResultRun:
        """Return the first run of a variant, optionally with a number of threads or a batch size.

        Raises:
            InputError: There is none; the message lists the existing runs.
        """
        for run in self.runs:
            if run.variant == name and threads in (None, run.threads) and batch in (None, run.batch):
                return run
        found = ", ".join(f"{run.variant} (threads={run.threads}, batch={run.batch})" for run in self.runs)
        asked = [f"{key}={value}" for key, value in (("threads", threads), ("batch", batch)) if value is not None]
        raise InputError(
            f"the result has no run of {', '.join([repr(name), *asked])}",
            why=f"it has {found}",
            hint=closest(name, {run.variant for run in self.runs} - {name}),
        )

    def to_json(self) -> Json:
        """Return the document that ``edgetl bench --json`` prints."""
        return documents.to_json(self)


def assemble(
    bundle: Bundle,
    *,
    evalset: Evalset,
    settings: Settings,
    environment: BenchEnvironment,
    harness: Overhead,
    runs: tuple[ResultRun, ...],
    skipped: tuple[Skipped, ...],
) -> Result:
    """Return the document of a bench, with its digest."""
    return documents.sealed(
        Result(
            producer=Named("edgetl-device", __version__),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            bundle=BenchedBundle(bundle.path.name, bundle.digest, bundle.labels, bundle.preprocess),
            evalset=evalset,
            settings=settings,
            environment=environment,
            harness=harness,
            runs=runs,
            skipped=skipped,
        )
    )


def read(path: str | os.PathLike[str]) -> Result:
    """Read a result and check that it is complete and that its numbers match its samples and predictions.

    Raises:
        InputError: It is missing, damaged, edited, or of another schema; the message names the field.
    """
    return checked(documents.read(Result, path), name=os.fspath(path))


def parse(data: bytes, *, name: str) -> Result:
    """Read a result from bytes, checked as in :func:`read`; error messages use ``name``."""
    return checked(documents.parse(Result, data, name=name), name=name)


def checked(result: Result, *, name: str) -> Result:
    """Check that the parts of a result are consistent, and return it.

    Raises:
        InputError: They are not.
    """
    try:
        for place, run in enumerate(result.runs):
            _check_times(run, f"runs[{place}]")
        _check_predictions(result)
    except ValueError as error:
        raise InputError(f"{name}: {error}", hint=_AGAIN) from None
    return result


def _check_times(run: ResultRun, where: str) -> None:
    samples = run.samples_ns
    if len({len(column) for column in (samples.decode, samples.fit, samples.invoke, samples.postprocess)}) != 1:
        raise ValueError(f"{where}.samples_ns must have every stage, all of the same length")
    if not samples.invoke:
        raise ValueError(f"{where}.samples_ns is empty")
    for stage in (*STAGES, "total"):
        column = sorted(samples.total() if stage == "total" else getattr(samples, stage))
        for percent in PERCENTILES:
            if not _is_of(column, percent, getattr(run.latency_ms, stage).of(percent)):
                raise ValueError(f"{where}.latency_ms.{stage}.p{percent} does not match its samples")


def _is_of(column: list[int], percent: int, value: float | Unknown) -> bool:
    """Whether a percentile matches the samples; earlier versions gave percentiles of too few samples, too."""
    if isinstance(value, Unknown):
        return too_few(len(column), percent) is not None
    return value == percentile(column, percent) / 1e6


def _check_predictions(result: Result) -> None:
    labels, found = result.bundle.labels, result.evalset
    photos, truth = found.photos, [photo.index for photo in found.photos]
    if not all(index < len(labels) for index in truth):
        raise ValueError("evalset.photos has a photo whose class is not one of the labels")
    if found.digest != photoset.digest((labels[photo.index], photo.sha256) for photo in photos):
        raise ValueError("evalset.digest does not match its photos")
    if isinstance(found.reference, Unknown):
        if not all(isinstance(run.agreement, Unknown) for run in result.runs):
            raise ValueError("a run agrees with a reference that is unknown")
    elif len(found.reference) != len(photos) or not all(index < len(labels) for index in found.reference):
        raise ValueError(f"evalset.reference does not give one of the labels to each of {len(photos)} photos")
    for place, run in enumerate(result.runs):
        where, predicted = f"runs[{place}].answers", run.answers.predicted
        if not len(predicted) == len(run.answers.probability) == len(photos):
            raise ValueError(f"{where} are {len(predicted)} to {len(photos)} photos")
        if not all(index < len(labels) for index in predicted):
            raise ValueError(f"{where}.predicted names a class that is not one of the labels")
        right = sum(said == label for said, label in zip(predicted, truth, strict=True))
        if right != run.accuracy.correct:
            raise ValueError(f"runs[{place}].accuracy.correct does not match its answers")
