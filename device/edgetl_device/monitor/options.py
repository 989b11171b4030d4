"""Options of watching in the field, for both command lines."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl_device.errors import OptionError
from edgetl_device.options import Options, option

# More would make choosing among them slow.
MAX_COLLECTED = 2_000
_FIELD = "In the field"


@dataclass(frozen=True)
class MonitorOptions(Options):
    """Options of :class:`edgetl_device.monitor.Monitor`.

    Raises:
        OptionError: A value is out of bounds, or has no effect.
    """

    monitor: str | None = option(
        None,
        group=_FIELD,
        metavar="DIR",
        unset="none",
        help="Write what was seen to this folder: a line an hour, with drift against the held-out photos.",
    )
    collect: int = option(
        0,
        group=_FIELD,
        low=0,
        high=MAX_COLLECTED,
        help="With --monitor: keep up to N photos there that are worth labelling, without metadata.",
    )
    collect_mb: float = option(
        200.0, group=_FIELD, above=0, high=100_000, metavar="MB", help="With --collect: size of these photos together."
    )
    count_every: float | None = option(
        None,
        group=_FIELD,
        low=0,
        high=86_400,
        metavar="SECONDS",
        unset="10 for cameras and videos, else 0",
        help="With --monitor: look for drift in at most one photo per interval, as neighbouring frames are alike.",
    )

    def check_together(self) -> None:
        """Refuse options that have no effect."""
        for name in ("collect", "count_every"):
            if getattr(self, name) and self.monitor is None:
                raise OptionError(f"{{{name}=}} without {{monitor}}", **{name: getattr(self, name)})
