"""The blocks of a built backbone."""

from __future__ import annotations

from typing import Any

from .registry import backbone
from .spec import Block


def blocks(name: str, base: Any) -> tuple[Block, ...]:
    """Return the blocks of a base made by :func:`~edgetl.backbones.build_base`, from the input to the output.

    A block ends at the last of its layers in graph order: the residual Add where there is one, else the BatchNorm of
    its projection (V2, V3) or the ReLU of its pointwise convolution (V1). Layers before the first block (``scale``
    and the stem) and after the last one (``Conv_1`` of V2, ``conv_1`` of V3) belong to no block. The latter are trained
    with the head whenever any block is.
    """
    pattern = backbone(name).block_pattern
    last: dict[str, str] = {}
    for operation in base.operations:
        if match := pattern.match(operation.name):
            last[match[1] or "0"] = operation.name
    place = {operation.name: index for index, operation in enumerate(base.operations)}
    ends = sorted(last.items(), key=lambda item: place[item[1]])
    return tuple(Block(f"block_{key}" if key.isdecimal() else key, layer) for key, layer in ends)
