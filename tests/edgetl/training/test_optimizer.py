"""How weights move: the learning rate of each step, and a step that is traced once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import small

from edgetl._lib.extras import keras
from edgetl.training.optimizer import compile_tail

pytestmark = pytest.mark.no_cover

EPOCHS, STEPS = 6, 5
CLASSES = 3


def tail() -> Any:
    pixels = keras().layers.Input((4,))
    return keras().Model(pixels, keras().layers.Dense(CLASSES, name="logits")(pixels))


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_the_rate_of_each_step_is_that_of_keras_cosine(warmup: float) -> None:
    plan, model = small.plan(epochs=EPOCHS, lr=3e-4, warmup=warmup), tail()
    compile_tail(model, plan, epoch_steps=STEPS)
    total = EPOCHS * STEPS
    first = int(warmup * total)
    cosine = keras().optimizers.schedules.CosineDecay(
        0.05 * 3e-4 if first else 3e-4,
        total - first,
        alpha=0.05,
        warmup_target=3e-4 if first else None,
        warmup_steps=first,
    )
    rates = []
    for _ in range(total + 2):
        rates.append(float(model.optimizer.learning_rate))
        model.optimizer.iterations.assign_add(1)
    np.testing.assert_allclose(rates, [float(cosine(step)) for step in range(total + 2)], rtol=1e-5)


def test_a_constant_rate_stays_at_its_peak_after_the_warm_up() -> None:
    plan, model = small.plan(epochs=EPOCHS, lr=3e-4, warmup=0.1, schedule="constant"), tail()
    compile_tail(model, plan, epoch_steps=STEPS)
    for step, wanted in ((0, 0.05 * 3e-4), (3, 3e-4), (10, 3e-4), (29, 3e-4)):
        model.optimizer.iterations.assign(step)
        assert float(model.optimizer.learning_rate) == pytest.approx(wanted)


@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_step_is_traced_once(distilled: bool, optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, traced = tail(), []
    call = type(model).call

    def noted(self: Any, *args: Any, **more: Any) -> Any:
        traced.append(1)
        return call(self, *args, **more)

    monkeypatch.setattr(type(model), "call", noted)
    compile_tail(model, small.plan(optimizer=optimizer), epoch_steps=STEPS, distilled=distilled)
    targets = np.tile(np.eye(CLASSES, dtype=np.float32), 2 if distilled else 1)
    for _ in range(3):
        model.train_on_batch(np.ones((3, 4), np.float32), targets, sample_weight=np.ones(3, np.float32))
    assert len(traced) == 1
