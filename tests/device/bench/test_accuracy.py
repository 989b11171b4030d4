from __future__ import annotations

import math

import numpy as np
import pytest

from edgetl_device._lib.documents import Unknown
from edgetl_device.bench.accuracy import among_accepted, mcnemar_exact, paired_drop, score, wilson95
from edgetl_device.scores import ClassScore


def test_wilson_against_newcombes_table() -> None:
    # R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998).
    for correct, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson95(correct, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson95(20, 20) == pytest.approx((1 - 0.1611, 1.0), abs=5e-5)
    for correct in range(8):
        low, high = wilson95(correct, 7)
        assert 0 <= low <= correct / 7 <= high <= 1
    with pytest.raises(ValueError, match="not a proportion"):
        wilson95(0, 0)


def pairs(n: int, lost: int, gained: int) -> tuple[np.ndarray, np.ndarray]:
    reference, variant = np.ones(n, bool), np.ones(n, bool)
    variant[:lost] = False
    reference[lost : lost + gained] = False
    return reference, variant


def test_paired_drop_by_hand() -> None:
    drop = paired_drop(*pairs(100, 10, 2))
    # With half a photo added to each cell: n 102, lost 10.5, gained 2.5.
    half = 1.959964 * math.sqrt((13 - 8 * 8 / 102) / 102**2)
    assert (drop.drop_pp, drop.lost, drop.gained) == (8.0, 10, 2)
    assert drop.ci95_pp == pytest.approx((100 * (8 / 102 - half), 100 * (8 / 102 + half)), abs=1e-4)


def test_paired_drop_is_symmetric_and_never_certain() -> None:
    there, back = paired_drop(*pairs(50, 4, 1)), paired_drop(*pairs(50, 1, 4))
    assert there.drop_pp == -back.drop_pp
    assert there.ci95_pp == pytest.approx((-back.ci95_pp[1], -back.ci95_pp[0]))
    low, high = paired_drop(*pairs(40, 0, 0)).ci95_pp
    assert low < 0 < high


@pytest.mark.parametrize(("p_lost", "p_gained"), [(0.05, 0.02), (0.2, 0.1), (0.1, 0.1)])
def test_paired_intervals_cover_the_truth(p_lost: float, p_gained: float) -> None:
    n, covered = 40, 0.0
    for lost in range(n + 1):
        for gained in range(n + 1 - lost):
            rest = n - lost - gained
            ways = math.factorial(n) // (math.factorial(lost) * math.factorial(gained) * math.factorial(rest))
            chance = ways * p_lost**lost * p_gained**gained * (1 - p_lost - p_gained) ** rest
            low, high = paired_drop(*pairs(n, lost, gained)).ci95_pp
            covered += chance * (low <= 100 * (p_lost - p_gained) <= high)
    assert 0.94 < covered < 1


def test_mcnemar_by_hand() -> None:
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(5, 0) == 2 / 32
    assert mcnemar_exact(8, 2) == mcnemar_exact(2, 8) == 2 * (1 + 10 + 45) / 1024
    assert mcnemar_exact(3, 3) == 1.0
    assert 0 < mcnemar_exact(3000, 2800) < 0.02


def test_score() -> None:
    reference = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0.1, 0.9, 0]], np.float32)
    variant = np.array([[0.8, 0.2, 0], [0.5, 0.5, 0], [0.3, 0.7, 0], [0.1, 0.9, 0]], np.float32)
    found = score(variant, np.array([0, 1, 1, 1]), reference, names=("a", "b", "c"))
    accuracy, agreement = found.accuracy, found.agreement
    # Row 1 is a tie and goes to the first class.
    assert (accuracy.photos, accuracy.correct, accuracy.top1) == (4, 3, 0.75)
    assert accuracy.ci95 == wilson95(3, 4)
    assert (agreement.agree, agreement.top1, agreement.drop_pp) == (2, 0.5, 0.0)
    assert (agreement.lost, agreement.gained) == (1, 1)
    assert agreement.mae == pytest.approx((0.2 + 0.6 + 0.6) / 12)
    assert agreement.max_abs == pytest.approx(0.3)
    assert [row.label for row in found.per_class] == ["a", "b", "c"]
    assert found.per_class[1] == ClassScore(1, "b", photos=3, predicted=2, correct=2, recall=2 / 3, precision=1.0)
    assert isinstance(found.per_class[2].recall, Unknown)
    none = Unknown("no float model here")
    assert score(variant, np.array([0, 1, 1, 1]), none).agreement == none


def test_numbers_that_are_none_of_photos_are_refused() -> None:
    for correct, n in ((0, 0), (5, 4), (-1, 4)):
        with pytest.raises(ValueError, match=f"{correct} of {n} is not a proportion"):
            wilson95(correct, n)
    for reference, variant in ((3, 4), (0, 0)):
        with pytest.raises(ValueError, match=f"{reference} and {variant} photos are not pairs"):
            paired_drop(np.ones(reference, bool), np.ones(variant, bool))
    with pytest.raises(ValueError, match="-1 and 2 are not counts"):
        mcnemar_exact(-1, 2)
    probabilities = np.full((4, 3), 1 / 3, np.float32)
    with pytest.raises(ValueError, match="for 4 photos"):
        score(probabilities, np.zeros(3, int), Unknown("none"))
    with pytest.raises(ValueError, match=r"a reference of shape \(4, 2\)"):
        score(probabilities, np.zeros(4, int), probabilities[:, :2])


def test_accuracy_among_accepted_photos() -> None:
    scores = np.array([0.2, 1.5, 0.4, 1.0, np.inf, 0.1, 0.9, 0.3, 0.5, 0.6])
    right = np.array([True, False, True, False, False, True, True, True, True, True])
    found = among_accepted(scores, right)
    # A score of exactly 1 is known.
    assert (found.photos, found.share, found.share_ci95) == (10, 0.8, wilson95(8, 10))
    accuracy = found.accuracy
    assert not isinstance(accuracy, Unknown)
    assert (accuracy.photos, accuracy.correct, accuracy.ci95) == (8, 7, wilson95(7, 8))
    table = [(one.share, one.photos, one.top1) for one in found.by_coverage]
    assert table[0] == (1.0, 10, 0.7)
    assert table[-2:] == [(0.7, 7, 1.0), (0.5, 5, 1.0)]


def test_nothing_to_score_among_no_accepted_photos() -> None:
    found = among_accepted(np.array([2.0, 3.0]), np.array([True, False]))
    assert found.share == 0
    assert isinstance(found.accuracy, Unknown)
