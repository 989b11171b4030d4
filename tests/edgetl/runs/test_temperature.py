"""The temperature: the one with the least loss on validation photos, and none where they do not tell it from 1."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.special
from sklearn.metrics import brier_score_loss, log_loss

from edgetl.runs.float_model import softmax
from edgetl.runs.temperature import FEWEST_MISTAKES, FEWEST_PHOTOS, fit_temperature, reliability


def drawn(photos: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits that are too large by a factor, and classes with the probabilities that they stand for."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (photos, 4)).astype(np.float32)
    sums = softmax(logits).cumsum(axis=1)
    targets = (random.random((photos, 1)) > sums).sum(axis=1).clip(0, 3)
    return logits * np.float32(temperature), targets


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_it_is_what_the_logits_are_too_large_by(temperature: float) -> None:
    logits, targets = drawn(20_000, temperature)
    fitted = fit_temperature(logits, targets)
    assert fitted.value == pytest.approx(temperature, rel=0.03)
    assert fitted.why_unchanged is None
    assert fitted.photos == 20_000
    assert fitted.mistakes == (logits.argmax(axis=1) != targets).sum()


def test_no_other_temperature_has_a_lower_loss() -> None:
    logits, targets = drawn(60, 2.0, seed=3)
    best = fit_temperature(logits, targets).value
    losses = [
        log_loss(targets, scipy.special.softmax(logits.astype(np.float64) / (best * factor), axis=1), labels=range(4))
        for factor in (0.97, 1, 1.03)
    ]
    assert losses[1] == min(losses)


def test_the_answers_stay_and_their_probabilities_become_honest() -> None:
    logits, targets = drawn(2000, 3.0, seed=1)
    new, truth = drawn(2000, 3.0, seed=2)
    fitted = fit_temperature(logits, targets)
    scaled = new / np.float32(fitted.value)
    found = fitted.described({"test": scaled}, {"test": truth})
    before, after = found.before["test"], found.after["test"]
    np.testing.assert_array_equal(scaled.argmax(axis=1), new.argmax(axis=1))
    assert before.calibration.ece > 5 * before.calibration.ece_by_chance
    assert after.calibration.ece < 1.5 * after.calibration.ece_by_chance
    assert after.brier < before.brier
    assert after.nll < before.nll
    assert before.nll == pytest.approx(
        log_loss(truth, scipy.special.softmax(new.astype(np.float64), axis=1), labels=range(4)), rel=1e-5
    )


def test_too_few_photos_or_mistakes_leave_it_at_1() -> None:
    logits, targets = drawn(FEWEST_PHOTOS, 8.0)
    assert fit_temperature(logits, targets).why_unchanged is None
    fitted = fit_temperature(logits[1:], targets[1:])
    assert fitted.value == 1
    assert fitted.why_unchanged == "a temperature needs 20 validation photos, and there are 19"
    assert fit_temperature(logits[:0], targets[:0]).value == 1
    # Without a mistake the loss falls for ever as the temperature does.
    right = logits.argmax(axis=1)
    right[: FEWEST_MISTAKES - 1] = (right[: FEWEST_MISTAKES - 1] + 1) % 4
    fitted = fit_temperature(logits, right)
    assert (fitted.value, fitted.mistakes) == (1, 2)
    assert fitted.why_unchanged == "a temperature needs 3 mistakes among validation photos, and there are 2"


def test_a_temperature_that_few_photos_do_not_tell_from_1_is_not_used() -> None:
    """The photos are calibrated already; how often one is fitted all the same is the level of the test."""
    fitted = [fit_temperature(*drawn(60, 1.0, seed)) for seed in range(400)]
    used = [one for one in fitted if one.why_unchanged is None]
    assert 0.02 <= len(used) / len(fitted) <= 0.08
    kept = [one.why_unchanged for one in fitted if one.why_unchanged is not None]
    assert re.fullmatch(
        r"60 validation photos do not tell [01]\.\d\d, the best for them, from 1 \(likelihood-ratio test, p = 0.\d+\)",
        kept[0],
    )
    assert {one.value for one in fitted if one.why_unchanged is not None} == {1.0}
    # Where there is something to mend, that many photos suffice.
    assert sum(fit_temperature(*drawn(60, 2.5, seed)).why_unchanged is None for seed in range(100)) >= 90


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_a_temperature_at_the_end_of_its_range_is_not_used(scale: float) -> None:
    logits, targets = drawn(200, 1.0)
    fitted = fit_temperature(logits * np.float32(scale), targets)
    assert fitted.value == 1
    assert fitted.why_unchanged == "the loss of 200 validation photos has no minimum between 0.05 and 20"


def test_brier_is_that_of_scikit_learn() -> None:
    logits, targets = drawn(50, 1.0)
    found = reliability(softmax(logits), targets)
    assert found.brier == pytest.approx(
        sum(brier_score_loss(targets == one, softmax(logits)[:, one]) for one in range(4))
    )
    sure = reliability(np.array([[1.0, 0.0]], np.float32), np.array([1]))
    assert sure.brier == 2
    assert np.isfinite(sure.nll)
