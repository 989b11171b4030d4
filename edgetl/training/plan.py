"""From what was asked to what is trained: advice where it was asked for, the base as cut, the settings as resolved.

Not for: the rules (``strategy``, ``edgetl.advice``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from edgetl._lib.interrupts import uninterrupted
from edgetl._lib.progress import note
from edgetl.backbones import ResolvedWeights, backbone, blocks, build_base, resolve_weights
from edgetl.backbones.truncate import find_block, truncate
from edgetl.data import Dataset
from edgetl_device.errors import InputError

from .options import TrainConfig
from .strategy import AUTO, check_strategy, resolve_strategy


@dataclass(frozen=True)
class Decision:
    """What is trained, and why.

    Attributes:
        config: The settings with strategy, blocks, backbone and cut as resolved.
        weights: What the base gets.
        base: The base as a keras.Model, cut where the settings say.
        record: For ``run.json``: what was asked, the reasons, and the advice behind them.
    """

    config: TrainConfig
    weights: ResolvedWeights
    base: Any
    record: dict[str, Any]


def check_request(config: TrainConfig) -> None:
    """Refuse what can be refused before photos are read; weights are downloaded where they have to be.

    Raises:
        InputError: Options contradict each other, or the backbone does not have what they ask for.
        Unavailable: The weights cannot be had here.
    """
    check_strategy(
        config.strategy,
        trainable_blocks=config.trainable_blocks,
        weights=config.weights,
        truncate=config.truncate,
        backbone=config.backbone,
    )
    if config.backbone == AUTO:
        if config.weights != "auto" or config.width != 1.0:
            raise InputError("--backbone auto", why="it compares the backbones as embedded: no --width, no --weights")
        return
    row = backbone(config.backbone)
    row.check(width=config.width, size=config.size)
    if config.truncate is None and config.strategy != AUTO:
        _resolved(config, row.block_count)
    _weights(config)


def decide(config: TrainConfig, dataset: Dataset) -> Decision:
    """Return what is trained on a data set; ``auto`` asks :func:`edgetl.advice.advise` first.

    Args:
        config: A request that :func:`check_request` passed.
        dataset: Its photos; test photos are not looked at.
    """
    record: dict[str, Any] = {"asked": config.strategy, "reasons": []}
    if config.strategy == AUTO:
        from edgetl.advice import advise

        advice = advise(dataset, backbones=_candidates(config), width=config.width, weights=config.weights)
        chosen = advice.recommendation
        record |= {"reasons": list(chosen.reasons), "advice": advice.to_json()}
        config = replace(
            config,
            backbone=chosen.backbone,
            strategy=chosen.strategy,
            trainable_blocks=chosen.trainable_blocks,
            truncate=chosen.truncate,
        )
        note(f"strategy auto: {chosen.title}")
        for reason in chosen.reasons:
            note(f"  - {reason}")
    weights = _weights(config)
    base, record["truncated"] = _base(config, weights)
    config, remark = _resolved(config, len(blocks(config.backbone, base)))
    if cut := record["truncated"]:
        config = replace(config, truncate=cut["block"])
        note(f"{config.backbone} ends at {cut['block']}: {cut['blocks']} of {cut['of_blocks']} blocks are kept")
    if remark:
        record["reasons"].append(remark)
        note(remark)
    return Decision(config, weights, base, record)


def _candidates(config: TrainConfig) -> tuple[str, ...]:
    from edgetl.advice import embedded_backbones

    return embedded_backbones() if config.backbone == AUTO else (config.backbone,)


def _weights(config: TrainConfig) -> ResolvedWeights:
    request = "none" if config.from_scratch else config.weights
    return resolve_weights(config.backbone, width=config.width, request=request, size=config.size)


@uninterrupted()
def _base(config: TrainConfig, weights: ResolvedWeights) -> tuple[Any, dict[str, Any] | None]:
    from edgetl._lib.extras import keras, tensorflow

    keras().utils.set_random_seed(config.seed)
    tensorflow().config.experimental.enable_op_determinism()
    whole = build_base(config.backbone, size=config.size, width=config.width, weights=weights)
    if config.truncate is None:
        return whole, None
    block = find_block(config.backbone, whole, config.truncate)
    base = truncate(config.backbone, whole, config.truncate)
    kept, every = (len(blocks(config.backbone, one)) for one in (base, whole))
    return base, {"block": block.name, "layer": block.last_layer, "blocks": kept, "of_blocks": every}


def _resolved(config: TrainConfig, block_count: int) -> tuple[TrainConfig, str]:
    plan = resolve_strategy(
        config.strategy,
        trainable_blocks=config.trainable_blocks,
        weights=config.weights,
        blocks=block_count,
        backbone=config.backbone + (f" up to {config.truncate}" if config.truncate else ""),
    )
    resolved = replace(config, strategy=plan.strategy, trainable_blocks=plan.trainable_blocks, weights=plan.weights)
    return resolved, plan.note
