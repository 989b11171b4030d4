"""Which boards, and how each is benched: from ``--on`` or a ``fleet.toml``. Not for: reaching them."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgetl_device.errors import InputError, Unavailable

# Also names of files: one result a board.
_NAME = re.compile(r"[\w@+-][\w.@+-]*")


@dataclass(frozen=True)
class Board:
    """A board.

    Attributes:
        name: In tables, and of the result's file.
        host: What ``ssh`` takes: a host, an alias of ``~/.ssh/config``, ``user@host``, or ``ssh://user@host:port``.
        python: A Python on the board that has edgetl-device and a runtime, used as it is; empty for a virtual
            environment that edgetl makes there.
        threads: Numbers of threads with commas, or empty for what the command line says.
        variants: ``all`` or names with commas, or empty likewise.
        delegate: As in ``--delegate``, with paths on the board, or empty likewise.
    """

    name: str
    host: str
    python: str = ""
    threads: str = ""
    variants: str = ""
    delegate: str = ""


@dataclass(frozen=True)
class Settings:
    """How boards are benched, where their rows in the fleet file do not say otherwise.

    Attributes:
        variants: ``all`` or names with commas.
        threads: Numbers with commas.
        duration_s: Seconds of sampling for each variant and number of threads; None leaves it to the board.
        delegate: As ``--delegate``, or empty.
        offline: Bring all wheels from here; the board's pip reaches no index.
        batch: Numbers of images in one inference with commas.
        options: More options of the device's ``bench``, such as ``--quick``.
    """

    variants: str = "all"
    threads: str = "1"
    duration_s: float | None = None
    delegate: str = ""
    offline: bool = False
    batch: str = "1"
    options: tuple[str, ...] = ()


def from_hosts(hosts: Sequence[str]) -> tuple[Board, ...]:
    """Return boards named like their hosts.

    Raises:
        InputError: A host is not one, or is given twice.
    """
    return _checked(
        [Board(re.sub(r"[^\w.@+-]+", "-", host.removeprefix("ssh://")).lstrip("."), host) for host in hosts]
    )


def read_fleet(path: str | os.PathLike[str]) -> tuple[Board, ...]:
    """Read boards from a TOML file with one ``[[board]]`` each, with the fields of :class:`Board`.

    Raises:
        InputError: The file is absent or wrong.
        Unavailable: This Python cannot read TOML.
    """
    path = Path(path)
    try:
        document = _toml().loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not valid TOML", why=str(error)) from None
    rows = document.get("board")
    if set(document) != {"board"} or not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: not a fleet", why="it must have [[board]] tables and nothing else")
    return _checked([_board(row, f"{path}: board {number}") for number, row in enumerate(rows, start=1)])


def _board(row: dict[str, Any], where: str) -> Board:
    known = [field.name for field in fields(Board)]
    if unknown := sorted(set(row) - set(known)):
        close = difflib.get_close_matches(unknown[0], known, n=1)
        raise InputError(
            f"{where}: unknown field {unknown[0]!r}",
            why=f"there are {', '.join(known)}",
            hint=f"Did you mean {close[0]}?" if close else "",
        )
    # threads = 2 and threads = [1, 2] are what people write first.
    threads = row.get("threads", "")
    numbers = threads if isinstance(threads, list) else [threads]
    row = {**row, "threads": ",".join(map(str, numbers))}
    if wrong := [key for key, value in row.items() if not isinstance(value, str)]:
        raise InputError(f"{where}: {wrong[0]} must be text, not {row[wrong[0]]!r}")
    if missing := [key for key in ("name", "host") if not row.get(key)]:
        raise InputError(f"{where}: {missing[0]} is missing")
    return Board(**row)


def _checked(boards: list[Board]) -> tuple[Board, ...]:
    for board in boards:
        # ssh would take a dash for an option.
        if board.host.startswith("-") or not board.host or any(c.isspace() or not c.isprintable() for c in board.host):
            raise InputError(f"host {board.host!r}", why="must be a host, user@host, or an alias of ~/.ssh/config")
        if not _NAME.fullmatch(board.name):
            raise InputError(f"board name {board.name!r}", why="it names a file: letters, digits and . _ - + @ only")
    names = [board.name for board in boards]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two boards are called {twice[0]!r}", hint="Give each a name of its own.")
    return tuple(boards)


def _toml() -> Any:
    for name in ("tomllib", "tomli"):
        if importlib.util.find_spec(name):
            return importlib.import_module(name)
    raise Unavailable(
        "this Python cannot read TOML",
        why="tomllib came with Python 3.11",
        hint="Run: pip install tomli. Or name the boards with --on.",
    )
