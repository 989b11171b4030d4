"""Truncated backbones: all blocks up to a chosen one, for photos unlike those of the pretrained weights.

``edgetl.advice`` chooses the block. Cuts inside a block are impossible: more than one tensor may cross there.
"""

from __future__ import annotations

from typing import Any

from edgetl._lib.extras import keras
from edgetl_device.errors import OptionError
from edgetl_device.text import closest

from .blocks import blocks
from .spec import Block


def find_block(name: str, base: Any, request: str) -> Block:
    """Return the last block to keep. ``request`` is its name or the number of blocks to keep (1: the first alone).

    Raises:
        InputError: There is no such block; the message lists the names.
    """
    found = blocks(name, base)
    for block in found:
        if block.name == request:
            return block
    if request.isdecimal() and 1 <= int(request) <= len(found):
        return found[int(request) - 1]
    names = [block.name for block in found]
    listed = ", ".join(names if len(names) <= 20 else [*names[:3], "...", *names[-3:]])
    named = closest(request, names, "Give one of these names.")
    raise OptionError(
        f"{{truncate=}}: {name} has no such block",
        why=f"its blocks are {listed}",
        hint=f"{named} Or give how many to keep: 1 to {len(names)}. edgetl advise shows them.",
        truncate=request,
    )


def truncate(name: str, base: Any, request: str) -> Any:
    """Return a base that ends where a block ends; it shares its layers and weights with ``base``.

    Args:
        name: The backbone.
        base: From :func:`~edgetl.backbones.build_base`.
        request: As in :func:`find_block`.

    Returns:
        A flat keras.Model as ``build_base`` makes them, with a smaller output [None, h, w, c].
        :func:`~edgetl.backbones.blocks` gives the blocks that are left.
    """
    block = find_block(name, base, request)
    return keras().Model(base.input, base.get_layer(block.last_layer).output, name=base.name)
