from __future__ import annotations

import random

import pytest

from edgetl_device.bench import percentiles
from edgetl_device.bench.percentiles import least_samples, percentile


def test_percentiles_are_nearest_rank() -> None:
    values = [15, 20, 35, 40, 50]
    assert [percentile(values, p) for p in (5, 30, 40, 50, 100)] == [15, 20, 20, 35, 50]
    assert percentile(list(range(1, 101)), 99) == 99
    assert percentile([7], 50) == 7
    for bad in ((values, 0), (values, 101), ([], 50)):
        with pytest.raises(ValueError, match="percentile"):
            percentile(*bad)


def test_the_least_samples_are_those_of_mlperf() -> None:
    # The first two are from MLPerf's rules; the others follow the same rule.
    assert (least_samples(90), least_samples(99)) == (64, 662)
    assert (least_samples(50), least_samples(95), least_samples(97)) == (11, 130, 219)
    # With one sample fewer, more than 1% of runs have at most one sample above the true p90 by chance.
    rng = random.Random(0)
    runs = 100_000
    few = sum(sum(rng.random() > 0.9 for _ in range(40)) <= 1 for _ in range(runs // 10))
    assert few / (runs / 10) > 0.05
    for bad in ((0, 0.99), (100, 0.99), (90, 1)):
        with pytest.raises(ValueError, match="confidence"):
            least_samples(*bad)


@pytest.mark.parametrize(
    ("count", "known"), [(10, 0), (11, 1), (63, 1), (64, 2), (129, 2), (130, 3), (661, 3), (662, 4)]
)
def test_a_percentile_is_given_only_with_samples_enough(count: int, known: int) -> None:
    found = list(vars(percentiles.summary(list(range(count)))).values())
    assert all(isinstance(value, float) for value in found[:known])
    assert [value.unknown for value in found[known:]] == [
        f"not enough samples: {count} of {needed}" for needed in (11, 64, 130, 662)[known:]
    ]
    assert [isinstance(value, tuple) for value in vars(percentiles.intervals(list(range(count)))).values()] == [
        known >= 1,
        known >= 2,
    ]


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = random.Random(1)
    held = {"p50_ms": 0, "p90_ms": 0}
    runs = 60
    for _ in range(runs):
        found = percentiles.intervals([rng.randrange(1_000_000) for _ in range(300)])
        for name, truth in (("p50_ms", 0.5), ("p90_ms", 0.9)):
            low, high = getattr(found, name)
            held[name] += low <= truth <= high
    # Of 60 intervals at 95%, 57 cover on average; blocks of few samples cover less often.
    assert all(48 <= count <= 60 for count in held.values())
    assert held != {"p50_ms": runs, "p90_ms": runs}


def test_an_interval_is_the_same_each_time_and_wide_where_stretches_differ() -> None:
    # If samples were drawn one by one, 40 slow ones of 100 would never move the median.
    fast, slow = [1000, 1001] * 300, [2000, 2001] * 200
    rng = random.Random(2)
    mixed = [rng.randrange(1000, 1100) for _ in range(1000)]
    assert percentiles.intervals(mixed) == percentiles.intervals(mixed)
    low, high = percentiles.intervals(mixed).p50_ms
    assert 1030e-6 < low < 1050e-6 < high < 1070e-6
    low, high = percentiles.intervals(fast + slow).p50_ms
    assert low <= 1001e-6
    assert high >= 2000e-6


def test_no_samples_have_no_percentiles() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentiles.summary([])
    for samples, percent in (([], 50), ([1], 0), ([1], 101)):
        with pytest.raises(ValueError, match=f"percentile {percent} of {len(samples)} samples"):
            percentiles.percentile(samples, percent)
