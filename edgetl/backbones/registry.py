"""The table of backbones, one row each. A new family is a row and, where Keras has no builder, a function."""

from __future__ import annotations

from edgetl_device.errors import InputError

from . import classic, mobile
from .spec import Backbone

BACKBONES: dict[str, Backbone] = {row.name: row for row in (*mobile.ROWS, *classic.ROWS)}


def backbone(name: str) -> Backbone:
    """Return the row called ``name``.

    Raises:
        InputError: There is none; the message lists the names.
    """
    if name not in BACKBONES:
        raise InputError(f"unknown backbone {name!r}", why=f"edgetl knows {', '.join(BACKBONES)}")
    return BACKBONES[name]
