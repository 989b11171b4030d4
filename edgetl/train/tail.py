"""Stage 2: the last blocks and the head, trained on activations that were cached at the cut.

Not for: the frozen layers, which this stage never runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl.extras import keras
from edgetl.progress import track

from .config import TrainConfig
from .head import cross_entropy

_WARM_UP = 0.1  # of all steps: the learning rate rises from its final to its peak value
_FINAL_LR = 0.05  # of the peak
_AVERAGED_EPOCHS = 1  # the horizon of the moving average of the weights
_EVAL_BATCH = 128


@dataclass(frozen=True)
class TailData:
    """What the trainable part sees.

    Attributes:
        photos: [photos, ...] activations (float16) or pixels (uint8) of every photo.
        views: One array [training photos, ...] an augmented view.
        train: int64 [n], rows of ``photos`` to train on; row i of a view is photo ``train[i]``.
        targets: int64 [n], their classes.
        val: int64 [m], rows of ``photos`` for validation; may be empty.
        val_targets: int64 [m], their classes.
    """

    photos: npt.NDArray[Any]
    views: Sequence[npt.NDArray[Any]]
    train: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    val: npt.NDArray[np.int64]
    val_targets: npt.NDArray[np.int64]


@dataclass(frozen=True)
class TailResult:
    """What training did.

    Attributes:
        history: One row an epoch, epoch 0 being the state before it.
        best_epoch: Whose weights the model has now.
        interrupted: Whether Ctrl-C ended it.
    """

    history: tuple[dict[str, Any], ...]
    best_epoch: int
    interrupted: bool


def train_tail(tail: Any, data: TailData, config: TrainConfig, *, description: str) -> TailResult:
    """Train a tail in place and leave the weights with the lowest validation loss in it, epoch 0 included.

    AdamW without decay, cosine schedule with warm-up (Loshchilov & Hutter 2017, arXiv:1608.03983), label smoothing, and
    an exponential moving average of the weights: what is validated and kept is the average. With few validation photos
    the loss of single epochs is so noisy that choosing the lowest of them would mostly choose a lucky one.

    Every epoch sees each photo once: as itself or as one of its views, with equal chances. Without validation photos
    the last epoch's weights stay. Ctrl-C ends training early and keeps the best weights so far.
    """
    batch_size = min(config.batch_size, len(data.train))
    steps = math.ceil(len(data.train) / batch_size)
    _compile(tail, config, epoch_steps=steps)
    one_hot = np.eye(tail.output.shape[-1], dtype=np.float32)[data.targets]
    weights = _photo_weights(data.targets) if config.class_weights else np.ones(len(data.targets), np.float32)
    random = np.random.default_rng(config.seed)
    rows: list[dict[str, Any]] = []
    best_epoch, best_weights = 0, tail.get_weights()
    interrupted = False
    with track(description, config.resolved_epochs * len(data.train)) as advance:
        try:
            rows.append({"stage": "blocks", "epoch": 0} | _validate(tail, data, config))
            for epoch in range(1, config.resolved_epochs + 1):
                started = time.perf_counter()
                logs = []
                # A last batch of another size would cost a second trace of the graph, so the order wraps around.
                order = np.resize(random.permutation(len(data.train)), steps * batch_size)
                for index, batch in enumerate(order.reshape(steps, batch_size)):
                    inputs = _pick(data, batch, random)
                    logs.append(
                        tail.train_on_batch(inputs, one_hot[batch], sample_weight=weights[batch], return_dict=True)
                    )
                    advance(min(batch_size, len(data.train) - index * batch_size))
                with _averaged(tail):
                    rows.append(
                        {"stage": "blocks", "epoch": epoch}
                        | {name: float(np.mean([log[name] for log in logs])) for name in ("loss", "accuracy")}
                        | _validate(tail, data, config)
                        | {"lr": float(tail.optimizer.learning_rate), "seconds": time.perf_counter() - started}
                    )
                    if not len(data.val) or rows[-1]["val_loss"] < rows[best_epoch]["val_loss"]:
                        best_epoch, best_weights = epoch, tail.get_weights()
                if epoch - best_epoch >= config.patience:
                    break
        except KeyboardInterrupt:
            interrupted = True
    tail.set_weights(best_weights)
    return TailResult(tuple(rows), best_epoch, interrupted)


@contextmanager
def _averaged(tail: Any) -> Iterator[None]:
    """Put the moving average of the weights in place of the weights while the block runs."""
    current = [variable.numpy() for variable in tail.trainable_variables]
    tail.optimizer.finalize_variable_values(tail.trainable_variables)
    yield
    for variable, value in zip(tail.trainable_variables, current, strict=True):
        variable.assign(value)


def _compile(tail: Any, config: TrainConfig, *, epoch_steps: int) -> None:
    library = keras()
    total_steps = epoch_steps * config.resolved_epochs
    warm_up = int(_WARM_UP * total_steps)
    schedule = library.optimizers.schedules.CosineDecay(
        config.peak_lr * _FINAL_LR,
        max(1, total_steps - warm_up),
        alpha=_FINAL_LR,
        warmup_target=config.peak_lr,
        warmup_steps=warm_up,
    )

    tail.compile(
        optimizer=library.optimizers.AdamW(
            schedule, weight_decay=0.0, use_ema=True, ema_momentum=1 - 1 / (_AVERAGED_EPOCHS * epoch_steps + 1)
        ),
        loss=library.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing),
        metrics=[library.metrics.CategoricalAccuracy(name="accuracy")],
    )


def _pick(data: TailData, batch: npt.NDArray[np.int64], random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Take each photo of a batch as itself or as one of its views."""
    view = random.integers(0, len(data.views) + 1, len(batch))
    picked = np.empty((len(batch), *data.photos.shape[1:]), np.float32)
    for place, (index, which) in enumerate(zip(batch, view, strict=True)):
        picked[place] = data.views[which - 1][index] if which else data.photos[data.train[index]]
    return picked


def _validate(tail: Any, data: TailData, config: TrainConfig) -> dict[str, float]:
    """Return the validation loss, smoothed like the training loss, and the accuracy."""
    if not len(data.val):
        return {}
    logits = tail_logits(tail, data.photos, data.val)
    loss, accuracy = cross_entropy(logits, data.val_targets, label_smoothing=config.label_smoothing)
    return {"val_loss": loss, "val_accuracy": accuracy}


def tail_logits(tail: Any, inputs: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the logits of some rows of cached activations, float32 [rows, classes], in constant memory."""
    parts = []
    for start in range(0, len(rows), _EVAL_BATCH):
        batch = rows[start : start + _EVAL_BATCH]
        # One batch size is one trace of the graph: a shorter last batch is filled up and cut again.
        full = np.resize(batch, min(_EVAL_BATCH, len(rows)))
        parts.append(tail.predict_on_batch(inputs[full].astype(np.float32))[: len(batch)])
    return np.concatenate(parts)


def _photo_weights(targets: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the inverse frequency of each photo's class, float32 [n], 1 on average over the classes."""
    counts = np.bincount(targets)
    return (len(targets) / (len(counts) * counts[targets])).astype(np.float32)
