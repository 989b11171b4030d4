"""Boards in parallel: at most so many at a time, none waits for a slow one, and none begins after the end."""

from __future__ import annotations

import threading

import pytest

from edgetl.remote.connection import Children, Say
from edgetl.remote.fleet import Board
from edgetl.remote.parallel import on_boards
from edgetl_device.errors import InputError

BOARDS = [Board(f"b{number}", "host") for number in range(8)]


def quiet(board: Board, text: str) -> None:
    """Say nothing."""


@pytest.mark.parametrize("parallel", [1, 3, 20, None])
def test_at_most_so_many_work_at_a_time(parallel: int | None) -> None:
    lock, now, most = threading.Lock(), 0, 0
    together = threading.Barrier(min(parallel or 8, 8))

    def work(board: Board, children: Children, say: Say) -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        if board in BOARDS[: together.parties]:
            together.wait(20)
        with lock:
            now -= 1
        if board.name == "b4":
            raise InputError("not this one")
        return board.name

    seen: list[str] = []
    outcomes = on_boards(BOARDS, work, say=quiet, finished=lambda one: seen.append(one.board.name), parallel=parallel)
    assert most == together.parties
    assert [one.board for one in outcomes] == BOARDS
    assert [one.document for one in outcomes if one.error is None] == ["b0", "b1", "b2", "b3", "b5", "b6", "b7"]
    assert sorted(seen) == [board.name for board in BOARDS]


def test_who_starts_them_may_stop() -> None:
    failed: list[str] = []

    def work(board: Board, children: Children, say: Say) -> None:
        if board.name == "b2":
            raise InputError("this one")

    outcomes = on_boards(
        BOARDS,
        work,
        say=quiet,
        finished=lambda one: failed.append(one.board.name) if one.error else None,
        parallel=1,
        starting=lambda _: not failed,
    )
    assert [one.board.name for one in outcomes] == ["b0", "b1", "b2"]
    assert on_boards([], work, say=quiet, finished=lambda _: None) == []


def test_after_an_interruption_none_begins() -> None:
    begun: list[str] = []

    def work(board: Board, children: Children, say: Say) -> None:
        begun.append(board.name)

    def finished(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        on_boards(BOARDS, work, say=quiet, finished=finished, parallel=1)
    assert begun == ["b0"]
