"""How long one photo takes, stage by stage, as raw nanoseconds; and whether the numbers can be believed.

One photo at a time, the next one when the last is done (MLPerf's SingleStream). Each sample runs all stages on a photo
of the bundle, so the model finds the caches as an application leaves them: decode (bytes in memory to an upright RGB
image), fit (to the model's size), invoke (copy the pixels in, run the model), postprocess (probabilities, top 5).
Not for: accuracy, and throughput with several photos at once.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .classifier import Classifier
from .environment import others_cpu
from .preprocess import decode, fit

STAGES = ("decode", "fit", "invoke", "postprocess")
PERCENTILES = (50, 90, 95, 99)
MIN_INFERENCES = 100

# Warm-up: blocks of this many inferences, until the medians of two in a row are this close; at most so long.
_BLOCK = 10
_STEADY = 0.03
_WARMUP_LIMIT_S = 10.0

# Bounds of the verdict, as ratios of invoke times. p95 over p50 is 1.02 to 1.2 on an idle board.
_NOISY = 1.5
_DRIFT = 1.1

# Cores that other programs may keep busy, on average, before a measurement counts as disturbed. Measured, not taken
# from the load average: that one still shows the work of the minute before.
_OTHERS_CORES = 0.25

_NS_PER_S = 1_000_000_000

Clock = Callable[[], int]


@dataclass
class Samples:
    """Raw times of one classifier, appended to while measuring.

    Attributes:
        stages_ns: For each stage the time of every inference, in order; all of the same length.
        first_inference_ns: The first inference after loading, all stages.
        warmup_inferences: Inferences before the first sample, the first one included.
        steady: Whether the running median settled during warm-up.
    """

    stages_ns: dict[str, list[int]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    first_inference_ns: int = 0
    warmup_inferences: int = 0
    steady: bool = False

    def total_ns(self) -> list[int]:
        """Return the time of every inference, all stages together."""
        return [sum(parts) for parts in zip(*self.stages_ns.values(), strict=True)]


class Stopwatch:
    """Runs one classifier over photos and keeps the time of each stage.

    Args:
        classifier: Loaded, and used by nobody else meanwhile.
        photos: The bytes of image files, taken in turn.
        clock: Nanoseconds from any origin, never going back.
    """

    def __init__(self, classifier: Classifier, photos: Sequence[bytes], *, clock: Clock = time.perf_counter_ns) -> None:
        """Take the first photo first."""
        if not photos:
            raise ValueError("no photos to measure with")
        self.samples = Samples()
        self._classifier, self._photos, self._clock = classifier, photos, clock
        self._next = 0

    def warm_up(self) -> None:
        """Run until the median of invoke is steady, or for 10 s; the first inference is kept apart."""
        self.samples.first_inference_ns = sum(self._once())
        self.samples.warmup_inferences = 1
        started, previous = self._clock(), math.inf
        while True:
            median = statistics.median(self._once()[2] for _ in range(_BLOCK))
            self.samples.warmup_inferences += _BLOCK
            if abs(median - previous) <= _STEADY * median:
                self.samples.steady = True
                return
            if self._clock() - started > _WARMUP_LIMIT_S * _NS_PER_S:
                return
            previous = median

    def measure(self, duration_s: float, *, min_inferences: int = 1) -> None:
        """Add samples for at least ``duration_s`` and at least ``min_inferences``."""
        columns = [self.samples.stages_ns[stage] for stage in STAGES]
        started, count = self._clock(), 0
        while count < min_inferences or self._clock() - started < duration_s * _NS_PER_S:
            for column, value in zip(columns, self._once(), strict=True):
                column.append(value)
            count += 1

    def _once(self) -> tuple[int, int, int, int]:
        classifier, clock = self._classifier, self._clock
        runtime, spec = classifier.runtime, classifier.bundle.preprocess
        photo = self._photos[self._next]
        self._next = (self._next + 1) % len(self._photos)
        start = clock()
        image = decode(photo, spec)
        decoded = clock()
        pixels = fit(image, spec)
        fitted = clock()
        runtime.feed(pixels)
        runtime.invoke()
        invoked = clock()
        classifier.ranked(runtime.probabilities())
        return decoded - start, fitted - decoded, invoked - fitted, clock() - invoked


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: the smallest sample that at least ``percent`` of them do not exceed.

    Always one of the samples, never between two.
    """
    if not samples or not 0 < percent <= 100:
        raise ValueError(f"percentile {percent} of {len(samples)} samples")
    return sorted(samples)[math.ceil(percent / 100 * len(samples)) - 1]


def summary_ms(samples: Samples) -> dict[str, dict[str, float]]:
    """Return p50, p90, p95 and p99 (nearest rank) in milliseconds, by stage and for ``total``."""
    columns = {**samples.stages_ns, "total": samples.total_ns()}
    return {
        stage: {f"p{percent}": percentile(column, percent) / 1e6 for percent in PERCENTILES}
        for stage, column in columns.items()
    }


def throughput_per_s(samples: Samples) -> float:
    """Return photos a second, one after another, from the bytes of a file to its label."""
    total = samples.total_ns()
    return len(total) / (sum(total) / _NS_PER_S)


def verdict(
    samples: Samples, before: dict[str, Any], after: dict[str, Any], *, emulated: Any = False
) -> dict[str, Any]:
    """Say whether the times can be believed: ``valid``, ``degraded`` (use with care) or ``invalid`` (measure again).

    Args:
        samples: At least one inference.
        before: :func:`environment.state` before the bench.
        after: The same after it.
        emulated: True, or why, when the CPU is an emulated one.

    Returns:
        ``status`` and ``reasons``, each reason a sentence; no reasons when valid.
    """
    invalid, degraded = [], []
    invoke = samples.stages_ns["invoke"]
    if len(invoke) < MIN_INFERENCES:
        invalid.append(f"{len(invoke)} inferences; at least {MIN_INFERENCES} are needed")
    if emulated is True:
        invalid.append("the CPU is emulated: its times say nothing about a real one")
    throttled = after.get("throttled")
    if isinstance(throttled, list) and throttled:
        invalid.append(f"the board reports {', '.join(throttled)}")
    if not samples.steady:
        degraded.append(f"the median was not steady after {samples.warmup_inferences} warm-up inferences")
    spread = percentile(invoke, 95) / percentile(invoke, 50)
    if spread > _NOISY:
        degraded.append(f"noisy: p95 of invoke is {spread:.1f} times p50")
    third = len(invoke) // 3
    if third >= _BLOCK:
        drift = statistics.median(invoke[-third:]) / statistics.median(invoke[:third])
        if not 1 / _DRIFT <= drift <= _DRIFT:
            degraded.append(f"drifted: the last third took {drift:.2f} times as long as the first")
    others = others_cpu(before, after)
    if others is not None and others > _OTHERS_CORES:
        degraded.append(f"other programs kept {others:.1f} cores busy meanwhile")
    hot = after.get("temperature_c")
    if isinstance(hot, float) and hot >= 80:
        degraded.append(f"hot: {hot:.0f} C at the end; boards slow down from about 80 C")
    status = "invalid" if invalid else "degraded" if degraded else "valid"
    return {"status": status, "reasons": invalid + degraded}
