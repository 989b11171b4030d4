"""What ``--strategy`` and its neighbours mean together: which layers are trained, and from which weights.

Pure functions of the request and the number of blocks. Not for: choosing a strategy by the photos (``edgetl.advice``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgetl_device.errors import InputError

Strategy = Literal["head", "blocks", "all", "scratch"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
AUTO = "auto"

_DEFAULT_BLOCKS = 6


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        strategy: ``head`` on frozen features; the last ``blocks`` too; ``all`` layers, at a smaller rate; or
            ``scratch``: all layers, from random weights.
        trainable_blocks: How many of the last blocks; all of them for ``all`` and ``scratch``.
        weights: As requested; ``none`` for ``scratch``.
        note: What was not asked for in so many words, in a sentence; "" where nothing was decided.
    """

    strategy: Strategy
    trainable_blocks: int
    weights: str
    note: str = ""


def check_strategy(
    strategy: str | None, *, trainable_blocks: int | None, weights: str, truncate: str | None, backbone: str
) -> None:
    """Refuse options that contradict each other, whatever the backbone has.

    Raises:
        InputError: Two options cannot both hold, or there is no such strategy.
    """
    if strategy is not None and strategy not in (AUTO, *STRATEGIES):
        raise InputError(f"--strategy {strategy}", why=f"must be {AUTO}, {', '.join(STRATEGIES)}")
    if strategy == AUTO:
        for name, given in (("--trainable-blocks", trainable_blocks), ("--truncate", truncate)):
            if given is not None:
                raise _contradiction(f"--strategy auto with {name} {given}", f"auto chooses {name} itself")
        if weights == "none":
            raise _contradiction(
                "--strategy auto with --weights none", "it compares features that need pretrained weights"
            )
    elif backbone == AUTO:
        raise _contradiction("--backbone auto", "the photos choose the backbone with --strategy auto only")
    if strategy == "scratch" and weights not in ("auto", "none"):
        raise _contradiction(f"--strategy scratch with --weights {weights}", "from scratch means random weights")
    if strategy in ("head", "blocks", "all") and weights == "none":
        raise _contradiction(
            f"--strategy {strategy} with --weights none", "random layers that are not trained are of no use"
        )
    if strategy == "head" and trainable_blocks:
        raise _contradiction(
            f"--strategy head with --trainable-blocks {trainable_blocks}", "the head alone is 0 blocks"
        )
    if strategy == "blocks" and trainable_blocks == 0:
        raise _contradiction("--strategy blocks with --trainable-blocks 0", "that is --strategy head")


def resolve_strategy(
    strategy: str | None, *, trainable_blocks: int | None, weights: str, blocks: int, backbone: str
) -> Plan:
    """Return what a checked request other than ``auto`` means for a backbone; a plan's own fields give it again.

    Args:
        strategy: As asked, or None: ``scratch`` with weights ``none``, ``head`` with 0 blocks, else ``blocks``.
        trainable_blocks: As asked, or None: 6, or all but one where there are fewer, so that activations can be cached.
        weights: As asked.
        blocks: How many the backbone has, after it was truncated.
        backbone: What it is called in messages.

    Raises:
        InputError: More blocks are asked for than there are, or only some where the strategy trains all.
    """
    if trainable_blocks is not None and trainable_blocks > blocks:
        raise InputError(f"--trainable-blocks {trainable_blocks}", why=f"{backbone} has {blocks} blocks")
    if strategy is None:
        strategy = "scratch" if weights == "none" else "head" if trainable_blocks == 0 else "blocks"
    if strategy in ("all", "scratch"):
        if trainable_blocks not in (None, blocks):
            raise _contradiction(
                f"{'--strategy ' + strategy if weights != 'none' else '--weights none'} with --trainable-blocks "
                f"{trainable_blocks}",
                f"that trains all {blocks} blocks",
            )
        return Plan("all", blocks, weights) if strategy == "all" else Plan("scratch", blocks, "none")
    if strategy == "head":
        return Plan("head", 0, weights)
    if trainable_blocks is not None:
        return Plan("blocks", trainable_blocks, weights)
    fewer = blocks - 1
    if fewer >= _DEFAULT_BLOCKS:
        return Plan("blocks", _DEFAULT_BLOCKS, weights)
    if fewer == 0:
        return Plan(
            "head", 0, weights, f"{backbone} has one block: the head alone is trained; --strategy all trains it"
        )
    return Plan("blocks", fewer, weights, f"{backbone} has {blocks} blocks: the last {fewer} are trained")


def _contradiction(what: str, why: str) -> InputError:
    return InputError(what, why=why, hint="Leave one of them out.")
