from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from edgetl_device._lib.documents import Unknown
from edgetl_device.bench import latency
from edgetl_device.bench.latency import STAGES, Stopwatch
from edgetl_device.bench.percentiles import PercentileIntervals, Percentiles
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier


@pytest.fixture
def classifier(tiny: Bundle) -> Iterator[Classifier]:
    with Classifier(tiny) as opened:
        yield opened


def test_samples_are_what_the_clock_says(classifier: Classifier, tiny: Bundle) -> None:
    photos = [tiny.read(photo.file) for photo in tiny.photos()]
    ticks = itertools.accumulate(itertools.repeat(1_000_000), initial=0)
    watch = Stopwatch(classifier, photos, clock=lambda: next(ticks))
    watch.warm_up()
    assert watch.samples.first_inference_ns == 4_000_000
    assert watch.samples.steady
    watch.measure(0.01, min_inferences=30)
    assert {stage: set(column) for stage, column in watch.samples.stages_ns.items()} == {s: {1_000_000} for s in STAGES}
    assert len(watch.samples.total_ns()) == 30
    watch.measure(1.0)
    # Five ticks of 1 ms for each inference, and one for each reading of the clock.
    assert len(watch.samples.total_ns()) == pytest.approx(30 + 1000 / 6, abs=2)
    unknown = Unknown(f"not enough samples: {len(watch.samples.total_ns())} of 662")
    assert latency.summary_ms(watch.samples).total == Percentiles(4.0, 4.0, 4.0, unknown)
    assert latency.intervals_ms(watch.samples).total == PercentileIntervals((4.0, 4.0), (4.0, 4.0))
    assert latency.throughput_per_s(watch.samples) == pytest.approx(250)


def test_warm_up_ends_even_when_nothing_settles(classifier: Classifier, tiny: Bundle) -> None:
    step, now = 1_000_000, 0

    def slowing() -> int:
        nonlocal step, now
        step, now = int(step * 1.01), now + step
        return now

    watch = Stopwatch(classifier, [tiny.read(tiny.photos()[0].file)], clock=slowing)
    watch.warm_up()
    assert not watch.samples.steady
    assert watch.samples.warmup_inferences > 20
    # After 10 s, and the block of inferences at that time.
    assert 10e9 < now < 20e9
