"""What people ask for in a document, as rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from edgetl.comparison.document import Compared, Comparison, ResultSource, RunSide
from edgetl.runs.document import RunDocument
from edgetl.runs.quantize_report import QuantizeReport
from edgetl_device._lib.documents import Unknown
from edgetl_device.bench.result import Result, ResultRun
from edgetl_device.monitor.record import MonitorRecord
from edgetl_device.text import shown

from .document import Measurement

V = TypeVar("V")
# The float model of a run, which has no bundle yet.
FLOAT = "float"


def of_run(document: RunDocument) -> Sequence[Measurement]:
    """Return the float model on the photos that say most about it: those for the test, if there are any."""
    metrics = document.metrics.get("test") or document.metrics.get("val")
    accuracy = metrics.accuracy if metrics is not None else None
    labelled = document.dataset.truth == "labels"
    return [
        Measurement(
            model=document.model.sha256,
            variant=FLOAT,
            photos=accuracy.photos if accuracy else None,
            top1=accuracy.top1 if accuracy and labelled else None,
            bytes=document.model.bytes,
        )
    ]


def of_quantize(report: QuantizeReport) -> Sequence[Measurement]:
    """Return a row for each variant."""
    labelled = report.truth == "labels"
    return [
        Measurement(
            model=one.sha256,
            variant=shown(one.name),
            photos=one.accuracy.photos,
            top1=one.accuracy.top1 if labelled else None,
            drop_pp=one.agreement.drop_pp if labelled else None,
            agreement=one.agreement.top1,
            bytes=one.bytes,
        )
        for one in report.variants
    ]


def of_bench(result: Result) -> Sequence[Measurement]:
    """Return a row for each run."""
    return [_of_bench_run(result, run) for run in result.runs]


def _of_bench_run(result: Result, run: ResultRun) -> Measurement:
    labelled = result.evalset.truth == "labels"
    agreement = _known(run.agreement)
    model, photo = run.latency_ms.invoke, run.latency_ms.total
    # Times of an invalid measurement are none.
    timed: Callable[[float | Unknown], float | None] = _known if run.verdict.status != "invalid" else lambda _: None
    return Measurement(
        board=_text(result.environment.board) or _text(result.environment.cpu),
        bundle=result.bundle.digest,
        bundle_name=shown(result.bundle.name),
        variant=shown(run.variant),
        threads=run.threads,
        batch=run.batch,
        delegate=_text(run.delegate),
        verdict=run.verdict.status,
        p50_ms=timed(model.p50_ms),
        p95_ms=timed(model.p95_ms),
        photo_p50_ms=timed(photo.p50_ms),
        photo_p95_ms=timed(photo.p95_ms),
        photos=run.accuracy.photos,
        top1=run.accuracy.top1 if labelled else None,
        drop_pp=agreement.drop_pp if agreement and labelled else None,
        agreement=agreement.top1 if agreement else None,
        bytes=run.bytes,
        ram_bytes=_known(run.peak_rss_bytes),
    )


def of_comparison(document: Comparison) -> Sequence[Measurement]:
    """Return a row for each run that is compared: its accuracy against the baseline's. Times are in the results."""
    sources = {one.name: one for one in document.sources}
    return [_of_compared(one, sources[one.other.source]) for one in document.comparisons if one.other.source in sources]


def _of_compared(compared: Compared, source: object) -> Measurement:
    result = source if isinstance(source, ResultSource) else None
    side = compared.other if isinstance(compared.other, RunSide) else None
    agreement = compared.agreement
    labelled = getattr(source, "truth", "labels") == "labels"
    return Measurement(
        board=_text(result.board) or _text(result.cpu) if result else None,
        bundle=result.bundle.digest if result else None,
        bundle_name=shown(result.bundle.name) if result else None,
        variant=shown(side.variant) if side else FLOAT,
        threads=side.threads if side else None,
        batch=side.batch if side else None,
        delegate=_text(side.delegate) if side else None,
        photos=agreement.photos,
        top1=agreement.correct / agreement.photos if labelled else None,
        drop_pp=agreement.drop_pp if labelled else None,
        agreement=agreement.top1,
    )


def of_monitor(record: MonitorRecord, board: str | None) -> Sequence[Measurement]:
    """Return what a board saw within an hour."""
    latency = record.latency_ms
    return [
        Measurement(
            board=board,
            bundle=record.bundle.digest,
            bundle_name=shown(record.bundle.name),
            variant=shown(record.variant),
            photo_p50_ms=latency.p50 if latency else None,
            photo_p95_ms=latency.p95 if latency else None,
            photos=record.photos,
        )
    ]


def _known(value: V | Unknown) -> V | None:
    return None if isinstance(value, Unknown) else value


def _text(value: str | Unknown) -> str | None:
    return None if isinstance(value, Unknown) else shown(value)
