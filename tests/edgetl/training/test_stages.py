"""What the head is fitted and judged on, and training that comes to no numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small

from edgetl._lib.extras import keras
from edgetl.features.frozen_base import Activations
from edgetl.training.head import Labelled, fit_head
from edgetl.training.log import TrainingLog
from edgetl.training.options import TrainOptions
from edgetl.training.resume_state import Request, locked
from edgetl.training.stages import head_rows
from edgetl.training.tail import Diverged, TailData, train_tail


def test_the_head_is_judged_on_every_class_however_the_photos_lie() -> None:
    # Class by class, as data sets are read; the last one is rare.
    targets = np.repeat(np.arange(3), (20_000, 19_990, 10))
    features = np.arange(len(targets), dtype=np.float32)[:, None]
    photos = Activations(pooled=features, cut=None)
    taken, views = head_rows(photos, [photos, photos], np.arange(len(targets)), targets, seed=1)
    assert len(taken.targets) == 20_000
    assert np.abs(np.bincount(taken.targets) - [10_000, 9_995, 5]).max() <= 1
    np.testing.assert_array_equal(targets[taken.features[:, 0].astype(int)], taken.targets)
    assert views == []
    again, _ = head_rows(photos, [], np.arange(len(targets)), targets, seed=1)
    other, _ = head_rows(photos, [], np.arange(len(targets)), targets, seed=2)
    np.testing.assert_array_equal(again.features, taken.features)
    assert (other.features != taken.features).any()


def test_without_validation_photos_there_is_nothing_to_judge_on() -> None:
    none = np.arange(0)
    taken, _ = head_rows(Activations(pooled=np.ones((3, 2), np.float32), cut=None), [], none, none, seed=0)
    assert taken.features.shape == (0, 2)


def test_the_penalty_of_the_head_is_the_one_with_the_lowest_validation_loss() -> None:
    random = np.random.default_rng(3)
    centres = random.normal(size=(3, 24)).astype(np.float32)

    def drawn(count: int, noise: float) -> Labelled:
        targets = np.arange(count) % 3
        return Labelled(centres[targets] + random.normal(size=(count, 24)).astype(np.float32) * noise, targets)

    chosen = set()
    # The noisier, the more of a penalty.
    for noise in (0.3, 3.0):
        head = fit_head(drawn(60, noise), [], drawn(300, noise), classes=3, balanced=False)
        *tried, last = head.history
        assert len({one.l2 for one in tried}) == len(tried) == 5
        assert last.l2 == min(tried, key=lambda one: one.val_loss or np.inf).l2
        chosen.add(last.l2)
    assert len(chosen) == 2


def small_tail() -> Any:
    layers = keras().layers
    start = layers.Input((4,))
    return keras().Model(start, layers.Dense(2, name="logits")(layers.Dense(8)(start)))


def data(values: np.ndarray, *, val: bool) -> TailData:
    rows, targets = np.arange(len(values)), np.arange(len(values)) % 2
    held_out = rows if val else rows[:0]
    return TailData(values, [], rows, targets, held_out, targets[held_out])


@pytest.mark.parametrize("val", [True, False])
def test_training_that_diverges_says_so_and_what_to_do(val: bool) -> None:
    values = np.full((8, 4), 1e25, np.float32)
    plan = small.plan(epochs=3, batch_size=4, lr=1.0, optimizer="sgd", warmup=0.0)
    with pytest.raises(Diverged, match="training diverged in epoch 1 of stage blocks") as caught:
        train_tail(small_tail(), data(values, val=val), plan, TrainingLog(), description="test")
    assert caught.value.exit_code == 2
    assert "lr=1.0 is too high" in str(caught.value)
    said = caught.value.for_command_line()
    assert "--lr 1.0 is too high" in said
    assert "lower --lr, such as 0.1." in said


def test_a_network_that_gives_no_numbers_is_not_the_learning_rates_fault() -> None:
    values = np.full((8, 4), np.nan, np.float32)
    with pytest.raises(Diverged, match="stage blocks cannot start: val_loss is nan") as caught:
        train_tail(small_tail(), data(values, val=True), small.plan(epochs=1), TrainingLog(), description="test")
    assert "--lr" not in caught.value.for_command_line()
    assert "Use different --weights" in caught.value.for_command_line()


def test_nothing_is_left_of_a_run_that_diverged(tmp_path: Path) -> None:
    """Its checkpoint would lead there again, and would stand in the way of another try."""
    request = Request.new(tmp_path / "photos", tmp_path / "run", TrainOptions(lr=1.0), overwrite=False)

    def ends_with(error: Exception) -> None:
        with locked(request, anew=True):
            request.checkpoint.write_bytes(b"of epoch 1")
            raise error

    with pytest.raises(Diverged):
        ends_with(Diverged("training diverged in epoch 2"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError):
        ends_with(ZeroDivisionError())
    assert request.checkpoint.exists()
