"""The same work on several boards at once; each failure keeps its reason."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgetl.remote.connection import Children, Say
from edgetl.remote.fleet import Board
from edgetl_device.errors import EdgetlError, from_os_error

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """The outcome on one board: a document or an error."""

    board: Board
    document: T | None
    error: EdgetlError | None
    elapsed_s: float


def on_boards(
    boards: Sequence[Board],
    work: Callable[[Board, Children, Say], T],
    *,
    say: Callable[[Board, str], None],
    finished: Callable[[Outcome[T]], None],
) -> list[Outcome[T]]:
    """Do ``work`` on all boards at once and return their outcomes in the order of ``boards``.

    Args:
        boards: One thread each.
        work: Raises an EdgetlError for a board that fails; the others go on.
        say: Called, from several threads, with a board and what is going on there.
        finished: Called from this thread with each outcome when it is known, so that it can be kept.

    Raises:
        KeyboardInterrupt: Everything started for the boards, here and there, has been ended.
    """
    children = Children()

    def one(board: Board) -> Outcome[T]:
        started = time.monotonic()
        document, failed = None, None
        try:
            document = work(board, children, lambda text: say(board, text))
        except EdgetlError as error:
            failed = error
        except OSError as error:
            failed = from_os_error(error)
        except Exception as error:
            # A defect, and no reason to lose what the other boards have measured.
            lines = "".join(traceback.format_exception(error))
            failed = EdgetlError(
                f"{type(error).__name__}: {error}",
                why=lines,
                hint="This is a defect in edgetl. Please report it with these lines and the command.",
            )
        return Outcome(board, document, failed, time.monotonic() - started)

    with ThreadPoolExecutor(max_workers=len(boards)) as pool:
        futures: list[Future[Outcome[T]]] = [pool.submit(one, board) for board in boards]
        try:
            left = set(futures)
            while left:
                done, left = wait(left, return_when=FIRST_COMPLETED)
                for future in done:
                    finished(future.result())
        except BaseException:
            children.stop()
            raise
    return [future.result() for future in futures]
