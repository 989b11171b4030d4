"""Run a function on all cores in threads that stop when one fails or on Ctrl-C.

For functions that release the GIL: Pillow, hashing, files, native runtimes. The calling thread advances the progress
bar and receives Ctrl-C (:mod:`edgetl._lib.interrupts`); in a worker, it would stop only that worker.
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
    """Call ``function`` on each item, on all cores, and ``advance(1)`` after each; the first error stops all workers.

    Each worker takes the next item when it has finished one, so no queue builds up. ``advance`` is called from this
    thread; an exception from it stops all workers too.
    """
    source, lock, stop = iter(items), threading.Lock(), threading.Event()
    # Events: an item is finished, or a worker has ended.
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
    """Yield a pool with one thread per core; if the block raises, cancel pending calls and wait for running ones."""
    pool = ThreadPoolExecutor(available_cores())
    try:
        yield pool
    finally:
        # After a successful block nothing is pending.
        pool.shutdown(cancel_futures=True)
