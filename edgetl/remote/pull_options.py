"""Options of ``edgetl field pull``."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl_device.errors import OptionError
from edgetl_device.options import Options, option


@dataclass(frozen=True)
class PullOptions(Options):
    """Options of :func:`edgetl.remote.pull.pull`.

    Raises:
        OptionError: A value is out of bounds.
    """

    folder: str = option(
        "~/field",
        metavar="DIR",
        help="Folder of the monitor on the board; the fleet file may set field for single boards.",
    )
    keep: bool = option(False, help="Remove nothing on the boards.")
    parallel: int = option(8, low=1, high=256, help="Boards at a time.")

    def check_together(self) -> None:
        """Refuse a folder that depends on where the agent runs."""
        if not self.folder.startswith(("/", "~/")):
            raise OptionError(
                "{folder=}: must begin with / or ~/", why="it is a folder on the board", folder=self.folder
            )
