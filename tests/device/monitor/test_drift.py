"""The test of a window: its false alarms, against enumeration and in 10,000 quiet windows; what it notices."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgetl_device.bench.accuracy import wilson95
from edgetl_device.monitor.drift import StreamTest, WindowTest, distribution
from edgetl_device.monitor.hour import FALSE_ALARM_RATE, WINDOW

# Photos of the reference. Of 60, not one may be like the new class by chance, so that it takes more to notice it.
PHOTOS, MANY = 60, 200


def smallest_p(test: WindowTest, window: np.ndarray) -> float:
    return min(shift.p for shift in test.shifts(window))


def alarms_after(change: np.ndarray, share: float, random: np.random.Generator) -> list[int]:
    """Return how many photos after a change of five features each of 20 streams takes to the first alarm."""
    found = []
    for _ in range(20):
        test, photos = WindowTest(random.normal(size=(MANY, 5)), WINDOW), WINDOW
        while photos < 10_000:
            window = random.normal(size=(WINDOW, 5))
            window[random.random(WINDOW) < share] += change
            if smallest_p(test, window) <= FALSE_ALARM_RATE:
                break
            photos += WINDOW
        found.append(photos)
    return sorted(found)


def test_the_distribution_is_that_of_all_orders() -> None:
    for known, window in ((3, 4), (5, 2)):
        total = known + window
        orders = list(itertools.combinations(range(total), window))
        # The smaller tail of having i of the window among the first k, counted over all orders.
        counts = np.array([[sum(place < k for place in order) for k in range(1, total)] for order in orders])
        tails = np.array(
            [[min((counts[:, k] <= i).mean(), (counts[:, k] >= i).mean()) for k, i in enumerate(row)] for row in counts]
        ).min(axis=1)
        grid, probabilities = distribution(known, window)
        np.testing.assert_allclose(probabilities, [(tails <= limit).mean() for limit in grid], atol=1e-12)


def test_10000_quiet_windows_have_false_alarms_at_the_stated_rate() -> None:
    random, windows = np.random.default_rng(0), 10_000
    mixing = random.normal(size=(3, 3))  # features depend on each other
    p = np.empty(windows)
    for number in range(windows):
        photos = random.normal(size=(PHOTOS + WINDOW, 3)) @ mixing
        p[number] = smallest_p(WindowTest(photos[:PHOTOS], WINDOW), photos[PHOTOS:])
    for rate in (FALSE_ALARM_RATE, 0.01, 0.1):
        low, high = wilson95(int((p <= rate).sum()), windows)
        assert low <= rate
        # Bonferroni's correction gives some away, not much.
        assert high >= rate / 2


def test_one_feature_has_exactly_the_rate() -> None:
    random, windows = np.random.default_rng(1), 4_000
    photos = random.normal(size=(windows, 20 + 30, 1))
    p = [smallest_p(WindowTest(one[:20], 30), one[20:]) for one in photos]
    for rate in (0.01, 0.1, 0.5):
        assert abs(np.mean(np.array(p) <= rate) - rate) < 4 * np.sqrt(rate / windows)


@pytest.mark.parametrize(
    ("what", "change", "share", "median"),
    [
        ("all photos are a little different", (1, 0, 0, 0, 0), 1.0, WINDOW),
        ("one photo in five is of a new class", (0, 4, 0, 4, 0), 0.2, WINDOW),
        ("one photo in ten is", (0, 4, 0, 4, 0), 0.1, 10 * WINDOW),
        ("every feature moves by a third", (0.33,) * 5, 1.0, 10 * WINDOW),
    ],
)
def test_a_change_is_noticed(what: str, change: tuple[float, ...], share: float, median: int) -> None:
    found = alarms_after(np.array(change), share, np.random.default_rng(2))
    assert found[10] <= median, what


def test_the_shift_says_what_and_where() -> None:
    random = np.random.default_rng(3)
    reference, window = random.normal(size=(PHOTOS, 2)), random.normal(size=(WINDOW, 2))
    window[:, 1] -= 3
    first, second = WindowTest(reference, WINDOW).shifts(window)
    assert first.p > 0.01 > second.p
    assert (second.feature, second.above) == (1, False)
    assert second.in_window == (window[:, 1] < second.value).sum() > 80
    assert second.in_reference == (reference[:, 1] < second.value).sum() < 10
    window[:, 1] += 6
    higher = WindowTest(reference, WINDOW).shifts(window)[1]
    assert higher.above
    assert higher.in_window == (window[:, 1] > higher.value).sum()
    assert higher.in_reference == (reference[:, 1] > higher.value).sum()


def test_equal_values_raise_no_alarm() -> None:
    assert smallest_p(WindowTest(np.ones((PHOTOS, 2)), WINDOW), np.ones((WINDOW, 2))) == 1
    random, alarms = np.random.default_rng(4), 0
    for _ in range(1_000):
        photos = random.integers(3, size=(PHOTOS + WINDOW, 2)).astype(float)
        alarms += smallest_p(WindowTest(photos[:PHOTOS], WINDOW), photos[PHOTOS:]) <= 0.1
    assert alarms <= 130


def test_another_mix_of_classes_is_told_from_other_photos() -> None:
    random = np.random.default_rng(5)
    classes = np.repeat([0, 1], PHOTOS // 2)
    test = WindowTest((4 * classes + random.normal(size=PHOTOS))[:, None], WINDOW)
    mixed = np.repeat([0, 1], [10, WINDOW - 10])
    window = 4 * mixed + random.normal(size=WINDOW)
    assert smallest_p(test, window[:, None]) <= FALSE_ALARM_RATE
    assert test.same_groups_p(window, 0, classes, mixed, random) > 0.01
    assert test.same_groups_p(window + 2, 0, classes, mixed, random) == 0.001


def test_windows_before_say_where_to_look() -> None:
    random = np.random.default_rng(6)
    variances = np.geomspace(1, 0.01, 40)

    def stream(quiet: int, changed: int) -> tuple[list[float], list[float]]:
        test = StreamTest(np.sqrt(variances) * random.normal(size=(MANY, 40)), WINDOW, 8, 0, variances)
        windows = np.sqrt(variances) * random.normal(size=(quiet + changed, WINDOW, 40))
        # A fifth of the standard deviation in each component is too little for any of them.
        windows[quiet:] += 0.2 * np.sqrt(variances)
        with_trend, each = [], []
        for window in windows:
            prepared, tested = test.next(window)
            with_trend.append(smallest_p(prepared, tested))
            each.append(smallest_p(WindowTest(test.reference[:, :8], WINDOW), window[:, :8]))
        return with_trend[quiet:], each[quiet:]

    noticed = [stream(1, 5) for _ in range(20)]
    assert sum(min(with_trend) <= FALSE_ALARM_RATE for with_trend, _ in noticed) >= 18
    assert sum(min(each) <= FALSE_ALARM_RATE for _, each in noticed) <= 5


def test_the_direction_of_the_windows_before_raises_no_false_alarms() -> None:
    random, p = np.random.default_rng(7), []
    for _ in range(2_000):
        photos = random.normal(size=(PHOTOS + 2 * WINDOW, 20))
        test = StreamTest(photos[:PHOTOS], WINDOW, 2, 0, np.ones(20))
        test.next(photos[PHOTOS : PHOTOS + WINDOW])
        prepared, tested = test.next(photos[PHOTOS + WINDOW :])
        assert tested.shape == (WINDOW, 3)
        p.append(prepared.shifts(tested)[2].p / 3)
    for rate in (0.01, 0.1, 0.3):
        assert abs(np.mean(np.array(p) <= rate) - rate) < 4 * np.sqrt(rate / len(p))
