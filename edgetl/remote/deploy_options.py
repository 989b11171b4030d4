"""Options of ``edgetl deploy``."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl_device.options import option
from edgetl_device.update.options import UpdateOptions

_FLEET = "Fleet"


@dataclass(frozen=True)
class DeployOptions(UpdateOptions):
    """Options of :func:`edgetl.remote.deploy.deploy`: the update on each board, and the rollout over the fleet.

    Raises:
        OptionError: A value is out of bounds.
    """

    slots: str = option(
        "~/.local/share/edgetl/slots",
        metavar="DIR",
        help="Folder of the slots on the board; the fleet file may set slots for single boards.",
    )
    canary: float = option(
        0.1,
        low=0,
        high=1,
        group=_FLEET,
        metavar="SHARE",
        help="Share of the boards to update first, at least one unless 0; the others follow if these succeed.",
    )
    stop_after: int = option(
        1, low=1, high=100_000, group=_FLEET, help="Start no more boards after this many have failed."
    )
    parallel: int = option(8, low=1, high=256, group=_FLEET, help="Boards at a time.")
