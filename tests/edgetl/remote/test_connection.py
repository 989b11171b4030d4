"""Replies from a board are checked like any other input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgetl.remote.agent import HELLO
from edgetl.remote.connection import Children, Connection
from edgetl_device.errors import Unavailable

ABOUT = {
    "root": "/root",
    "executable": "/usr/bin/python3",
    "python": [3, 11, 2],
    "machine": "aarch64",
    "bits": 64,
    "libc": ["glibc", "2.36"],
    "free_bytes": 1 << 30,
    "venv": True,
}


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the board's reply to any request."""
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\ncat "{tmp_path}/said"\ncat > /dev/null\n')
    program.chmod(0o755)
    monkeypatch.setenv("EDGETL_SSH", str(program))
    return tmp_path / "said"


def connected() -> Connection:
    return Connection("board", "python3", children=Children(), say=print)


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"root": 5}, "root must be text"), ({"python": [3, 11]}, "python must be a list of 3"), ({"venv": None}, "venv")],
)
def test_a_board_that_describes_itself_otherwise_is_named(board: Path, changed: dict[str, object], said: str) -> None:
    board.write_text(HELLO + json.dumps({"done": ABOUT | changed}) + "\n")
    with pytest.raises(Unavailable, match=f"the agent's reply: {said}"), connected():
        pass


def test_replies_of_another_shape_are_named(board: Path) -> None:
    replies = [ABOUT, "yes", {"exit": 0, "stdout": "text"}, ["a", 2]]
    board.write_text(HELLO + "".join(json.dumps({"done": reply}) + "\n" for reply in replies))
    with connected() as link:
        assert (link.about.machine, link.about.python) == ("aarch64", (3, 11, 2))
        with pytest.raises(Unavailable, match="must be true or false"):
            link.has("bundles/a")
        with pytest.raises(Unavailable, match="stderr is missing"):
            link.run(["true"])
        with pytest.raises(Unavailable, match=r"\[1\] must be text"):
            link.wanting({"a": "0" * 64})
