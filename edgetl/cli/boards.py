"""Show the progress of several boards on stderr: a live table on a terminal, else a line for each change."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgetl.cli.console.output import note

if TYPE_CHECKING:
    from edgetl.remote.fleet import Board
    from edgetl.remote.parallel import Outcome

# Output of native code that loads a model; not progress.
_NOISE = ("INFO:", "WARNING:", "W0000", "I0000")


class BoardView:
    """A context manager; call :meth:`say` and :meth:`finished` from any thread."""

    def __init__(self, boards: Sequence[Board]) -> None:
        self._lock = threading.Lock()
        self._states = {board.name: ("", "waiting") for board in boards}
        self._started_s = time.monotonic()
        self._took_s: dict[str, float] = {}
        self._live: Any = None

    def __enter__(self) -> BoardView:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(get_renderable=self._table, console=Console(stderr=True), refresh_per_second=4)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def say(self, board: Board, text: str) -> None:
        """Show what a board is doing."""
        if not text.startswith(_NOISE):
            self._show(board.name, "", text)

    def finished(self, outcome: Outcome[Any]) -> None:
        """Show a board's outcome."""
        self.ended(outcome.board.name, outcome.elapsed_s, None if outcome.error is None else reason(outcome))

    def ended(self, name: str, elapsed_s: float, failure: str | None, done: str = "done") -> None:
        """Show the outcome for the board with this name."""
        self._took_s[name] = elapsed_s
        if failure is None:
            self._show(name, "green", f"{done} in {elapsed_s:.1f} s")
        else:
            self._show(name, "red", f"failed: {failure}")

    def _show(self, name: str, style: str, text: str) -> None:
        with self._lock:
            self._states[name] = (style, text)
            if self._live is None:
                note(f"{name}: {text}")

    def _table(self) -> Any:
        from rich.box import SIMPLE
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE, pad_edge=False)
        for column in ("board", "seconds", "state"):
            table.add_column(column, justify="right" if column == "seconds" else "left", overflow="fold")
        with self._lock:
            for name, (style, text) in self._states.items():
                took_s = self._took_s.get(name, time.monotonic() - self._started_s)
                # Text, not a string: a board's output must not be read as markup.
                table.add_row(Text(name), f"{took_s:.0f}", Text(text, style=style))
        return table


def reason(outcome: Outcome[Any]) -> str:
    """Return why a board gave no result, in one line."""
    assert outcome.error is not None
    return ". ".join(part.rstrip(".") for part in str(outcome.error).splitlines())
