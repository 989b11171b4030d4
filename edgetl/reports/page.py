"""Content of the report of bench results: numbers, texts and positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgetl.comparison.results import run_name
from edgetl_device._lib.documents import Unknown
from edgetl_device.bench.percentiles import percentile
from edgetl_device.bench.reference import FLOAT_MODEL
from edgetl_device.bench.result import Result, ResultRun
from edgetl_device.bundle import Bundle
from edgetl_device.truth import NOT_KNOWN

from .charts import (
    Counts,
    Course,
    Place,
    Scale,
    Tick,
    course,
    density_path,
    fine_counts,
    frontier,
    line_path,
    place_labels,
)
from .environment import Gauge, facts, gauges
from .gallery import Gallery, flipped, one_per_variant
from .text import Figure, Warned, agreement_text, drop_text, interval_text

COLOURS = 8
SHORT_FLOAT_MODEL = "the float model"
VERDICTS = {
    "valid": "Valid: the measurement is reliable.",
    "degraded": "Degraded: interpret the times with care.",
    "invalid": "Invalid: some times are meaningless; measure again.",
}
_STAGES = {
    "decode": "decode: a file's bytes to an image",
    "fit": "fit: to the model's size",
    "invoke": "model",
    "postprocess": "probabilities and top 5",
}
# The latency axis ends at this percentile of the slowest run, so that outliers do not squeeze the rest.
_END = 99.5


@dataclass(frozen=True)
class Row:
    """One run of one result, with its number on the page."""

    number: int
    result: str
    name: str
    benched: Result
    run: ResultRun

    @property
    def colour(self) -> int:
        """Index of its colour, from 0."""
        return (self.number - 1) % COLOURS

    @property
    def batch(self) -> int:
        """Photos in one inference."""
        return self.run.batch


@dataclass(frozen=True)
class Distribution:
    """One run in the chart of latencies; positions in percent."""

    row: Row
    path: str
    p50: float
    p95: float | None
    course: Course
    counts: Counts


@dataclass(frozen=True)
class Stage:
    """One stage of a photo: its median, its share of this run's sum and of the slowest run's, in percent."""

    key: str
    name: str
    ms: float
    share: float
    percent: float


@dataclass(frozen=True)
class Point:
    """One run in the chart of accuracy against latency; positions in percent from the left and from the top."""

    row: Row
    x: float
    y: float
    top: float
    bottom: float
    diameter_px: float
    label: Place
    median_ms: float


@dataclass(frozen=True)
class Change:
    """One variant on one class: correct photos, and the difference from the float model if known."""

    correct: int
    drop_pp: float | None


@dataclass(frozen=True)
class ClassRow:
    """One class: its photos, the float model's correct ones (if known), each variant; bars end at ``scale_pp``."""

    label: str
    photos: int
    reference: int | None
    changes: tuple[Change, ...]
    scale_pp: float


@dataclass(frozen=True)
class Bench:
    """One result: where and how it was measured, its photos, and the reference, if any."""

    name: str
    result: Result
    rows: tuple[Row, ...]
    status: str
    reasons: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    unknown: tuple[tuple[str, str], ...]
    gauges: tuple[Gauge, ...]
    variants: tuple[str, ...]
    classes: tuple[ClassRow, ...]
    gallery: Gallery
    has_bundle: bool
    of_folder: bool
    labelled: bool
    against: str


def bench(name: str, result: Result, *, first_number: int, with_way: bool, bundle: Bundle | None) -> Bench:
    """Return one result for the page; its runs are numbered from ``first_number``.

    With ``with_way`` their names include threads and batch, where these differ on the page.
    """
    runs, evalset = result.runs, result.evalset
    statuses = [run.verdict.status for run in runs]
    status = next(one for one in ("invalid", "degraded", "valid") if one in statuses)
    known, unknown = facts(result)
    unpaired = isinstance(evalset.reference, Unknown)
    return Bench(
        name=name,
        result=result,
        rows=tuple(
            Row(number, name, run_name(run) if with_way else run.variant, result, run)
            for number, run in enumerate(runs, start=first_number)
        ),
        status=status,
        reasons=_reasons(runs),
        facts=known,
        unknown=unknown,
        gauges=gauges(result.environment),
        variants=tuple(one_per_variant(result)),
        classes=_classes(result),
        gallery=flipped(result, bundle),
        has_bundle=bundle is not None,
        of_folder=evalset.source == "folder",
        labelled=evalset.truth == "labels",
        against="" if unpaired else _reference(result),
    )


def _reference(result: Result) -> str:
    """Return what variants are compared with, in few words."""
    name = result.evalset.reference_name
    return SHORT_FLOAT_MODEL if name is None or name == FLOAT_MODEL else name


def verdict(benches: Sequence[Bench]) -> tuple[str, str]:
    """Return the worst verdict of all results, and its sentence."""
    statuses = {one.status for one in benches}
    status = next(one for one in ("invalid", "degraded", "valid") if one in statuses)
    of = [one.name for one in benches if one.status == status]
    some = f" ({', '.join(of)})" if len(of) < len(benches) else ""
    return status, VERDICTS[status].replace(":", f"{some}:", 1)


def figures(rows: Sequence[Row]) -> tuple[Figure, ...]:
    """Return latency, accuracy, drop and size of the fastest run with a usable measurement; nothing without one."""
    believed = [row for row in rows if row.run.verdict.status != "invalid"]
    if not believed:
        return ()
    row = min(believed, key=lambda one: _median_ms(one.run.samples_ns.invoke))
    run, environment = row.run, row.benched.environment
    board = next((one for one in (environment.board, environment.cpu) if isinstance(one, str)), "this machine")
    ranks = {percent: run.latency.of(percent) for percent in (95, 90, 50)}
    known = {percent: ms for percent, ms in ranks.items() if not isinstance(ms, Unknown)}
    percent, ms = next(iter(known.items()), (50, _median_ms(run.samples_ns.invoke)))
    per = "photo" if run.batch == 1 else f"{run.batch} photos"
    doubt = run.verdict.status == "degraded"
    found = [Figure(f"{row.name}, model, p{percent}", f"{ms:.2f} ms", f"per {per}, on {board}", doubtful=doubt)]
    if row.benched.evalset.truth == "model":
        found.append(
            Figure("Answers of the original", f"{run.accuracy.top1:.1%}", interval_text(run.accuracy, "drawn pictures"))
        )
        if not isinstance(run.agreement, Unknown):
            name = f"Agreement with {_reference(row.benched)}"
            found.append(Figure(name, *agreement_text(run.agreement, "drawn pictures")))
        return (*found, Figure("Size", f"{run.bytes / 1e6:.2f} MB", run.precision))
    found.append(Figure("Top-1 accuracy", f"{run.accuracy.top1:.1%}", interval_text(run.accuracy)))
    if not isinstance(run.agreement, Unknown):
        found.append(Figure(f"Drop against {_reference(row.benched)}", *drop_text(run.agreement)))
    return (*found, Figure("Size", f"{run.bytes / 1e6:.2f} MB", run.precision))


def warnings(benches: Sequence[Bench], compared: Sequence[str]) -> tuple[Warned, ...]:
    """Return what readers must know before they use a number: reasons of verdicts, lost variants, unlike conditions."""
    found = []
    for one in benches:
        place = f" ({one.name})" if len(benches) > 1 else ""
        found += [] if one.labelled else [Warned(NOT_KNOWN.capitalize() + "." + place, "runs")]
        found += [Warned(reason + place, "measurement") for reason in one.reasons]
        found += [Warned(f"{left.variant} was not measured: {left.why}{place}", "runs") for left in one.result.skipped]
    return (*found, *(Warned(text, "comparison") for text in compared))


@dataclass(frozen=True)
class Latency:
    """The chart of latencies: its axis in ms, and its runs."""

    scale: Scale
    ticks: list[Tick]
    distributions: tuple[Distribution, ...]


def latency(rows: Sequence[Row]) -> Latency:
    """Return the distributions of the model's time on one axis."""
    samples = [np.array(row.run.samples_ns.invoke) / 1e6 for row in rows]
    ends = [float(np.percentile(one, rank)) for one in samples for rank in (0.5, _END)]
    scale = Scale.around(ends, margin=0.03)
    found = []
    for row, one in zip(rows, samples, strict=True):
        # With too few samples there is no p95.
        p95_ms = row.run.latency.p95_ms
        p50 = scale.at(_median_ms(row.run.samples_ns.invoke))
        p95 = None if isinstance(p95_ms, Unknown) else scale.at(p95_ms)
        own = Scale.around([float(np.percentile(one, 1)), float(np.percentile(one, _END))], log=False)
        counts = fine_counts(one, scale)
        found.append(Distribution(row, density_path(one, scale), p50, p95, course(one, own), counts))
    return Latency(scale, scale.x_ticks(), tuple(found))


def stages(rows: Sequence[Row]) -> list[tuple[Row, list[Stage]]]:
    """Return the median of each stage; bars share one axis from 0 to the slowest run's sum."""
    medians = [{stage: _median_ms(getattr(row.run.samples_ns, stage)) for stage in _STAGES} for row in rows]
    longest = max(sum(one.values()) for one in medians)
    return [
        (
            row,
            [
                Stage(stage, _STAGES[stage], ms, 100 * ms / sum(one.values()), 100 * ms / longest)
                for stage, ms in one.items()
            ],
        )
        for row, one in zip(rows, medians, strict=True)
    ]


@dataclass(frozen=True)
class Pareto:
    """The chart of accuracy (percent) against the model's median (ms)."""

    x_ticks: list[Tick]
    y_ticks: list[Tick]
    log: bool
    points: tuple[Point, ...]
    path: str


def pareto(rows: Sequence[Row]) -> Pareto:
    """Return every run as a point with its interval; circles grow with the size of the file."""
    costs = [_median_ms(row.run.samples_ns.invoke) for row in rows]
    gains = [100 * row.run.accuracy.top1 for row in rows]
    intervals = [[100 * bound for bound in row.run.accuracy.ci95] for row in rows]
    x = Scale.around(costs, margin=0.12)
    y = Scale.around([bound for interval in intervals for bound in interval], margin=0.08, log=False)
    best = frontier(list(zip(costs, gains, strict=True)))
    largest = max(row.run.bytes for row in rows)
    places = [(x.at(cost), 100 - y.at(gain)) for cost, gain in zip(costs, gains, strict=True)]
    labels = place_labels(places, width=24, height=6)
    points = []
    for index, row in enumerate(rows):
        low, high = intervals[index]
        left, top = places[index]
        # The eye compares areas, not diameters.
        diameter = 12 + 22 * (row.run.bytes / largest) ** 0.5
        points.append(Point(row, left, top, 100 - y.at(high), 100 - y.at(low), diameter, labels[index], costs[index]))
    path = line_path([(costs[index], gains[index]) for index in best], x, y)
    y_ticks = [tick for tick in y.ticks(about=8) if tick.value <= 100]
    return Pareto(x.x_ticks(), y_ticks, x.log, tuple(points), path)


def _median_ms(samples_ns: Sequence[int]) -> float:
    """Return the median as the bench defines it, even if there are too few samples to publish it."""
    return percentile(samples_ns, 50) / 1e6


def _reasons(runs: Sequence[ResultRun]) -> tuple[str, ...]:
    about: dict[str, list[str]] = {}
    for run in runs:
        for reason in run.verdict.reasons:
            about.setdefault(reason, []).append(run_name(run))
    return tuple(
        f"{reason} ({'all runs' if len(names) == len(runs) else '; '.join(names)})" for reason, names in about.items()
    )


def _classes(result: Result) -> tuple[ClassRow, ...]:
    truth = np.array([photo.index for photo in result.evalset.photos])
    expected = result.evalset.reference
    reference = None if isinstance(expected, Unknown) else np.array(expected)
    predicted = [np.array(run.answers.predicted) for run in one_per_variant(result).values()]
    found = []
    for index, label in enumerate(result.bundle.labels):
        mine = truth == index
        photos = int(mine.sum())
        if photos:
            right = None if reference is None else int((reference[mine] == index).sum())
            correct = [int((one[mine] == index).sum()) for one in predicted]
            drops = [None if right is None else 100 * (right - one) / photos for one in correct]
            found.append((label, photos, right, tuple(map(Change, correct, drops))))
    scale_pp = max([10.0, *(abs(change.drop_pp or 0) for *_, changes in found for change in changes)])
    rows = [ClassRow(label, photos, right, changes, scale_pp) for label, photos, right, changes in found]
    return tuple(sorted(rows, key=lambda row: (-max(change.drop_pp or 0 for change in row.changes), row.label)))
