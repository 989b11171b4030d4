"""Options of a search."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from edgetl.training.options import TrainOptions
from edgetl_device.errors import OptionError
from edgetl_device.options import Options, option

_SPACE, _PHOTOS = "Space", "Photos"
SIZES = (96, 128, 160, 192, 224)


def _of_training(name: str) -> Any:
    """Return an option of training: its definition, here too."""
    one = next(field for field in dataclasses.fields(TrainOptions) if field.name == name)
    return dataclasses.field(default=one.default, metadata=one.metadata)


@dataclass(frozen=True)
class SearchOptions(Options):
    """Options of :func:`edgetl.search`.

    Raises:
        OptionError: A value is out of bounds, or two contradict each other.
    """

    budget: tuple[str, ...] = option(
        (),
        metavar="BOUND,...",
        unset="none; at least one bound is needed",
        help='What the int8 model may cost: "p95_ms<8, mb<3, drop_pp<0.5"; also p50_ms, p90_ms, peak_rss_mb.',
    )
    trials: int = option(12, low=1, high=10_000, help="Configurations to train, of all processes of this search.")
    minutes: float | None = option(
        None, above=0, high=100_000, unset="until all trials are done", help="Begin no trial after so many minutes."
    )
    seed: int = option(0, low=0, high=2**31 - 1, help="Seed of the splits, of sampling and of training.")
    backbones: tuple[str, ...] = option(
        (), group=_SPACE, metavar="NAME,...", unset="all whose weights are at hand", help="Backbones to search."
    )
    sizes: tuple[int, ...] = option(SIZES, group=_SPACE, low=16, high=2048, help="Input sizes to search, in pixels.")
    depths: int = option(
        2, group=_SPACE, low=0, high=20, help="Shorter networks of each backbone: it may end at so many earlier blocks."
    )
    epochs: int | None = option(
        None, group=_SPACE, low=1, high=100_000, unset="as in edgetl train", help="Epochs of a trial that is not ended."
    )
    fit: str | None = _of_training("fit")
    val: float = _of_training("val")
    test: float = _of_training("test")
    on_conflict: str = _of_training("on_conflict")

    def check_together(self) -> None:
        """Refuse a share of validation photos of 0: they choose."""
        if self.val == 0:
            raise OptionError("{val=}: validation photos choose the model", hint="Give {val} a share over 0.", val=0)
        if len(set(self.sizes)) != len(self.sizes):
            raise OptionError("{sizes=}: one is given twice", sizes=self.sizes)
