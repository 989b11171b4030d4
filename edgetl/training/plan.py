"""Resolve the options into a plan: follow advice if requested, truncate the base, choose every default."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgetl._lib.interrupts import uninterrupted
from edgetl._lib.progress import note
from edgetl.backbones import Block, ResolvedWeights, backbone, blocks, build_base, resolve_weights
from edgetl.backbones.blocks import blocks_of_graph, parameters_after
from edgetl.backbones.truncate import find_block, truncate
from edgetl.data import Dataset
from edgetl.runs.directory import Run
from edgetl.runs.document import StartRecord, StrategyRecord, Truncation
from edgetl_device._lib.documents import to_json
from edgetl_device.input_size import size_value
from edgetl_device.options import Value

from .network import Trained, without_head
from .options import TrainOptions
from .start import Start, described, has_its_classes, record_of
from .strategy import AUTO, Strategy, TrainedLayers, resolve_strategy

# A base is truncated where its late features do not help, for photos unlike those of its weights; its early layers must
# adapt too. On scikit-learn's digits, 1e-3 for 30 epochs beat 3e-4 for 9 by 0.9 pp (11 blocks) and 1.9 pp (8 blocks).
_ALL_LAYERS_LR, _ALL_LAYERS_LR_TRUNCATED = 2e-4, 1e-3
_SGD_LR, _SGD_SCRATCH_LR = 1e-2, 5e-2
_ALL_LAYERS_SMOOTHING = 0.1

# Of the parameters before the head. The last six blocks, with what follows them, have 0.86 in MobileNetV2 and 0.84 in
# EfficientNet-Lite0.
_USUAL_SHARE = 0.87

# With few epochs most views are never used. On 2,983 photos of Fashion-MNIST (8 epochs, 96 px, two seeds), 2, 3 and 4
# views gave 0.903 and 0.893, 0.900 and 0.899, 0.896 and 0.897 on 1,500 photos that were held out.
_EPOCHS_A_VIEW, _MOST_VIEWS = 4, 4


@dataclass(frozen=True)
class TrainPlan:
    """The options of a run, and the values resolved from backbone and photos.

    Attributes:
        options: The options as given; the fields below override those of the same name.
        backbone: A name in :data:`edgetl.backbones.BACKBONES`, or that of the run that training starts from.
        width: Width multiplier of the backbone.
        size: Height and width of the input in pixels, as options keep them.
        grey: Whether the input has one channel.
        fit: How photos are fitted to the input.
        weights: ``none`` where every layer starts from random weights.
        strategy: Which layers are trained.
        trainable_blocks: Number of last blocks that are trained; 0: only the head.
        truncate: Name of the last block to keep; None keeps the whole backbone.
        epochs: Epochs of the stage after the head; in a plan :meth:`for_finetuning`, of the third stage.
        views: Augmented views of each training photo.
        lr: Peak learning rate of the same stage.
        label_smoothing: 0..1, as in Szegedy et al. 2016, arXiv:1512.00567.
        finetune_lr: Peak learning rate of the third stage.
    """

    options: TrainOptions
    backbone: str
    width: float
    size: int | str
    grey: bool
    fit: str
    weights: str
    strategy: Strategy
    trainable_blocks: int
    truncate: str | None
    epochs: int
    views: int
    lr: float
    label_smoothing: float
    finetune_lr: float

    @property
    def from_scratch(self) -> bool:
        """Whether every layer starts from random weights."""
        return self.strategy == "scratch"

    def for_finetuning(self) -> TrainPlan:
        """Return the plan of the third stage."""
        return replace(self, epochs=self.options.finetune_epochs, lr=self.finetune_lr)

    def by_name(self) -> dict[str, Value]:
        """Return all values by option name, as used in training."""
        asked = self.options.by_name()
        resolved = {name: getattr(self, name) for name in asked if name in self.__dataclass_fields__}
        if not self.options.finetune_epochs:
            # Nothing was trained at that rate.
            del resolved["finetune_lr"]
        return asked | resolved


@dataclass(frozen=True)
class Decision:
    """The decision on what to train, with its reasons.

    Attributes:
        plan: The resolved plan.
        weights: Weights of the base.
        base: The base as a keras.Model, truncated according to the plan.
        blocks: The blocks of the base.
        record: Record for ``run.json``: the request, the reasons, and the advice behind them.
        start: What training starts from.
        head: Kernel and bias that the head starts with; None if it is fitted.
        started_from: Record for ``run.json`` of the run that training starts from; None with pretrained weights.
    """

    plan: TrainPlan
    weights: ResolvedWeights
    base: Any
    blocks: tuple[Block, ...]
    record: StrategyRecord
    start: Start
    head: Trained | None = None
    started_from: StartRecord | None = None


def check_request(options: TrainOptions, start: Start) -> None:
    """Check the options before photos are read; download weights if needed.

    Args:
        options: The options.
        start: What training starts from, from :func:`~edgetl.training.start.start_of`.

    Raises:
        InputError: The backbone does not support the options.
        Unavailable: The weights cannot be loaded or downloaded.
    """
    if start.backbone == AUTO or start.run is not None:
        return
    row = backbone(start.backbone)
    row.check(width=start.width, size=start.preprocess.size)
    if options.truncate is None and options.strategy != AUTO:
        _trained_layers(options, start, row.block_count)
    _weights(options, start)


def decide(options: TrainOptions, start: Start, dataset: Dataset) -> Decision:
    """Decide what to train on a data set; ``auto`` follows :func:`edgetl.advice.advise`.

    Args:
        options: Options that :func:`check_request` accepted.
        start: What training starts from.
        dataset: The photos; test photos are not used.

    The base is initialized from process-wide seeds: call this inside
    :func:`edgetl.training.determinism.deterministic`.
    """
    if start.run is not None:
        return _decide_from_run(options, start, start.run, dataset)
    chosen, reasons, advised = options, list[str](), None
    if options.strategy == AUTO:
        from edgetl.advice import advise

        advice = advise(dataset, backbones=_candidates(start), width=start.width, weights=options.weights)
        found = advice.recommendation
        reasons, advised = list(found.reasons), to_json(advice.document)
        start = replace(start, backbone=found.backbone)
        chosen = replace(
            options,
            backbone=found.backbone,
            strategy=found.strategy,
            trainable_blocks=found.trainable_blocks,
            truncate=found.truncate,
        )
        note(f"strategy auto: {found.title}")
        for reason in found.reasons:
            note(f"  - {reason}")
    weights = _weights(chosen, start)
    base, cut = _base(chosen, start, weights)
    all_blocks = blocks(start.backbone, base)
    trained = _trained_layers(chosen, start, len(all_blocks))
    if cut:
        chosen = replace(chosen, truncate=cut.block)
        note(f"{start.backbone} ends at {cut.block}: {cut.blocks} of {cut.of_blocks} blocks are kept")
    if trained.note:
        reasons.append(trained.note)
        note(trained.note)
    record = StrategyRecord(options.strategy, tuple(reasons), advised, cut)
    plan = resolve(chosen, start, trained, photos=len(dataset.of("train")))
    return Decision(plan, weights, base, all_blocks, record, start)


@uninterrupted()
def _decide_from_run(options: TrainOptions, start: Start, run: Run, dataset: Dataset) -> Decision:
    from edgetl._lib.extras import keras

    # The head's dropout draws its seed.
    keras().utils.set_random_seed(options.seed)
    network = without_head(run.load_model(), shown=str(run.folder))
    all_blocks = blocks_of_graph(network.base) if start.imported else blocks(start.backbone, network.base)
    usual = _usual_blocks(network.base, all_blocks) if start.imported else None
    trained = _trained_layers(options, start, len(all_blocks), usual=usual)
    reasons = [trained.note] if trained.note else []
    if start.imported and 0 < trained.trainable_blocks < len(all_blocks):
        first = all_blocks[-trained.trainable_blocks - 1]
        share = parameters_after(network.base, first) / network.base.count_params()
        reasons = [
            f"of {len(all_blocks)} blocks the last {trained.trainable_blocks} are trained: {share:.0%} of the"
            " parameters before the head"
        ]
    # A solver fits the head alone to its optimum, whatever it starts from.
    kept = has_its_classes(start, dataset.labels) and trained.strategy != "head"
    record = record_of(start, run, dataset, head_kept=kept)
    note(described(record, dataset.labels, run.labels))
    for reason in reasons:
        note(reason)
    if start.imported:
        note(
            "note: edgetl cannot know which photos the imported model was trained on; that those held out here are not"
            " among them is your word"
        )
    document = run.document
    weights = ResolvedWeights("run", run.folder.resolve(), document.model.sha256, document.weights.licence)
    return Decision(
        resolve(options, start, trained, photos=len(dataset.of("train"))),
        weights,
        network.base,
        all_blocks,
        StrategyRecord(options.strategy, tuple(reasons), None, document.strategy.truncated),
        start,
        network if kept else None,
        record,
    )


def _usual_blocks(base: Any, all_blocks: Sequence[Block]) -> int:
    """Return how many last blocks of an imported network are trained by default, at least 1.

    They are as many as have, with what follows them, at most the share of the parameters that is usual in backbones.
    """
    most = _USUAL_SHARE * base.count_params()
    ends = all_blocks[:-1]
    return max(1, [parameters_after(base, end) <= most for end in ends].count(True))


def resolve(options: TrainOptions, start: Start, trained: TrainedLayers, *, photos: int) -> TrainPlan:
    """Return the plan for a number of training photos and blocks; explicit options are kept."""
    scratch, all_layers = trained.strategy == "scratch", trained.strategy == "all"
    epochs, views, lr = options.epochs, options.views, options.lr
    if epochs is None:
        epochs = default_epochs(photos, from_scratch=scratch, all_layers=all_layers)
    if views is None:
        views = min(_MOST_VIEWS, max(1, math.ceil(epochs / _EPOCHS_A_VIEW)))
    if lr is None:
        lr = _default_lr(options, trained.strategy)
    smoothing = options.label_smoothing
    if smoothing is None:
        # On 175 held-out photos of flowers, about 190 trained on, with 0.1 and without: the last blocks reached 0.842
        # and 0.845 (means of 8 seeds), calibration error 0.131 and 0.087; all layers 0.842 and 0.833 (6 seeds).
        smoothing = _ALL_LAYERS_SMOOTHING if scratch or all_layers else 0.0
    return TrainPlan(
        options=options,
        backbone=start.backbone,
        width=start.width,
        size=size_value(start.preprocess.size),
        grey=start.preprocess.size.channels == 1,
        fit=start.preprocess.fit,
        weights=trained.weights,
        strategy=trained.strategy,
        trainable_blocks=trained.trainable_blocks,
        truncate=options.truncate,
        epochs=epochs,
        views=views,
        lr=lr,
        label_smoothing=smoothing,
        finetune_lr=lr / 10 if options.finetune_lr is None else options.finetune_lr,
    )


def default_epochs(photos: int, *, from_scratch: bool, all_layers: bool = False) -> int:
    """Return the maximum number of epochs of the second stage: 16 up to 500 training photos, 8 from 1,000 on.

    With more photos an epoch has more steps, so fewer epochs are needed. All layers: three times as many, with early
    stopping; random weights: always 60.
    """
    few = min(16, max(8, 8_000 // max(1, photos)))
    return 60 if from_scratch else 3 * few if all_layers else few


def _default_lr(options: TrainOptions, strategy: Strategy) -> float:
    scratch = strategy == "scratch"
    if options.optimizer == "sgd":
        return _SGD_SCRATCH_LR if scratch else _SGD_LR
    # Early layers are general already (Yosinski et al. 2014, arXiv:1411.1792): training all of them needs a smaller
    # rate.
    if strategy == "all":
        return _ALL_LAYERS_LR_TRUNCATED if options.truncate else _ALL_LAYERS_LR
    return 1e-3 if scratch else 3e-4


def _candidates(start: Start) -> tuple[str, ...]:
    from edgetl.advice import embedded_backbones

    return embedded_backbones() if start.backbone == AUTO else (start.backbone,)


def _weights(options: TrainOptions, start: Start) -> ResolvedWeights:
    request = "none" if options.from_scratch else options.weights
    return resolve_weights(start.backbone, width=start.width, request=request, size=start.preprocess.size)


@uninterrupted()
def _base(options: TrainOptions, start: Start, weights: ResolvedWeights) -> tuple[Any, Truncation | None]:
    from edgetl._lib.extras import keras

    # Advice used random numbers: seed again, so that auto gives the same run as explicit settings.
    keras().utils.set_random_seed(options.seed)
    whole = build_base(start.backbone, size=start.preprocess.size, width=start.width, weights=weights)
    if options.truncate is None:
        return whole, None
    block = find_block(start.backbone, whole, options.truncate)
    base = truncate(start.backbone, whole, options.truncate)
    kept, every = (len(blocks(start.backbone, one)) for one in (base, whole))
    return base, Truncation(block.name, block.last_layer, kept, every)


def _trained_layers(
    options: TrainOptions, start: Start, block_count: int, *, usual: int | None = None
) -> TrainedLayers:
    more = {} if usual is None else {"usual": usual}
    return resolve_strategy(
        options.strategy,
        trainable_blocks=options.trainable_blocks,
        weights=options.weights,
        blocks=block_count,
        backbone=start.backbone + (f" up to {options.truncate}" if options.truncate else ""),
        **more,
    )
