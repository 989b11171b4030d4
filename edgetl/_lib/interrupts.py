"""Defer Ctrl-C around code that would swallow it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uninterrupted() -> Iterator[Callable[[], None]]:
    """Defer Ctrl-C to the end of the block or of the decorated function.

    TensorFlow's C++ calls back into Python while it traces a graph, and sometimes while it computes; a
    KeyboardInterrupt raised there surfaces as another error, or not at all. A second Ctrl-C stops at once.

    Yields:
        A function to call where the block may end; in the main thread, it raises a deferred Ctrl-C.
    """
    handler = signal.getsignal(signal.SIGINT)
    # Python handles signals only in the main thread.
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    waiting = False

    def wait(number: int, frame: FrameType | None) -> None:
        nonlocal waiting
        if waiting:
            handler(number, frame)
        waiting = True

    def let_come() -> None:
        nonlocal waiting
        # In a worker thread, it would end only that thread.
        if waiting and threading.current_thread() is threading.main_thread():
            waiting = False
            handler(signal.SIGINT, None)

    signal.signal(signal.SIGINT, wait)
    try:
        yield let_come
    finally:
        signal.signal(signal.SIGINT, handler)
        let_come()
