"""Options of a bench, shared by workstation and board."""

from __future__ import annotations

from dataclasses import dataclass

from edgetl_device.errors import OptionError
from edgetl_device.options import Options, option

ALL = "all"
# Copied from loadgen and edgetl_device.runtime, which import NumPy; a test compares them.
SCENARIOS = ("single-stream", "offline")
MAX_THREADS = MAX_BATCH = 256

MAX_DURATION_S, MAX_SUSTAINED_MIN = 3600.0, 60.0

_HOW_LONG, _MORE = "Duration", "Also measure"


def _each_delegate(text: str) -> list[str]:
    # A library's options may contain commas.
    return [text] if ".so" in text else text.split(",")


@dataclass(frozen=True)
class BenchOptions(Options):
    """Options of :func:`edgetl_device.bench.run.run_bench`. Each variant is measured with each delegate, thread
    count and batch.

    Raises:
        OptionError: A value is out of bounds, or two contradict each other.
    """

    variants: tuple[str, ...] = option(
        (ALL,), metavar="NAME,...", help="Variants by name, such as int8,float32, or all that can run here."
    )
    threads: tuple[int, ...] = option((1,), low=1, high=MAX_THREADS, help="Numbers of CPU threads: 1,2.")
    delegates: tuple[str, ...] = option(
        (),
        metavar="NAME,...",
        unset="the runtime's own choice",
        aliases=("--delegate",),
        split=_each_delegate,
        help="none, xnnpack, edgetpu[:usb|:pci|:N] with commas; or PATH.so[:key=value,...].",
    )
    batch: tuple[int, ...] = option(
        (1,), low=1, high=MAX_BATCH, help="Numbers of photos in one inference: 1,4,8. TFLite only."
    )
    data: str | None = option(
        None,
        metavar="PHOTOS",
        help="Use the photos in PHOTOS/<class>/ instead of the bundle's; the reference is float32 on this device.",
    )
    duration: float | None = option(
        None,
        group=_HOW_LONG,
        above=0,
        high=MAX_DURATION_S,
        metavar="SECONDS",
        unset="10, quick 1",
        help="Seconds of sampling per run, and at least 1,024 samples.",
    )
    quick: bool = option(False, help="Take only 130 samples; the verdict is degraded.")
    sustained: float | None = option(
        None,
        group=_HOW_LONG,
        above=0,
        high=MAX_SUSTAINED_MIN,
        metavar="MINUTES",
        help="One long run, with latency and temperature for every second.",
    )
    profile: bool = option(False, group=_MORE, help="Time of each operator, by LiteRT's profiler. TFLite only.")
    scenario: str | None = option(None, group=_MORE, choices=SCENARIOS, help="Also measure with MLPerf's LoadGen.")
    energy: bool = option(False, group=_MORE, help="Joules per photo, if the board has a sensor.")

    @property
    def named_variants(self) -> tuple[str, ...] | None:
        """The named variants; None for all that can run."""
        return None if self.variants == (ALL,) else self.variants

    def check_together(self) -> None:
        """Refuse options that contradict each other for any bundle."""
        if self.delegates:
            from edgetl_device.delegates.delegate import parse_delegates

            # Checks only the syntax: which libraries exist is known on the device.
            parse_delegates(self.delegates)
        if ALL in self.variants and len(self.variants) > 1:
            raise OptionError("{variants=}: must be all, or names", variants=self.variants)
        if self.sustained is not None and (self.duration is not None or self.quick):
            raise OptionError(
                "{sustained} with {duration} or {quick}", why="it says how long to measure", hint="Leave one out."
            )
        if self.scenario is not None and set(self.batch) != {1}:
            raise OptionError(
                "{batch=} with {scenario=}",
                why="LoadGen issues one photo at a time",
                hint="Leave one out.",
                batch=self.batch,
                scenario=self.scenario,
            )
