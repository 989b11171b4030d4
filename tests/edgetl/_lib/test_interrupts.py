"""Ctrl-C in code that would swallow it is deferred to the end of the block, once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest

from edgetl._lib.extras import keras
from edgetl._lib.interrupts import uninterrupted
from edgetl._lib.progress import step, track
from edgetl.features.augment import augmenter
from edgetl_device.input_size import square


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_comes_at_the_end_of_the_block() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            press_ctrl_c()
            done.append("the rest of the block")
        done.append("what follows")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the rest of the block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_takes_the_place_of_the_error_that_it_may_have_caused() -> None:
    @uninterrupted()
    def work() -> None:
        press_ctrl_c()
        raise TypeError("Expected int32, but got None")

    with pytest.raises(KeyboardInterrupt):
        work()


def test_an_inner_block_hands_it_to_the_outer_one() -> None:
    done = []

    @uninterrupted()
    def work() -> None:
        with uninterrupted() as let_come:
            press_ctrl_c()
            let_come()
        done.append("the rest of the outer block")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the rest of the outer block"]


def test_the_second_ctrl_c_does_not_wait() -> None:
    done = []

    @uninterrupted()
    def work() -> None:
        for press in ("first", "second"):
            press_ctrl_c()
            done.append(press)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_ctrl_c_results_and_errors_pass() -> None:
    @uninterrupted()
    def halve(number: int) -> float:
        if number % 2:
            raise ValueError("odd")
        return number / 2

    assert halve(4) == 2
    with pytest.raises(ValueError, match="odd"):
        halve(3)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_where_python_does_not_handle_it_nothing_changes(handler: signal.Handlers) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        with uninterrupted():
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_may_use_it() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            done.append("block")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["block"]


def _ctrl_c_in(monkeypatch: pytest.MonkeyPatch, layer: type, method: str, done: list[str]) -> None:
    """Send Ctrl-C while a layer is traced, and record that tracing continued."""
    original: Callable[..., object] = getattr(layer, method)

    def interrupted(self: object, *args: object, **kwargs: object) -> object:
        press_ctrl_c()
        found = original(self, *args, **kwargs)
        done.append("traced")
        return found

    monkeypatch.setattr(layer, method, interrupted)


def test_it_comes_where_a_bar_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    draw = augmenter("standard", size=square(32), seed=0)
    _ctrl_c_in(monkeypatch, keras().layers.RandomContrast, "call", done)

    def work() -> None:
        with track("Views", 4) as advance:
            for _ in range(2):
                draw(np.zeros((2, 32, 32, 3), np.uint8))
                done.append("drawn")
                advance(2)
                done.append("next")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["traced", "drawn"]


@pytest.mark.parametrize(
    ("shown", "done"), [(step("Converting"), ["the rest"]), (track("download", 1, waits=True), [])]
)
def test_a_spinner_ends_with_it_and_a_download_at_once(shown: AbstractContextManager[object], done: list[str]) -> None:
    found = []

    def work() -> None:
        with shown:
            press_ctrl_c()
            found.append("the rest")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert found == done


def test_a_conversion_is_done_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgetl.export.conversion import float32_tflite

    done: list[str] = []
    layers = keras().layers
    model = keras().Sequential([layers.Input((8, 8, 3)), layers.Conv2D(2, 3)])
    _ctrl_c_in(monkeypatch, layers.Conv2D, "call", done)
    with pytest.raises(KeyboardInterrupt):
        float32_tflite(model)
    assert done == ["traced"]
