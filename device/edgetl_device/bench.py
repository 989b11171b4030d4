"""Bench a bundle: load, latency, memory, accuracy and agreement of its variants, taken side by side.

Not for: judging the numbers against a budget, and comparing two benches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import accuracy, environment, latency, memory, result
from .bundle import Bundle, Photo, Variant
from .classifier import Classifier
from .errors import InputError, Unavailable
from .latency import MIN_INFERENCES, Stopwatch
from .runtime import check_threads, load_library

# The duration of each variant is cut into so many pieces, and the variants take turns: a clock or a temperature that
# changes on the way then changes all of them.
ROUNDS = 5
MAX_DURATION_S = 3600.0

Say = Callable[[str], None]


@dataclass
class _Lane:
    """One variant with one number of threads, loaded."""

    variant: Variant
    classifier: Classifier
    load_ns: int
    stopwatch: Stopwatch


def run_bench(
    bundle: Bundle,
    *,
    variants: Sequence[str] | None = None,
    threads: Sequence[int] = (1,),
    duration_s: float = 10.0,
    prefer: str | None = None,
    say: Say | None = None,
) -> dict[str, Any]:
    """Measure variants of a bundle on this machine and return an ``edgetl.result/1`` document.

    Args:
        bundle: With held-out photos and a reference in it.
        variants: Names, or None for every variant whose runtime is installed; those left out are listed in the result.
        threads: Numbers of CPU threads; each variant is measured with each.
        duration_s: Sampling time of each variant and number of threads, above 0 and at most an hour. Sampling goes on
            until there are also 100 inferences.
        prefer: For TFLite variants, insist on ``ai-edge-litert`` or ``tflite-runtime``.
        say: Called with one line about each step; None is silent.

    Raises:
        InputError: A variant, a number or the bundle is wrong.
        Unavailable: A variant that was named, or every one, cannot run here.
    """
    if not 0 < duration_s <= MAX_DURATION_S:
        raise InputError(f"duration {duration_s!r} s", why=f"must be above 0 and at most {MAX_DURATION_S:.0f}")
    if not threads:
        raise InputError("no number of threads given")
    for count in threads:
        check_threads(count)
    chosen, skipped = _runnable(bundle, variants, prefer)
    say = say or _silent
    for row in skipped:
        say(f"left out {row['variant']}: {row['why']}")
    photos = bundle.photos()
    reference = bundle.reference()
    files = [bundle.read(photo.file) for photo in photos]

    before = environment.state()
    lanes: list[_Lane] = []
    try:
        for variant in chosen:
            lanes += [_load(bundle, variant, count, files, prefer) for count in dict.fromkeys(threads)]
        for lane in lanes:
            say(f"warming up {_name(lane)}")
            lane.stopwatch.warm_up()
        for piece in range(ROUNDS):
            say(f"measuring, round {piece + 1} of {ROUNDS}")
            for lane in lanes:
                lane.stopwatch.measure(duration_s / ROUNDS, min_inferences=-(-MIN_INFERENCES // ROUNDS))
        after = environment.state()
        described = environment.describe()
        emulated = described["emulated"]
        runs = []
        for lane in lanes:
            say(f"accuracy and memory of {_name(lane)}")
            scores = _score(lane.classifier, files, photos, reference.probabilities)
            peak = memory.peak_rss_bytes(bundle.path, lane.variant.name, lane.classifier.runtime.threads, prefer=prefer)
            verdict = latency.verdict(lane.stopwatch.samples, before, after, emulated=emulated)
            runs.append(_row(lane) | scores | {"peak_rss_bytes": peak, "verdict": verdict})
    finally:
        for lane in lanes:
            lane.classifier.close()
    return result.assemble(
        bundle,
        settings={
            "variants": [variant.name for variant in chosen],
            "threads": list(threads),
            "duration_s": duration_s,
            "min_inferences": MIN_INFERENCES,
            "rounds": ROUNDS,
            "percentiles": "nearest rank",
        },
        environment=described | {"before": before, "after": after},
        runs=runs,
        skipped=skipped,
    )


def parse_variants(text: str) -> list[str] | None:
    """Read ``all`` (None) or names with commas between them."""
    return None if text.strip() == "all" else [name.strip() for name in text.split(",") if name.strip()]


def parse_threads(text: str) -> list[int]:
    """Read whole numbers with commas between them."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise InputError(f"threads {text!r}", why="must be whole numbers with commas, such as 1,2") from None


def _runnable(
    bundle: Bundle, names: Sequence[str] | None, prefer: str | None
) -> tuple[list[Variant], list[dict[str, str]]]:
    if names is not None:
        chosen = [bundle.variant(name) for name in dict.fromkeys(names)]
        if not chosen:
            raise InputError("no variant given", why=f"{bundle.path} has {', '.join(v.name for v in bundle.variants)}")
        for variant in chosen:
            load_library(variant.format, prefer=prefer)
        return chosen, []
    lacks = {variant.name: _lacks(variant, prefer) for variant in bundle.variants}
    chosen = [variant for variant in bundle.variants if lacks[variant.name] is None]
    if not chosen:
        first = next(error for error in lacks.values() if error)
        raise Unavailable("no variant of this bundle can run here", why=first.what, hint=first.hint)
    return chosen, [{"variant": name, "why": error.what} for name, error in lacks.items() if error]


def _lacks(variant: Variant, prefer: str | None) -> Unavailable | None:
    try:
        load_library(variant.format, prefer=prefer)
    except Unavailable as error:
        return error
    return None


def _load(bundle: Bundle, variant: Variant, threads: int, files: Sequence[bytes], prefer: str | None) -> _Lane:
    started = time.perf_counter_ns()
    classifier = Classifier(bundle, variant.name, threads, prefer=prefer)
    return _Lane(variant, classifier, time.perf_counter_ns() - started, Stopwatch(classifier, files))


def _score(
    classifier: Classifier, files: Sequence[bytes], photos: Sequence[Photo], reference: np.ndarray[Any, Any]
) -> dict[str, Any]:
    probabilities = np.stack([classifier.probabilities(file) for file in files])
    labels = np.array([photo.index for photo in photos], np.int64)
    return accuracy.score(probabilities, labels, reference, names=classifier.labels)


def _row(lane: _Lane) -> dict[str, Any]:
    samples, runtime = lane.stopwatch.samples, lane.classifier.runtime
    return {
        "variant": lane.variant.name,
        "format": lane.variant.format,
        "precision": lane.variant.precision,
        "threads": runtime.threads,
        "runtime": {"name": runtime.name, "version": runtime.version},
        "delegate": {"unknown": "the runtime's Python interface does not say which one it chose"},
        "bytes": lane.variant.bytes,
        "load_ms": lane.load_ns / 1e6,
        "first_inference_ms": samples.first_inference_ns / 1e6,
        "warmup": {"inferences": samples.warmup_inferences, "steady": samples.steady},
        "samples_ns": samples.stages_ns,
        "latency_ms": latency.summary_ms(samples),
        "throughput_per_s": latency.throughput_per_s(samples),
    }


def _silent(text: str) -> None:
    del text


def _name(lane: _Lane) -> str:
    count = lane.classifier.runtime.threads
    return f"{lane.variant.name}, {count} thread{'s' if count > 1 else ''}"
