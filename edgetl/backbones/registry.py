"""The registry of backbones, one row each. A new family needs a row and, if Keras has no builder, a function."""

from __future__ import annotations

from edgetl_device.errors import InputError
from edgetl_device.text import closest

from . import classic, mobile
from .spec import Backbone

BACKBONES: dict[str, Backbone] = {row.name: row for row in (*mobile.ROWS, *classic.ROWS)}


def backbone(name: str) -> Backbone:
    """Return the row called ``name``.

    Raises:
        InputError: There is no such row; the message lists the names.
    """
    if name not in BACKBONES:
        raise InputError(
            f"unknown backbone {name!r}", why=f"edgetl knows {', '.join(BACKBONES)}", hint=closest(name, BACKBONES)
        )
    return BACKBONES[name]
