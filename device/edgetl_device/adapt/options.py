"""Options of teaching a class, shared by workstation and board."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl_device.errors import OptionError
from edgetl_device.options import Options, option

HOW = "Give {add_class} for a class that the bundle does not have, {more_shots} for one that it has."
_SHARE = "four fifths of the photos, rounded down"


@dataclass(frozen=True)
class AdaptOptions(Options):
    """Options of teaching a class.

    Raises:
        OptionError: A value is out of bounds, or there is not exactly one class to teach.
    """

    add_class: str | None = option(
        None, metavar="NAME", help="Name of the class to add; the bundle must not have it yet."
    )
    more_shots: str | None = option(
        None, metavar="NAME", help="Name of a class of the bundle that the photos are more shots of."
    )
    shots: int | None = option(
        None,
        low=1,
        high=1000,
        metavar="PHOTOS",
        unset=_SHARE,
        help="Photos to learn from. The others, at least a fifth, are held out and become part of the proof.",
    )
    max_drop: float = option(
        2.0,
        low=0,
        high=100,
        metavar="POINTS",
        help="Largest allowed accuracy drop on the bundle's own held-out photos, in percentage points; exit with 3 if"
        " a variant loses more.",
    )
    aim: float = option(
        1.0,
        low=0,
        high=100,
        metavar="POINTS",
        help="With --add-class: the accuracy drop of the other classes to aim at, in percentage points. More gives more"
        " photos to the new class, up to what is best for all classes alike.",
    )
    mirror: bool = option(
        True, help="Learn from the mirror image of each photo, too; not where left and right make the difference."
    )
    threads: int = option(1, low=1, high=256, help="CPU threads for the models.")

    def check_together(self) -> None:
        """Refuse two classes, and an option without effect."""
        if self.add_class is not None and self.more_shots is not None:
            raise OptionError(
                "{add_class=} with {more_shots=}",
                why="exactly one class is taught at a time",
                hint=HOW,
                add_class=self.add_class,
                more_shots=self.more_shots,
            )
        if self.more_shots is not None and "aim" in self.changed():
            raise OptionError(
                "{aim=} with {more_shots=}",
                why="a class that is there is fitted to its photos, whatever the others lose",
                hint="Leave out {aim}.",
                aim=self.aim,
                more_shots=self.more_shots,
            )
