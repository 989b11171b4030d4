"""Work on all cores in threads that end when one fails or Ctrl-C comes.

For functions that spend their time where Python's lock is released: Pillow, hashing, files, native runtimes. The thread
that calls is the one that moves the bar: Ctrl-C comes there (:mod:`edgetl._lib.interrupts`), and never in a worker,
where it would stop nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

from edgetl._lib.cores import available_cores
from edgetl._lib.progress import Advance

_Item = TypeVar("_Item")


def in_threads(function: Callable[[_Item], None], items: Iterable[_Item], advance: Advance) -> None:
    """Call ``function`` on each item, on all cores, and ``advance(1)`` after each; the first error stops all.

    Each worker takes the next item when it is done with the last, so nothing queues up however many items there are.
    ``advance`` is called from this thread; what it raises stops all, too.
    """
    source, lock, stop = iter(items), threading.Lock(), threading.Event()
    # An item that is done, or a worker that has ended.
    ended: SimpleQueue[Future[None] | None] = SimpleQueue()

    def work() -> None:
        while not stop.is_set():
            with lock:
                try:
                    item = next(source)
                except StopIteration:
                    return
            function(item)
            ended.put(None)

    running = available_cores()
    with ThreadPoolExecutor(running) as pool:
        try:
            for _ in range(running):
                pool.submit(work).add_done_callback(ended.put)
            while running:
                worker = ended.get()
                if worker is None:
                    advance(1)
                else:
                    running -= 1
                    worker.result()
        finally:
            stop.set()


@contextmanager
def thread_pool() -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of a thread a core; when the block raises, what waits in it is dropped, and what runs is awaited."""
    pool = ThreadPoolExecutor(available_cores())
    try:
        yield pool
    finally:
        # After a block that ended well nothing waits any more.
        pool.shutdown(cancel_futures=True)
