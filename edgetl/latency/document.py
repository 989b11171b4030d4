"""The documents of a latency model and of a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from edgetl_device._lib import documents
from edgetl_device._lib.documents import Is, Milliseconds, Named, Positive, Sha256, Text, Time, Unknown

Factor = Annotated[float, Is(above=0)]


@dataclass(frozen=True)
class KindOfOperators:
    """How the time of a kind of operators is predicted: a sum of its features times these coefficients.

    Attributes:
        kind: ``matmul``, ``convolution``, ``depthwise``, or the TFLite name of any other operator.
        operators: Operators of this kind among those that it was fitted on.
        features: Names of the features.
        ms: Milliseconds for each unit of a feature, none negative.
    """

    kind: Text
    operators: Positive
    features: Annotated[tuple[Text, ...], Is(items=1)]
    ms: Annotated[tuple[Milliseconds, ...], Is(items=1)]


@dataclass(frozen=True)
class FittedOn:
    """An architecture that the model was fitted on.

    Attributes:
        name: Its name.
        group: Architectures that are left out together to estimate the error: those of one backbone.
        p50_ms: Measured.
        held_out_ms: Predicted by a model that saw no architecture of its group.
    """

    name: Text
    group: Text
    p50_ms: Annotated[float, Is(above=0)]
    held_out_ms: Annotated[float, Is(above=0)]


@dataclass(frozen=True, kw_only=True)
class LatencyModel:
    """Predicts the latency of int8 TFLite files on one board.

    Attributes:
        producer: The program that wrote it.
        created: Time in UTC, ISO 8601.
        board: Name of the board.
        cpu: Name of its CPU.
        runtime: The runtime whose times are predicted.
        threads: Number of CPU threads.
        kinds: How operators are predicted.
        factor: Time of an inference, divided by the sum of its operators.
        low: Lower end of the 95% interval of a time, divided by its prediction.
        high: Upper end.
        median_error: Median relative error of architectures, each predicted without any of its group.
        error95: Its 95th percentile.
        fitted_on: The architectures.
        digest: SHA-256 of this document's canonical form without this field.
    """

    SCHEMA: ClassVar[str] = "edgetl.latency-model/1"
    SEALED: ClassVar[bool] = True

    producer: Named
    created: Time
    board: str | Unknown
    cpu: str | Unknown
    runtime: Named
    threads: Positive
    kinds: Annotated[tuple[KindOfOperators, ...], Is(items=1)]
    factor: Factor
    low: Factor
    high: Factor
    median_error: Annotated[float, Is(low=0)]
    error95: Annotated[float, Is(low=0)]
    fitted_on: Annotated[tuple[FittedOn, ...], Is(items=1)]
    digest: Sha256 = documents.stated("0" * 64)


@dataclass(frozen=True, kw_only=True)
class PredictedLatency:
    """A latency that was predicted and not measured.

    Attributes:
        predicted: Always true: this is no measurement.
        model: Name of the model file, or of the architecture.
        p50_ms: Predicted median time of one inference.
        ci95_ms: Its 95% interval, from errors on architectures that the model was not fitted on.
        board: Name of the board.
        cpu: Name of its CPU.
        threads: Number of CPU threads.
        unseen: Kinds of operators in the model that the latency model was not fitted on. They are predicted at the cost
            of others; the interval does not know of them.
        latency_model: Digest of the latency model.
    """

    SCHEMA: ClassVar[str] = "edgetl.predicted-latency/1"

    predicted: Literal[True] = documents.stated(True)
    model: Text
    p50_ms: Annotated[float, Is(above=0)]
    ci95_ms: tuple[float, float]
    board: str | Unknown
    cpu: str | Unknown
    threads: Positive
    unseen: tuple[Text, ...]
    latency_model: Sha256
