"""Optimizer, learning-rate schedule, moving average of the weights, loss."""

from __future__ import annotations

import math
from typing import Any

from edgetl._lib.extras import keras
from edgetl._lib.interrupts import uninterrupted

from .options import TrainOptions
from .plan import TrainPlan

_FINAL_LR = 0.05  # of the peak
_AVERAGED_EPOCHS = 1  # the horizon of the moving average of the weights
_SGD_MOMENTUM = 0.9


@uninterrupted()
def compile_tail(
    tail: Any, plan: TrainPlan, *, epoch_steps: int, policy: str = "float32", distilled: bool = False
) -> None:
    """Compile a tail for training.

    Cosine schedule after a linear warm-up (Loshchilov & Hutter 2017, arXiv:1608.03983), or the peak rate after it; Adam
    with or without decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101) or SGD with Nesterov momentum
    0.9; an exponential moving average of the weights over about an epoch.

    Args:
        tail: keras.Model from activations or pixels to logits.
        plan: Plan of the stage.
        epoch_steps: Steps per epoch.
        policy: Keras dtype policy it computes in; float16's small range needs a scaled loss.
        distilled: Targets are [n, 2 * classes]: the labels, then the teacher's softened probabilities.
    """
    library = keras()
    loss: Any = library.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=plan.label_smoothing)
    accuracy: Any = library.metrics.CategoricalAccuracy(name="accuracy")
    if distilled:
        loss = _distillation(loss, plan.options)
        accuracy = library.metrics.MeanMetricWrapper(_label_accuracy, name="accuracy")
    optimizer = _optimizer(plan, epoch_steps)
    if policy == "mixed_float16":
        optimizer = library.optimizers.LossScaleOptimizer(optimizer)
    tail.compile(optimizer=optimizer, loss=loss, metrics=[accuracy])
    # Variables created while tracing a step would make TensorFlow trace it twice, which takes seconds.
    tail.optimizer.build(tail.trainable_variables)


def _optimizer(plan: TrainPlan, epoch_steps: int) -> Any:
    library, options = keras().optimizers, plan.options
    averaging: dict[str, Any] = {}
    if options.ema:
        averaging = {"use_ema": True, "ema_momentum": 1 - 1 / (_AVERAGED_EPOCHS * epoch_steps + 1)}
    rate = _schedule(plan, epoch_steps * plan.epochs)
    if options.optimizer == "sgd":
        found = library.SGD(
            rate, momentum=_SGD_MOMENTUM, nesterov=True, weight_decay=options.weight_decay or None, **averaging
        )
    elif options.optimizer == "adam":
        found = library.Adam(rate, **averaging)
    else:
        found = library.AdamW(rate, weight_decay=options.weight_decay, **averaging)
    if options.weight_decay:
        # No weight decay on scales and offsets.
        found.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return found


def _schedule(plan: TrainPlan, total_steps: int) -> Any:
    """Return a Keras schedule: linear from 5% of the peak rate while warming up, then a cosine to 5%, or constant.

    Keras' CosineDecay computes the same, but with a branch in the graph for each weight, which is slow to trace.
    """
    library = keras()
    ops, peak, warm_up = library.ops, plan.lr, int(plan.options.warmup * total_steps)
    # A cosine with equal ends is constant.
    final = _FINAL_LR if plan.options.schedule == "cosine" else 1.0

    class WarmUpThenCosine(library.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc,name-defined]
        def __call__(self, step: Any) -> Any:
            step = ops.cast(step, "float32")
            warming = _FINAL_LR + (1 - _FINAL_LR) * step / max(1, warm_up)
            done = ops.minimum((step - warm_up) / max(1, total_steps - warm_up), 1.0)
            decaying = final + (1 - final) * 0.5 * (1 + ops.cos(math.pi * done))
            return peak * ops.where(step < warm_up, warming, decaying)

    return WarmUpThenCosine()


def _distillation(label_loss: Any, options: TrainOptions) -> Any:
    """Return the loss of Hinton et al. 2015, arXiv:1503.02531, section 2, with its factor T squared."""
    ops = keras().ops
    weight, temperature = options.teacher_weight, options.teacher_temperature

    def loss(targets: Any, logits: Any) -> Any:
        shown, teacher = ops.split(targets, 2, axis=-1)
        softened = ops.categorical_crossentropy(teacher, logits / temperature, from_logits=True)
        return (1 - weight) * label_loss.call(shown, logits) + weight * temperature**2 * softened

    return loss


def _label_accuracy(targets: Any, logits: Any) -> Any:
    shown, _ = keras().ops.split(targets, 2, axis=-1)
    return keras().metrics.categorical_accuracy(shown, logits)
