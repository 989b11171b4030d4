"""Resolve which layers are trained, from which weights: ``--strategy``, ``--trainable-blocks``, ``--weights``.

Pure functions of the request and the number of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgetl_device.errors import OptionError

Strategy = Literal["head", "blocks", "all", "scratch"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
AUTO = "auto"

_DEFAULT_BLOCKS = 6


@dataclass(frozen=True)
class TrainedLayers:
    """What is trained.

    Attributes:
        strategy: ``head`` on frozen features; the last ``blocks`` too; ``all`` layers, at a smaller rate; or
            ``scratch``: all layers, from random weights.
        trainable_blocks: Number of last blocks; all of them for ``all`` and ``scratch``.
        weights: As requested; ``none`` for ``scratch``.
        note: What edgetl decided beyond the request, in a sentence; else "".
    """

    strategy: Strategy
    trainable_blocks: int
    weights: str
    note: str = ""


def check_strategy(
    strategy: str | None, *, trainable_blocks: int | None, weights: str, truncate: str | None, backbone: str | None
) -> None:
    """Refuse options that contradict each other for any backbone.

    Raises:
        OptionError: Two options cannot both hold.
    """
    given = {"strategy": strategy, "trainable_blocks": trainable_blocks, "weights": weights, "truncate": truncate}
    if strategy == AUTO:
        for name in ("trainable_blocks", "truncate"):
            if given[name] is not None:
                raise _contradiction(f"{{strategy=}} with {{{name}=}}", f"auto chooses {{{name}}} itself", **given)
        if weights == "none":
            raise _contradiction(
                "{strategy=} with {weights=}", "it compares features, which need pretrained weights", **given
            )
    elif backbone == AUTO:
        raise _contradiction(
            "{backbone=}", "only {strategy=} chooses the backbone by the photos", backbone=backbone, strategy=AUTO
        )
    if strategy == "scratch" and weights not in ("auto", "none"):
        raise _contradiction("{strategy=} with {weights=}", "from scratch means random weights", **given)
    if strategy in ("head", "blocks", "all") and weights == "none":
        raise _contradiction("{strategy=} with {weights=}", "untrained random layers are of no use", **given)
    if strategy == "head" and trainable_blocks:
        raise _contradiction("{strategy=} with {trainable_blocks=}", "the head alone is 0 blocks", **given)
    if strategy == "blocks" and trainable_blocks == 0:
        raise _contradiction("{strategy=} with {trainable_blocks=}", "that is the strategy head", **given)


def check_start(from_run: str | None, *, strategy: str | None, weights: str, truncate: str | None) -> None:
    """Refuse options that contradict the run that training starts from, whichever it is.

    Raises:
        OptionError: They ask for another network or other weights than those of the run.
    """
    if from_run is None:
        return
    given = {"from_run": from_run, "strategy": strategy, "weights": weights, "truncate": truncate}
    if weights != "auto":
        raise _contradiction("{weights=} with {from_run=}", "training starts from the weights of the run", **given)
    if truncate is not None:
        raise _contradiction("{truncate=} with {from_run=}", "the network is that of the run", **given)
    if strategy == "scratch":
        raise _contradiction("{strategy=} with {from_run=}", "from scratch means random weights", **given)
    if strategy == AUTO:
        raise _contradiction("{strategy=} with {from_run=}", "auto compares backbones with ImageNet weights", **given)


def resolve_strategy(
    strategy: str | None,
    *,
    trainable_blocks: int | None,
    weights: str,
    blocks: int,
    backbone: str,
    usual: int = _DEFAULT_BLOCKS,
) -> TrainedLayers:
    """Resolve a checked request other than ``auto`` for a backbone; resolving the result again changes nothing.

    Args:
        strategy: As requested, or None: ``scratch`` with weights ``none``, ``head`` with 0 blocks, else ``blocks``.
        trainable_blocks: As requested, or None: the usual number, or all but one of fewer, so that activations can be
            cached.
        weights: As requested.
        blocks: Number of blocks of the backbone, after truncation.
        backbone: Its name in messages.
        usual: Number of blocks that are trained by default.

    Raises:
        OptionError: More blocks are requested than there are, or only some with a strategy that trains all.
    """
    if trainable_blocks is not None and trainable_blocks > blocks:
        raise OptionError(f"{{trainable_blocks=}}: {backbone} has {blocks} blocks", trainable_blocks=trainable_blocks)
    if strategy is None:
        strategy = "scratch" if weights == "none" else "head" if trainable_blocks == 0 else "blocks"
    if strategy in ("all", "scratch"):
        if not blocks:
            raise OptionError(f"{{strategy=}}: {backbone} has no blocks to train", strategy=strategy)
        if trainable_blocks not in (None, blocks):
            raise _contradiction(
                f"{'{strategy=}' if weights != 'none' else '{weights=}'} with {{trainable_blocks=}}",
                f"that trains all {blocks} blocks",
                strategy=strategy,
                weights=weights,
                trainable_blocks=trainable_blocks,
            )
        return TrainedLayers("all", blocks, weights) if strategy == "all" else TrainedLayers("scratch", blocks, "none")
    if strategy == "head":
        return TrainedLayers("head", 0, weights)
    if trainable_blocks is not None:
        return TrainedLayers("blocks", trainable_blocks, weights)
    fewer = blocks - 1
    if fewer >= usual:
        return TrainedLayers("blocks", usual, weights)
    if not blocks:
        return TrainedLayers("head", 0, weights, f"{backbone} has no blocks: only the head is trained")
    if fewer == 0:
        return TrainedLayers(
            "head",
            0,
            weights,
            f"{backbone} has one block: only the head is trained (strategy all trains the block too)",
        )
    return TrainedLayers("blocks", fewer, weights, f"{backbone} has {blocks} blocks: the last {fewer} are trained")


def _contradiction(what: str, why: str, **values: object) -> OptionError:
    return OptionError(what, why=why, hint="Leave one of them out.", **values)
