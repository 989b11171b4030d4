from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from edgetl_device import latency
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.latency import STAGES, Samples, Stopwatch, percentile

BEFORE = {"clock_s": 100.0, "busy_cpu_s": 500.0, "own_cpu_s": 1.0, "throttled": [], "temperature_c": 50.0}
AFTER = BEFORE | {"clock_s": 110.0, "busy_cpu_s": 511.0, "own_cpu_s": 10.5}


@pytest.fixture
def classifier(tiny: Bundle) -> Iterator[Classifier]:
    with Classifier(tiny) as opened:
        yield opened


def samples(invoke: list[int], *, steady: bool = True) -> Samples:
    return Samples({stage: list(invoke) for stage in STAGES}, steady=steady)


def test_percentiles_are_nearest_rank() -> None:
    values = [15, 20, 35, 40, 50]
    assert [percentile(values, p) for p in (5, 30, 40, 50, 100)] == [15, 20, 20, 35, 50]
    assert percentile(list(range(1, 101)), 99) == 99
    assert percentile([7], 50) == 7
    for bad in ((values, 0), (values, 101), ([], 50)):
        with pytest.raises(ValueError, match="percentile"):
            percentile(*bad)


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
    # Five ticks of 1 ms for each inference, and one for each look at the time.
    assert len(watch.samples.total_ns()) == pytest.approx(30 + 1000 / 6, abs=2)
    assert latency.summary_ms(watch.samples)["total"] == {"p50": 4.0, "p90": 4.0, "p95": 4.0, "p99": 4.0}
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


def test_a_quiet_run_is_valid() -> None:
    assert latency.verdict(samples([1000] * 120), BEFORE, AFTER) == {"status": "valid", "reasons": []}
    unknown = {name: {"unknown": "why"} for name in BEFORE}
    assert latency.verdict(samples([1000] * 120), unknown, unknown, emulated={"unknown": "why"})["status"] == "valid"


@pytest.mark.parametrize(
    ("run", "before", "after", "emulated", "status", "said"),
    [
        (samples([1000] * 99), {}, {}, False, "invalid", "99 inferences"),
        (samples([1000] * 120), {}, {"throttled": ["throttling"]}, False, "invalid", "throttling"),
        (samples([1000] * 120), {}, {}, True, "invalid", "emulated"),
        (samples([1000] * 120, steady=False), {}, {}, False, "degraded", "not steady"),
        (samples([1000] * 100 + [1600] * 20), {}, {}, False, "degraded", "noisy"),
        (samples([1000] * 60 + [1200] * 60), {}, {}, False, "degraded", "drifted"),
        (samples([1000] * 120), {}, {"busy_cpu_s": 515.5}, False, "degraded", "0.6 cores"),
        (samples([1000] * 120), {}, {"temperature_c": 82.0}, False, "degraded", "hot"),
    ],
)
def test_a_verdict_has_reasons(run: Samples, before: dict, after: dict, emulated: bool, status: str, said: str) -> None:
    found = latency.verdict(run, BEFORE | before, AFTER | after, emulated=emulated)
    assert found["status"] == status
    assert said in found["reasons"][0]
