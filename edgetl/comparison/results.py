"""Compare bench results (``edgetl.result/2``) across variants, boards and dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from edgetl import __version__
from edgetl.comparison.gates import BASELINE_METRICS, BENCH_METRICS, COMPARISON_METRICS, Subject, class_values, values
from edgetl.runs.calibration_error import CalibrationError, calibration_error
from edgetl.runs.metrics import ClassMetrics, per_class
from edgetl_device._lib.documents import Named, Unknown
from edgetl_device.bench import result
from edgetl_device.bench.result import Result, ResultRun
from edgetl_device.bundle import BundleName
from edgetl_device.errors import InputError

from .bootstrap import BLOCKS, RESAMPLES, SEED, ratio_of_medians
from .comparability import circumstances, require_alike, require_valid, run_circumstances
from .document import Bootstrap, Compared, Comparison, Ratios, ResultSource, RunSide, TimeRatio, Way
from .paired import NO_DIFFERENCE, PhotoPrediction, compare_predictions

_OLD = Unknown("measured by an earlier edgetl, whose verdict has no codes")


@dataclass(frozen=True)
class Source:
    """A result, its name in the comparison, and its file, or its digest in a store."""

    name: str
    path: Path
    result: Result


@dataclass(frozen=True)
class _Measured:
    """One run of one source."""

    source: Source
    run: ResultRun

    @property
    def key(self) -> tuple[str, int]:
        return self.run.variant, self.run.threads

    def called(self, *, with_source: bool) -> str:
        name = run_name(self.run)
        return f"{self.source.name}: {name}" if with_source else name


def run_name(run: Way) -> str:
    """Return the name of a run: ``int8, 2 threads``, with batch and delegate if they are not the default."""
    name, delegate = f"{run.variant}, {thread_count(run.threads)}", run.delegate
    if run.batch > 1:
        name += f", batch {run.batch}"
    # Unknown for ONNX runtimes and in older results.
    if isinstance(delegate, Unknown) or delegate == "xnnpack":
        return name
    return f"{name}, {'no delegate' if delegate == 'none' else delegate}"


def thread_count(threads: int) -> str:
    """Return ``1 thread`` or ``2 threads``."""
    return f"{threads} thread{'s' if threads > 1 else ''}"


def compare_results(paths: Sequence[Path], *, baseline: str | None = None) -> Comparison:
    """Compare results with the first of them.

    Each run is compared with the run of the first result with the same variant, batch and number of threads. If the
    results share no number of threads but each has only one, these are compared, with a warning. Runs of different
    batch sizes are never compared: their times are for different numbers of images. With one result, or with
    ``baseline``, every run is compared with one variant of the first result.

    Args:
        paths: Result files.
        baseline: A variant of the first result. With one result the default is its first variant.

    Raises:
        InputError: The results are not comparable, a run in use is invalid, or nothing can be paired.
    """
    return compare_sources(_read(paths), baseline=baseline)


def compare_sources(sources: Sequence[Source], *, baseline: str | None = None) -> Comparison:
    """Compare results that are read already, as :func:`compare_results`."""
    first = sources[0]
    for other in sources[1:]:
        require_alike(first.result, first.name, other.result, other.name)
    if baseline is None and len(sources) == 1:
        baseline = first.result.runs[0].variant
    pairs, unpaired = _paired(sources, baseline)
    if not pairs:
        raise InputError(
            f"{' and '.join(source.name for source in sources)} have nothing in common to compare",
            why="; ".join(f"{source.name} has {', '.join(map(run_name, source.result.runs))}" for source in sources),
            hint="Bench the same variants, or name the one to compare with: --baseline VARIANT",
        )
    for measured in {id(one.run): one for pair in pairs for one in pair}.values():
        require_valid(measured.run, measured.called(with_source=True))
    return Comparison(
        producer=Named("edgetl", __version__),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        of="results",
        baseline=baseline,
        sources=tuple(_describe(source) for source in sources),
        bootstrap=Bootstrap(RESAMPLES, BLOCKS, SEED, "95%, percentiles"),
        comparisons=tuple(_compare(old, new, several=len(sources) > 1) for old, new in pairs),
        unpaired=tuple(unpaired),
    )


def _read(paths: Sequence[Path]) -> list[Source]:
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    return [Source(name, path, result.read(path)) for name, path in zip(names, paths, strict=True)]


def _paired(sources: Sequence[Source], baseline: str | None) -> tuple[list[tuple[_Measured, _Measured]], list[str]]:
    """Return pairs (baseline, other) in the order of the results, and the names of runs that have no counterpart."""
    first = sources[0]
    known = list(dict.fromkeys(run.variant for run in first.result.runs))
    if baseline is not None and baseline not in known:
        raise InputError(f"--baseline {baseline}: is not in {first.name}", why=f"it has {', '.join(known)}")
    pairs: list[tuple[_Measured, _Measured]] = []
    alone: list[_Measured] = []
    for source in sources if baseline is not None else sources[1:]:
        for run in source.result.runs:
            if source is first and run.variant == baseline:
                continue
            new = _Measured(source, run)
            old = _counterpart(first, baseline or run.variant, source, run)
            if old is None:
                alone.append(new)
            else:
                pairs.append((old, new))
    used = {id(one.run) for pair in pairs for one in pair}
    alone += [_Measured(first, run) for run in first.result.runs if id(run) not in used]
    return pairs, [one.called(with_source=True) for one in alone]


def _counterpart(first: Source, variant: str, source: Source, run: ResultRun) -> _Measured | None:
    def alike(runs: Sequence[ResultRun], variant: str) -> list[ResultRun]:
        return [one for one in runs if one.variant == variant and one.batch == run.batch]

    candidates = alike(first.result.runs, variant)
    same_threads = [one for one in candidates if one.threads == run.threads]
    # Several runs with the same threads differ in their delegates.
    for one in [one for one in same_threads if one.delegate == run.delegate] or same_threads[:1]:
        return _Measured(first, one)
    rivals = alike(source.result.runs, run.variant)
    return _Measured(first, candidates[0]) if len(candidates) == len(rivals) == 1 else None


def _describe(source: Source) -> ResultSource:
    found, environment = source.result, source.result.environment
    return ResultSource(
        name=source.name,
        path=str(source.path),
        created=found.created,
        digest=found.digest,
        bundle=BundleName(found.bundle.name, found.bundle.digest),
        photos=len(found.evalset.photos),
        folder=found.evalset.name if found.evalset.source == "folder" else None,
        truth=found.evalset.truth,
        board=environment.board,
        cpu=environment.cpu,
        governor=environment.governor,
    )


def _compare(old: _Measured, new: _Measured, *, several: bool) -> Compared:
    run = new.run
    old_name, new_name = old.called(with_source=several), new.called(with_source=several)
    warnings = circumstances(old.source.result, new.source.result, f"{old.source.name} / {new.source.name}")
    warnings += run_circumstances(old.run, old_name, run, new_name)
    agreement = compare_predictions(_predictions(old), _predictions(new))
    ratios = Ratios(
        model=_ratio(old.run.samples_ns.invoke, run.samples_ns.invoke),
        photo=_ratio(old.run.samples_ns.total(), run.samples_ns.total()),
        size=run.bytes / old.run.bytes,
    )
    # Drop and agreement of a comparison are against its baseline, not the reference of the photos.
    row = SimpleNamespace(**vars(run) | {"agreement": agreement, "ratios": ratios})
    truth = new.source.result.evalset.truth
    return Compared(
        baseline=_side(old),
        other=_side(new),
        ratios=ratios,
        agreement=agreement,
        warnings=tuple(warnings),
        codes=run.verdict.codes,
        baseline_metrics=values(BASELINE_METRICS, old.run, truth),
        metrics=values(COMPARISON_METRICS, row, truth),
    )


def _side(measured: _Measured) -> RunSide:
    run = measured.run
    return RunSide(measured.source.name, run.variant, run.threads, run.delegate, run.batch)


def _predictions(measured: _Measured) -> list[PhotoPrediction]:
    found = measured.source.result
    labels = found.bundle.labels
    return [
        PhotoPrediction(photo.file, photo.sha256, labels[photo.index], labels[index])
        for photo, index in zip(found.evalset.photos, measured.run.answers.predicted, strict=True)
    ]


def _ratio(old: Sequence[int], new: Sequence[int]) -> TimeRatio:
    ratio = ratio_of_medians(new, old)
    low, high = ratio.ci95
    return TimeRatio(ratio.value, ratio.ci95, "faster" if high < 1 else "slower" if low > 1 else NO_DIFFERENCE)


def codes_of(codes: tuple[str, ...] | None) -> tuple[str, ...] | Unknown:
    """Return the codes of a verdict; earlier versions had none."""
    return _OLD if codes is None else codes


def gate_subjects(benched: Result) -> list[Subject]:
    """Return the subjects of gates; a variant that cannot run here has no numbers, so its gates fail."""
    found = []
    for run in benched.runs:
        invalid = "; ".join(run.verdict.reasons) if run.verdict.status == "invalid" else ""
        row, truth = SimpleNamespace(**vars(run), calibration_error=_calibration(benched, run)), benched.evalset.truth
        numbers = values(BENCH_METRICS, row, truth) | class_values(class_metrics(benched, run), truth)
        codes = codes_of(run.verdict.codes)
        found.append(Subject(run_name(run), run.variant, numbers, invalid, codes))
    measured = {run.variant for run in benched.runs}
    # A variant that failed with one delegate may have been measured with another.
    for left in (left for left in benched.skipped if left.variant not in measured):
        why = Unknown(left.why)
        numbers = {metric.name: why for metric in BENCH_METRICS if not metric.of_class}
        # Of each class, so that a gate on any class fails too.
        numbers |= dict.fromkeys(class_values(class_metrics(benched, benched.runs[0])), why)
        found.append(Subject(left.variant, left.variant, numbers, codes=why))
    return found


def _calibration(benched: Result, run: ResultRun) -> CalibrationError:
    truth = np.array([photo.index for photo in benched.evalset.photos])
    return calibration_error(np.array(run.answers.probability), np.array(run.answers.predicted) == truth)


def class_metrics(benched: Result, run: ResultRun) -> tuple[ClassMetrics, ...]:
    """Return the metrics of each class, from a run's predictions for its photos."""
    labels = benched.bundle.labels
    targets = np.array([photo.index for photo in benched.evalset.photos], np.int64)
    return per_class(np.array(run.answers.predicted, np.int64), targets, labels)
