"""Progress bars and notes on stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

from edgetl._lib.interrupts import uninterrupted
from edgetl_device.text import shown, shown_lines

Advance = Callable[[int], None]

# Without a terminal, a line is printed at least this often while files are counted.
_MOST_SILENT_S = 60.0


def note(text: str) -> None:
    """Print a note on stderr: a decision that edgetl made for the user, or something unexpected."""
    sys.stderr.write(shown_lines(text) + "\n")


def ignore(number: int) -> None:
    """Advance nothing: for callers that show no progress."""


def _nothing() -> None:
    pass


class Tracker:
    """Advances a progress bar when it is called with a number of units."""

    def __init__(self, advance: Advance, report: Callable[[str], None]) -> None:
        self._advance, self._report = advance, report

    def __call__(self, count: int) -> None:
        """Advance the bar."""
        self._advance(count)

    def report(self, text: str) -> None:
        """Show what has been reached: below the bar of a terminal, elsewhere as a line of its own."""
        self._report(shown(text))


@contextmanager
def track(description: str, total: int, *, unit: str = "images", waits: bool = False) -> Iterator[Tracker]:
    """Show a progress bar while the block runs; yield a tracker that advances it by a number of ``unit``.

    If stderr is not a terminal, one line is printed at the end instead. Ctrl-C takes effect when the bar advances and
    at the end of the block, never in the middle of a step; with ``waits`` (a download), it takes effect at once.
    """
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    console = Console(stderr=True, force_jupyter=False)
    description = shown(description)
    started = time.perf_counter()
    done, reached = 0, ""

    class Bar(Progress):
        def get_renderables(self) -> Iterable[RenderableType]:
            yield from super().get_renderables()
            if reached:
                yield Text(reached, no_wrap=True, overflow="ellipsis")

    with (
        nullcontext(_nothing) if waits else uninterrupted() as let_ctrl_c_come,
        Bar(
            # Names of files and variants are not markup.
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress,
    ):
        task = progress.add_task(description, total=total, rate="")

        def advance(count: int) -> None:
            nonlocal done
            done += count
            rate = done / max(time.perf_counter() - started, 1e-9)
            progress.update(task, advance=count, rate=f"{rate:,.0f} {unit}/s")
            let_ctrl_c_come()

        def report(text: str) -> None:
            nonlocal reached
            if console.is_terminal:
                reached = text
            else:
                note(f"{description:<28} {text}")

        yield Tracker(advance, report)
    seconds = time.perf_counter() - started
    took = f"{done:,} {unit} in {seconds:.1f} s ({done / max(seconds, 1e-9):,.0f}/s)"
    console.print(f"{description:<28} {took}", highlight=False, markup=False)


@contextmanager
def count(description: str, *, unit: str = "files") -> Iterator[Advance]:
    """Show how many of an unknown number of ``unit`` are done, and yield what advances that.

    A terminal shows it from the start. Elsewhere a line is printed after 1 s, 2 s, 4 s and so on, at least every
    minute, also while nothing advances, and one at the end; a block of less than a second prints nothing. Ctrl-C takes
    effect at once.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    console = Console(stderr=True, force_jupyter=False)
    description = shown(description)
    started = time.perf_counter()
    done = 0
    ended = threading.Event()

    def line(rest: str) -> None:
        console.print(f"{description:<28} {done:,} {unit} {rest}", highlight=False, markup=False)

    def report() -> None:
        wait_s = 1.0
        while not ended.wait(wait_s):
            elapsed_s = time.perf_counter() - started
            line(f"so far, {elapsed_s:.0f} s")
            wait_s = min(elapsed_s, _MOST_SILENT_S)

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<28}", markup=False),
        TextColumn("{task.completed:,.0f} " + unit, markup=False),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=None)

        def advance(number: int) -> None:
            nonlocal done
            done += number
            progress.update(task, advance=number)

        reporter = None if console.is_terminal else threading.Thread(target=report, daemon=True)
        if reporter:
            reporter.start()
        try:
            yield advance
        finally:
            ended.set()
            if reporter:
                reporter.join()
    if (seconds := time.perf_counter() - started) >= 1:
        line(f"in {seconds:.1f} s")


@contextmanager
def step(description: str) -> Iterator[None]:
    """Show a spinner while a block of unknown length runs, then its duration. Ctrl-C takes effect at the end."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, force_jupyter=False)
    description = shown(description)
    started = time.perf_counter()
    with uninterrupted(), console.status(Text(description)):
        yield
    console.print(f"{description:<28} {time.perf_counter() - started:.1f} s", highlight=False, markup=False)
