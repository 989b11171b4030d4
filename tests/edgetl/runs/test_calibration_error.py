"""Expected calibration error: computed by hand, compared with scikit-learn's curve, and with chance."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from edgetl.runs.calibration_error import calibration_error


def test_by_hand() -> None:
    # Bins of 0.25: two photos at 0.9 and 1.0, one right; two at 0.5 and 0.4, both right.
    found = calibration_error(np.array([0.9, 1.0, 0.5, 0.4]), np.array([True, False, True, True]), bins=4)
    assert [(one.low, one.high, one.photos, one.correct) for one in found.bins] == [
        (0.25, 0.5, 2, 2),
        (0.75, 1.0, 2, 1),
    ]
    assert [one.confidence for one in found.bins] == pytest.approx([0.45, 0.95])
    assert found.ece == pytest.approx((2 * abs(1 - 0.45) + 2 * abs(0.5 - 0.95)) / 4)
    assert found.confidence == pytest.approx(0.7)


def drawn(photos: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    confidence = random.uniform(0.4, 1.0, photos)
    return confidence, random.random(photos) < confidence + shift


def test_the_curve_is_that_of_scikit_learn() -> None:
    confidence, correct = drawn(500)
    found = calibration_error(confidence, correct).bins
    accuracy, stated = calibration_curve(correct, confidence, n_bins=15)
    np.testing.assert_allclose([one.correct / one.photos for one in found], accuracy)
    np.testing.assert_allclose([one.confidence for one in found], stated)
    assert sum(one.photos for one in found) == 500


def test_honest_probabilities_show_what_chance_gives_and_wrong_ones_show_more() -> None:
    honest = calibration_error(*drawn(200))
    assert 0.5 < honest.ece / honest.ece_by_chance < 1.6
    boastful = calibration_error(*drawn(200, shift=-0.25))
    assert boastful.ece == pytest.approx(0.25, abs=0.06)
    assert boastful.ece > 2 * boastful.ece_by_chance
    # With more photos, the error by chance is smaller.
    assert calibration_error(*drawn(5000)).ece_by_chance < honest.ece_by_chance / 3
    assert calibration_error(*drawn(200)) == honest
