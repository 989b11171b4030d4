"""Options of a bench, on a workstation and on a board."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl_device.errors import OptionError
from edgetl_device.options import Options, option

ALL = "all"
# Copies from loadgen and edgetl_device.runtime, which would load NumPy; a test compares.
SCENARIOS = ("single-stream", "offline")
MAX_THREADS = MAX_BATCH = 256

MAX_DURATION_S, MAX_SUSTAINED_MIN = 3600.0, 60.0

_HOW_LONG, _MORE = "How long", "Also measure"


def _each_delegate(text: str) -> list[str]:
    # The options of a library have commas of their own.
    return [text] if ".so" in text else text.split(",")


@dataclass(frozen=True)
class BenchOptions(Options):
    """Options of :func:`edgetl_device.bench.run.run_bench`. Each variant is measured with each delegate, thread
    count and batch.

    Raises:
        OptionError: A value is out of bounds, or two contradict each other.
    """

    variants: tuple[str, ...] = option(
        (ALL,), metavar="NAME,...", help="Variants by name, such as int8,float32; all: those that can run here."
    )
    threads: tuple[int, ...] = option((1,), low=1, high=MAX_THREADS, help="Numbers of CPU threads: 1,2.")
    delegates: tuple[str, ...] = option(
        (),
        metavar="NAME,...",
        unset="what the runtime does by itself",
        aliases=("--delegate",),
        split=_each_delegate,
        help="none, xnnpack, edgetpu[:usb|:pci|:N] with commas; or PATH.so[:key=value,...].",
    )
    batch: tuple[int, ...] = option(
        (1,), low=1, high=MAX_BATCH, help="Numbers of photos in one inference: 1,4,8. TFLite only."
    )
    data: str | None = option(
        None,
        metavar="DIR",
        help="Photos in DIR/<class>/ instead of the bundle's own; drop and agreement are against float32, run here.",
    )
    duration: float | None = option(
        None,
        group=_HOW_LONG,
        above=0,
        high=MAX_DURATION_S,
        metavar="SECONDS",
        unset="10, quick 1",
        help="Seconds of sampling for each run, and at least 1,024 samples.",
    )
    quick: bool = option(False, help="Take only 130 samples; the verdict is degraded.")
    sustained: float | None = option(
        None,
        group=_HOW_LONG,
        above=0,
        high=MAX_SUSTAINED_MIN,
        metavar="MINUTES",
        help="One run of this length, with times and temperature for every second.",
    )
    profile: bool = option(False, group=_MORE, help="The time of each operator, where the runtime can tell.")
    scenario: str | None = option(None, group=_MORE, choices=SCENARIOS, help="Measure with MLPerf LoadGen too.")
    energy: bool = option(False, group=_MORE, help="Joules for each photo, where the board has a sensor.")

    @property
    def named_variants(self) -> tuple[str, ...] | None:
        """The variants that were named; None for all that can run."""
        return None if self.variants == (ALL,) else self.variants

    def check_together(self) -> None:
        """Refuse options that contradict each other for any bundle."""
        if self.delegates:
            from edgetl_device.delegates.delegate import parse_delegates

            # Whether they can be read; where the libraries are is known on the device.
            parse_delegates(self.delegates)
        if ALL in self.variants and len(self.variants) > 1:
            raise OptionError("{variants=}: all, or names", variants=self.variants)
        if self.sustained is not None and (self.duration is not None or self.quick):
            raise OptionError(
                "{sustained} with {duration} or {quick}", why="it says how long to measure", hint="Leave one out."
            )
        if self.scenario is not None and set(self.batch) != {1}:
            raise OptionError(
                "{batch=} with {scenario=}",
                why="LoadGen gives one photo at a time",
                hint="Leave one out.",
                batch=self.batch,
                scenario=self.scenario,
            )
