"""Positions in the charts of ``edgetl report``."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgetl.reports.charts import (
    Scale,
    Tick,
    apart,
    course,
    density_path,
    fine_counts,
    frontier,
    place_labels,
    touching,
)


@pytest.mark.parametrize("ends", [(0.72, 2.28), (0.0001, 0.00013), (81.2, 93.4), (3, 3), (0.5, 80), (120, 9000)])
def test_axes_hold_their_values_and_have_round_ticks(ends: tuple[float, float]) -> None:
    scale = Scale.around(ends)
    assert scale.log == (ends[1] / ends[0] > 12)
    assert 0 < scale.at(ends[0]) <= scale.at(ends[1]) < 100
    ticks = scale.ticks()
    assert 3 <= len(ticks) <= 11
    for tick in ticks:
        # Labels are at the positions of their values.
        assert scale.at(float(tick.text)) == pytest.approx(tick.percent, abs=0.01)
        assert float(f"{float(tick.text):.3g}") == float(tick.text)


@pytest.mark.parametrize(
    "ends",
    [(0.72, 2.28), (0.0001, 0.00013), (81.2, 93.4), (3, 3), (0.5, 80), (120, 9000), (0.001, 9000), (98_000, 99_000)],
)
def test_texts_of_an_axis_do_not_touch_on_a_phone(ends: tuple[float, float]) -> None:
    ticks = Scale.around(ends).x_ticks()
    assert not touching(ticks)
    assert len(ticks) >= 2
    assert touching([Tick(10, "1000", 1000), Tick(15, "1100", 1100)])
    assert [tick.value for tick in apart([Tick(10, "1.0", 1), Tick(11, "1.1", 1.1), Tick(40, "2.0", 2)])] == [1, 2]


def test_fine_counts_hold_all_samples_on_the_axis() -> None:
    samples = np.array([0.5, 1.0, 1.0, 5.0, 9.99, 20.0])
    found = fine_counts(samples, Scale(1, 10))
    numbers = [int(one) for one in found.sparse.split()]
    assert numbers[0::2] == sorted(set(numbers[0::2]))
    assert sum(numbers[1::2]) == 4
    assert numbers[:2] == [0, 2]
    assert numbers[-2] < 4000
    assert (found.below, found.total) == (1, 6)


def test_the_density_peaks_where_the_samples_are() -> None:
    scale = Scale(0, 10)
    path = density_path(np.array([2.0] * 90 + [7.0] * 45 + [99.0]), scale)
    points = [tuple(map(float, pair.split(","))) for pair in re.findall(r"[\d.]+,[\d.]+", path)]
    heights = {round(x): 100 - y for x, y in points}
    assert max(heights, key=heights.__getitem__) == pytest.approx(20, abs=1)
    assert heights[70] == pytest.approx(heights[20] / 2, abs=2)
    assert heights[50] < 0.1


def test_a_course_keeps_the_order() -> None:
    found = course(np.linspace(1, 2, 500), Scale(1, 2))
    heights = [100 - float(pair.split(",")[1]) for pair in re.findall(r"[\d.]+,[\d.]+", found.line)]
    assert len(heights) == 80
    assert heights == sorted(heights)
    assert heights[-1] - heights[0] > 95


def test_the_frontier_is_what_nothing_beats() -> None:
    points = [(1.0, 80.0), (2.0, 85.0), (3.0, 84.0), (2.0, 70.0), (4.0, 90.0), (4.0, 90.0)]
    assert frontier(points) == [0, 1, 4]


def test_labels_keep_apart() -> None:
    points = [(10.0, 50.0), (12.0, 50.0), (11.0, 51.0), (88.0, 50.0), (90.0, 50.0)]
    places = place_labels(points, width=20, height=6)
    boxes = [
        (x - 20 if place.left else x, x if place.left else x + 20, y + 6 * place.row)
        for (x, y), place in zip(points, places, strict=True)
    ]
    for index, (start, end, middle) in enumerate(boxes):
        assert -4 <= start < end <= 104
        for other_start, other_end, other in boxes[:index]:
            assert end <= other_start or other_end <= start or abs(middle - other) >= 6
