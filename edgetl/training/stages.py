"""The stages of training, in order: head, last blocks, and optionally all layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl.data import Dataset, Split, stratified_rows, targets_of
from edgetl.features import frozen_base
from edgetl.features.augment import mixes
from edgetl.runs.directory import Run
from edgetl.runs.history import Epoch, HistoryRow
from edgetl.runs.provenance import StageTimer
from edgetl_device.errors import OptionError

from .head import Labelled, fit_head
from .log import TrainingLog
from .mirrored import mirrored
from .network import tail, unfreeze
from .plan import TrainPlan
from .tail import TailData, kept_epoch, train_tail
from .teacher import teacher_targets

# The head is fitted in memory. More rows hardly change it, and the second stage uses all photos.
_HEAD_MAX_ROWS = 20_000


@dataclass(frozen=True)
class TrainingContext:
    """The inputs of all stages.

    Attributes:
        network: The whole network, a keras.Model; the stages change its weights.
        base: Its backbone.
        head_kept: Whether the head starts with the weights of an earlier run; otherwise it is fitted first.
        cut: The layer before the trainable blocks; None if all are trained.
        dataset: The photos; the stages use only training and validation photos.
        plan: The resolved plan.
        teacher: The run to distill from; None without one.
        devices: Devices that share each step of the later stages, from
            :func:`edgetl.training.devices.training_devices`.
        timer: Times the stages.
        log: The training log.
    """

    network: Any
    base: Any
    head_kept: bool
    cut: str | None
    dataset: Dataset
    plan: TrainPlan
    teacher: Run | None
    devices: tuple[str, ...]
    timer: StageTimer
    log: TrainingLog


def run_stages(context: TrainingContext) -> bool:
    """Train the network in place; return whether Ctrl-C ended it early."""
    plan, log = context.plan, context.log
    interrupted = False
    if not log.is_past("blocks"):
        if plan.from_scratch:
            interrupted = _train_all(context, plan, stage="blocks", description="Training all layers")
        else:
            interrupted = _head_and_blocks(context)
    if plan.options.finetune_epochs and not interrupted:
        interrupted = _train_all(
            context, plan.for_finetuning(), stage="finetune", description="Fine-tuning the whole network"
        )
    return interrupted


def check_teachable(plan: TrainPlan) -> None:
    """Refuse a teacher if only the head is fitted.

    Raises:
        OptionError: Only the head is trained; it is fitted to labels.
    """
    if plan.options.teacher and not has_later_stages(plan):
        raise OptionError("{teacher} with the head alone: the head is fitted to labels and cannot be distilled")


def has_later_stages(plan: TrainPlan) -> bool:
    """Whether any stage trains by gradient steps; the head is fitted by a solver."""
    blocks = plan.epochs and (plan.from_scratch or plan.trainable_blocks)
    return bool(blocks or plan.options.finetune_epochs)


def best_epoch(history: Sequence[HistoryRow], stage: str) -> int:
    """Return the epoch of a stage whose weights were kept; 0 without such a stage."""
    rows = [row for row in history if isinstance(row, Epoch) and row.stage == stage]
    return kept_epoch(rows) if rows else 0


def _head_and_blocks(context: TrainingContext) -> bool:
    """Fit the head on pooled features, then train the last blocks on activations cached at the cut."""
    plan, dataset = context.plan, context.dataset
    train_rows, targets = rows_of(dataset, "train")
    head_only = plan.trainable_blocks == 0
    with context.timer.stage("frozen base"):
        frozen = frozen_base.freeze(context.base, None if head_only else context.cut)
        photos = frozen_base.photo_activations(frozen, dataset.pixels)
        views = frozen_base.view_activations(
            frozen, dataset.pixels, train_rows, preset=plan.options.augment, seed=plan.options.seed, count=_views(plan)
        )
    if not context.head_kept and not context.log.saved("blocks"):
        with context.timer.stage("head"):
            _fit_head(context, photos, views, train_rows, targets)
    if head_only or plan.epochs == 0:
        unfreeze(context.network, context.cut, train_batch_norm=False)
        return False
    if photos.cut is None:
        return _train_all(context, plan, stage="blocks", description="Training all blocks")
    with context.timer.stage("blocks"):
        unfreeze(context.network, context.cut, train_batch_norm=False)
        data = _tail_data(context, photos.cut, [view.cut for view in views if view.cut is not None])
        description = f"Training the last {plan.trainable_blocks} blocks"
        return _train(context, tail(context.network, context.cut), data, plan, stage="blocks", description=description)


def _fit_head(
    context: TrainingContext,
    photos: frozen_base.Activations,
    views: list[frozen_base.Activations],
    train_rows: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
) -> None:
    seed = context.plan.options.seed
    # A mixed view has no single class, so the head is fitted on the photos only.
    labelled, labelled_views = head_rows(
        photos, [] if mixes(context.plan.options.augment) else views, train_rows, targets, seed=seed
    )
    if not np.isfinite(labelled.features).all():
        raise OptionError(
            "the frozen layers output infinite values or NaN",
            why="the weights contain such values, or belong to a different network",
            hint="Use different {weights}.",
        )
    val, _ = head_rows(photos, [], *rows_of(context.dataset, "val"), seed=seed)
    head = fit_head(
        labelled,
        labelled_views,
        val,
        classes=len(context.dataset.labels),
        balanced=context.plan.options.class_weights,
    )
    context.network.get_layer("logits").set_weights([head.kernel, head.bias])
    context.log.add(head.history)


def _train_all(context: TrainingContext, plan: TrainPlan, *, stage: str, description: str) -> bool:
    """Train every layer on pixels; from scratch, BatchNorm learns its statistics too."""
    with context.timer.stage("views"):
        train_rows, _ = rows_of(context.dataset, "train")
        views = frozen_base.view_pixels(
            context.dataset.pixels, train_rows, preset=plan.options.augment, seed=plan.options.seed, count=_views(plan)
        )
    with context.timer.stage(stage):
        unfreeze(context.network, None, train_batch_norm=plan.from_scratch)
        data = _tail_data(context, context.dataset.pixels.array, views)
        return _train(context, tail(context.network, None), data, plan, stage=stage, description=description)


def _train(
    context: TrainingContext, part: Any, data: TailData, plan: TrainPlan, *, stage: str, description: str
) -> bool:
    with mirrored(part, context.devices) as model:
        result = train_tail(model, data, plan, context.log, stage=stage, description=description)
    context.log.add(result.history, logged=True)
    return result.interrupted


def _views(plan: TrainPlan) -> int:
    head_only = plan.trainable_blocks == 0 and not plan.from_scratch and not plan.options.finetune_epochs
    return 0 if plan.options.augment == "none" or (head_only and mixes(plan.options.augment)) else plan.views


def _tail_data(context: TrainingContext, photos: npt.NDArray[Any], views: list[Any]) -> TailData:
    options = context.plan.options
    train_rows, targets = rows_of(context.dataset, "train")
    shown = frozen_base.view_targets(
        targets,
        classes=len(context.dataset.labels),
        size=context.dataset.spec.size,
        preset=options.augment,
        seed=options.seed,
        count=len(views),
    )
    teacher = teacher_targets(context.teacher, context.dataset, options, views=len(views)) if context.teacher else None
    return TailData(photos, views, train_rows, targets, *rows_of(context.dataset, "val"), shown, teacher)


def head_rows(
    photos: frozen_base.Activations,
    views: list[frozen_base.Activations],
    rows: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
    *,
    seed: int,
) -> tuple[Labelled, list[Labelled]]:
    """Return the pooled features of the photos and views that the head is fitted or validated on.

    Of more than 20,000 photos a stratified sample is taken: they are sorted by class, and every class must occur.

    Args:
        photos: Features of every photo.
        views: Features of the views; row i of each belongs to photo ``rows[i]``.
        rows: int64 [n], rows of ``photos``.
        targets: int64 [n], their classes.
        seed: Seed of the sample.
    """
    take = stratified_rows(targets, _HEAD_MAX_ROWS, seed=seed)
    used = views[: max(0, _HEAD_MAX_ROWS // max(1, len(take)) - 1)]
    return (
        Labelled(photos.pooled[rows[take]], targets[take]),
        [Labelled(view.pooled[take], targets[take]) for view in used],
    )


def rows_of(dataset: Dataset, split: Split) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows in the pixel cache and the classes of one split, int64 [samples] each."""
    samples = dataset.of(split)
    return dataset.pixels.rows(samples), targets_of(samples, dataset.labels)
