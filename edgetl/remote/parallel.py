"""Run the same work on several boards in parallel, keeping the error of each failed one."""

from __future__ import annotations

import time
import traceback
from collections import deque
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
    """Outcome on one board: a result or an error."""

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
    parallel: int | None = None,
    starting: Callable[[Board], bool] | None = None,
) -> list[Outcome[T]]:
    """Run ``work`` on boards in parallel and return the outcomes in the order of ``boards``.

    Args:
        boards: The boards, one thread each.
        work: Raises an EdgetlError for a board that fails; the others continue.
        say: Called with a board and a line of progress, from several threads.
        finished: Called with each outcome as soon as it is known, from the calling thread.
        parallel: Boards at a time, all when None; whenever one is done, the next begins.
        starting: Called just before a board begins, from the calling thread; False begins no more boards.

    Raises:
        KeyboardInterrupt: After all programs, local and on the boards, have been terminated.
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
            # A bug must not lose the results of the other boards.
            lines = "".join(traceback.format_exception(error))
            failed = EdgetlError(
                f"{type(error).__name__}: {error}",
                why=lines,
                hint="This is a defect in edgetl. Please report it with these lines and the command.",
            )
        return Outcome(board, document, failed, time.monotonic() - started)

    most = max(1, min(parallel or len(boards), len(boards)))
    waiting, futures, running = deque(boards), list[Future[Outcome[T]]](), set[Future[Outcome[T]]]()
    with ThreadPoolExecutor(max_workers=most) as pool:
        try:
            while True:
                while waiting and len(running) < most:
                    if starting is not None and not starting(waiting[0]):
                        waiting.clear()
                        break
                    futures.append(pool.submit(one, waiting.popleft()))
                    running.add(futures[-1])
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    finished(future.result())
        except BaseException:
            children.stop()
            raise
    return [future.result() for future in futures]
