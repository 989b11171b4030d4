"""Bench a bundle: load, latency, memory, accuracy and agreement of its variants, taken side by side.

Not for: judging the numbers against a budget, and comparing two benches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import accuracy, answers, environment, latency, memory, result
from .bundle import Bundle, Photo, Variant
from .classifier import Classifier
from .delegate import Delegate
from .errors import EdgetlError, InputError, Unavailable
from .latency import MIN_INFERENCES, Stopwatch
from .rehearsal import rehearse
from .runtime import check_delegate, check_threads, load_library

# The duration of each variant is cut into so many pieces, and the variants take turns: a clock or a temperature that
# changes on the way then changes all of them.
ROUNDS = 5
MAX_DURATION_S = 3600.0

# Of a run without --delegate: on CPUs LiteRT takes XNNPACK when it can.
_UNASKED = {"unknown": "the runtime's Python interface does not say which one it chose"}

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
    delegate: Delegate | None = None,
    say: Say | None = None,
) -> dict[str, Any]:
    """Measure variants of a bundle on this machine and return an ``edgetl.result/1`` document.

    Args:
        bundle: With held-out photos and a reference in it.
        variants: Names, or None for every variant that this machine's runtimes and the delegate can run; those left out
            are listed in the result.
        threads: Numbers of CPU threads; each variant is measured with each.
        duration_s: Sampling time of each variant and number of threads, above 0 and at most an hour. Sampling goes on
            until there are also 100 inferences.
        prefer: For TFLite variants, insist on ``ai-edge-litert`` or ``tflite-runtime``.
        delegate: An external delegate for all variants measured; each must give it at least one operator.
        say: Called with one line about each step; None is silent.

    Raises:
        InputError: A variant, a number or the bundle is wrong.
        Unavailable: A variant that was named, or every one, or the delegate, cannot run here.
    """
    if not 0 < duration_s <= MAX_DURATION_S:
        raise InputError(f"duration {duration_s!r} s", why=f"must be above 0 and at most {MAX_DURATION_S:.0f}")
    if not threads:
        raise InputError("no number of threads given")
    for count in threads:
        check_threads(count)
    chosen, skipped = _runnable(bundle, variants, prefer, delegate)
    say = say or _silent
    for row in skipped:
        say(f"left out {row['variant']}: {row['why']}")
    if delegate is not None:
        for variant in chosen:
            say(f"trial run of {variant.name} on {delegate.name}")
            rehearse(bundle.read(variant.file), delegate, prefer=prefer)
    photos = bundle.photos()
    reference = bundle.reference()
    files = [bundle.read(photo.file) for photo in photos]

    states = [environment.state()]
    lanes: list[_Lane] = []
    try:
        for variant in chosen:
            lanes += [_load(bundle, variant, count, files, prefer, delegate) for count in dict.fromkeys(threads)]
        for lane in lanes:
            say(f"warming up {_name(lane)}")
            lane.stopwatch.warm_up()
        for piece in range(ROUNDS):
            say(f"measuring, round {piece + 1} of {ROUNDS}")
            for lane in lanes:
                lane.stopwatch.measure(duration_s / ROUNDS, min_inferences=-(-MIN_INFERENCES // ROUNDS))
            states.append(environment.state())
        before, *during, after = states
        described = environment.describe()
        emulated = described["emulated"]
        runs = []
        for lane in lanes:
            say(f"accuracy and memory of {_name(lane)}")
            scores = _score(lane.classifier, files, photos, reference.probabilities)
            peak = memory.peak_rss_bytes(
                bundle.path, lane.variant.name, lane.classifier.runtime.threads, prefer=prefer, delegate=delegate
            )
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
        environment=described | {"delegate": _delegate(lanes), "before": before, "during": during, "after": after},
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
    bundle: Bundle, names: Sequence[str] | None, prefer: str | None, delegate: Delegate | None
) -> tuple[list[Variant], list[dict[str, str]]]:
    wanted = bundle.variants if names is None else [bundle.variant(name) for name in dict.fromkeys(names)]
    if not wanted:
        raise InputError("no variant given", why=f"{bundle.path} has {', '.join(v.name for v in bundle.variants)}")
    lacks = {variant.name: _lacks(bundle, variant, prefer, delegate) for variant in wanted}
    errors = [error for error in lacks.values() if error]
    if errors and names is not None:
        raise errors[0]
    chosen = [variant for variant in wanted if lacks[variant.name] is None]
    if not chosen:
        first = errors[0]
        raise type(first)("no variant of this bundle can run here", why=first.what, hint=first.hint)
    return chosen, [{"variant": name, "why": error.what} for name, error in lacks.items() if error]


def _lacks(bundle: Bundle, variant: Variant, prefer: str | None, delegate: Delegate | None) -> EdgetlError | None:
    """Return why a variant cannot run here, or None. A damaged file is an error at once."""
    model = bundle.read(variant.file)
    try:
        check_delegate(model, variant.format, delegate)
        load_library(variant.format, prefer=prefer)
    except (InputError, Unavailable) as error:
        return error
    return None


def _load(
    bundle: Bundle,
    variant: Variant,
    threads: int,
    files: Sequence[bytes],
    prefer: str | None,
    delegate: Delegate | None,
) -> _Lane:
    started = time.perf_counter_ns()
    classifier = Classifier(bundle, variant.name, threads, prefer=prefer, delegate=delegate)
    return _Lane(variant, classifier, time.perf_counter_ns() - started, Stopwatch(classifier, files))


def _delegate(lanes: Sequence[_Lane]) -> dict[str, Any] | str:
    """Return which delegate a bench used, for its environment; how much of each model it took is in the runs."""
    used = lanes[0].classifier.runtime.delegate
    return {key: used[key] for key in ("name", "library", "options", "version")} if used else "none"


def _score(
    classifier: Classifier, files: Sequence[bytes], photos: Sequence[Photo], reference: np.ndarray[Any, Any]
) -> dict[str, Any]:
    probabilities = np.stack([classifier.probabilities(file) for file in files])
    labels = np.array([photo.index for photo in photos], np.int64)
    scores = accuracy.score(probabilities, labels, reference, names=classifier.labels)
    return scores | {"answers": answers.answers(probabilities)}


def _row(lane: _Lane) -> dict[str, Any]:
    samples, runtime = lane.stopwatch.samples, lane.classifier.runtime
    used = runtime.delegate
    return {
        "variant": lane.variant.name,
        "format": lane.variant.format,
        "precision": lane.variant.precision,
        "threads": runtime.threads,
        "runtime": {"name": runtime.name, "version": runtime.version},
        "delegate": used["name"] if used else _UNASKED,
        **({"delegated": {key: used[key] for key in ("operators", "of", "partitions")}} if used else {}),
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
