"""Work in threads stops soon after an item fails or Ctrl-C, not when all items are done."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from edgetl._lib import threads
from edgetl._lib.progress import track
from edgetl._lib.threads import in_threads, thread_pool

ITEMS = 2_000


@pytest.fixture(params=[1, 2, 4], autouse=True)
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    count = int(request.param)
    monkeypatch.setattr(threads, "available_cores", lambda: count)
    return count


def test_each_item_once_and_the_bar_is_moved_by_who_calls(workers: int) -> None:
    done: list[int] = []
    moved: list[threading.Thread] = []
    seen = set()

    def work(item: int) -> None:
        time.sleep(0.001)
        seen.add(threading.get_ident())
        done.append(item)

    in_threads(work, iter(range(100)), lambda count: moved.extend([threading.current_thread()] * count))
    assert sorted(done) == list(range(100))
    assert moved == [threading.current_thread()] * 100
    assert len(seen) == workers


def test_the_first_error_stops_the_workers() -> None:
    done: list[int] = []

    def fail_at_10(item: int) -> None:
        if item == 10:
            raise ZeroDivisionError
        done.append(item)
        time.sleep(0.001)

    with pytest.raises(ZeroDivisionError):
        in_threads(fail_at_10, iter(range(10**9)), lambda _: None)
    assert set(range(10)) <= set(done)
    assert len(done) < ITEMS


def press_ctrl_c_at(item: int, wanted: int) -> None:
    if item == wanted:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("wanted", [0, 1, 50, 51])
def test_ctrl_c_ends_the_work_wherever_it_comes(workers: int, wanted: int) -> None:
    done: list[int] = []

    def work(item: int) -> None:
        press_ctrl_c_at(item, wanted)
        time.sleep(0.002)
        done.append(item)

    def check() -> None:
        with track("Working", ITEMS) as advance:
            in_threads(work, range(ITEMS), advance)

    with pytest.raises(KeyboardInterrupt):
        check()
    assert len(done) < wanted + 50 * workers
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_drops_what_waits_in_a_pool(workers: int) -> None:
    done: list[int] = []

    def work(item: int) -> None:
        press_ctrl_c_at(item, 5)
        time.sleep(0.002)
        done.append(item)

    def check() -> None:
        with track("Working", ITEMS) as advance, thread_pool() as pool:
            for future in [pool.submit(work, item) for item in range(ITEMS)]:
                future.result()
                advance(1)

    with pytest.raises(KeyboardInterrupt):
        check()
    assert len(done) < 50 * workers


def test_no_pool_of_the_package_waits_for_everything() -> None:
    """A plain ThreadPoolExecutor does, so it is used only where waiting is right: for boards and checkpoints."""
    package = Path(threads.__file__).parents[1]
    users = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "ThreadPoolExecutor(" in path.read_text(encoding="utf-8")
    }
    assert users == {"_lib/threads.py", "remote/parallel.py", "training/checkpoint.py"}
