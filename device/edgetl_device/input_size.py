"""Height, width and channels of a model's input: the one place that parses and prints them."""

from __future__ import annotations

import numbers
import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from ._lib.documents import Is, stated
from .errors import InputError

SMALLEST, LARGEST = 16, 2048
Side = Annotated[int, Is(low=SMALLEST, high=LARGEST)]
MUST_BE = f"{SMALLEST} to {LARGEST}, or two of these as HEIGHTxWIDTH"
_TEXT = re.compile(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", re.ASCII)


@dataclass(frozen=True)
class InputSize:
    """What a model takes: the shape of one photo.

    In JSON, a square of three channels is the number of its side, as in documents of earlier versions.

    Attributes:
        height: Height in pixels.
        width: Width in pixels.
        channels: 3 for RGB, 1 for grey.
    """

    CLOSED: ClassVar[bool] = True
    BRIEF: ClassVar[Any] = Side

    height: Side
    width: Side
    channels: Literal[1, 3] = stated(3)

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            side = getattr(self, name)
            if type(side) is not int or not SMALLEST <= side <= LARGEST:
                raise InputError(f"input {name} {side!r}", why=f"must be a whole number from {SMALLEST} to {LARGEST}")
        if type(self.channels) is not int or self.channels not in (1, 3):
            raise InputError(f"{self.channels!r} input channels", why="must be 3 (RGB) or 1 (grey)")

    def __str__(self) -> str:
        """Return ``96`` for a square, else ``240x320``: what :func:`parse_size` reads. Channels are left out."""
        return str(self.height) if self.height == self.width else f"{self.height}x{self.width}"

    @property
    def px(self) -> str:
        """Text with the unit: ``96 px``, ``240x320 px``, ``96 px, grey``."""
        return f"{self} px{', grey' if self.channels == 1 else ''}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the pixels of one photo: height, width, channels."""
        return self.height, self.width, self.channels

    @property
    def shortest(self) -> int:
        """The shorter of the two sides, in pixels."""
        return min(self.height, self.width)

    @property
    def longest(self) -> int:
        """The longer of the two sides, in pixels."""
        return max(self.height, self.width)

    def brief(self) -> int | None:
        """Return the JSON number of a square of three channels; None for others."""
        return self.height if self == square(self.height) else None

    @classmethod
    def of_brief(cls, side: int) -> InputSize:
        """Return the size for that number."""
        return square(side)


def square(side: int) -> InputSize:
    """Return the size of square RGB photos."""
    return InputSize(side, side)


def parse_size(value: int | str, *, channels: Literal[1, 3] = 3) -> InputSize:
    """Parse the side of a square (``96``), or height and width (``240x320``).

    Raises:
        InputError: It is neither, or a side is out of bounds.
    """
    is_given = isinstance(value, str | numbers.Integral) and not isinstance(value, bool)
    found = _TEXT.fullmatch(str(value)) if is_given else None
    sides = [int(side) for side in found.groups(found[1])] if found else [0]
    if not all(SMALLEST <= side <= LARGEST for side in sides):
        raise InputError(f"size {value!r}", why=f"must be {MUST_BE}")
    return InputSize(sides[0], sides[1], channels)


def size_value(value: int | str | InputSize) -> int | str:
    """Return the value of an option in the one form it is kept in: a number for a square, else ``240x320``.

    Raises:
        InputError: It is no size.
    """
    size = parse_size(str(value) if isinstance(value, InputSize) else value)
    return str(size) if size.brief() is None else size.height
