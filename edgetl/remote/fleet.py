"""Boards and their settings, from ``--on`` or a ``fleet.toml``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from edgetl._lib.toml import read_toml
from edgetl_device.bench.options import BenchOptions
from edgetl_device.errors import InputError
from edgetl_device.options import options_of
from edgetl_device.text import closest

# Also used as file names: one result per board.
_NAME = re.compile(r"[\w@+-][\w.@+-]*")


# Options that a board may override; the file accepts "delegate" too, as the flag does.
_OWN_OPTIONS = ("threads", "variants", "delegates")


@dataclass(frozen=True)
class Board:
    """A board.

    Attributes:
        name: Name in tables and of the result file.
        host: Destination for ``ssh``: a host, an alias of ``~/.ssh/config``, ``user@host``, or
            ``ssh://user@host:port``.
        python: A Python on the board with edgetl-device and a runtime; if empty, edgetl creates a virtual environment.
        threads: As in :class:`edgetl_device.bench.options.BenchOptions`; None uses the command line's value.
        variants: As in BenchOptions; None uses the command line's value.
        delegates: As in BenchOptions, with paths on the board; None uses the command line's value.
        slots: Folder of the slots, as in :class:`edgetl.remote.deploy_options.DeployOptions`; if empty, the command
            line's value applies.
        field: Folder of the monitor, as in :class:`edgetl.remote.pull_options.PullOptions`; likewise.
    """

    name: str
    host: str
    python: str = ""
    threads: tuple[int, ...] | None = None
    variants: tuple[str, ...] | None = None
    delegates: tuple[str, ...] | None = None
    slots: str = ""
    field: str = ""

    def options(self, asked: BenchOptions) -> BenchOptions:
        """Return the options for this board: ``asked`` with the board's overrides."""
        own = {name: getattr(self, name) for name in _OWN_OPTIONS}
        return replace(asked, **{name: value for name, value in own.items() if value is not None})


def from_hosts(hosts: Sequence[str]) -> tuple[Board, ...]:
    """Return boards named after their hosts.

    Raises:
        InputError: A host is invalid or given twice.
    """
    return _checked(
        [Board(re.sub(r"[^\w.@+-]+", "-", host.removeprefix("ssh://")).lstrip("."), host) for host in hosts]
    )


def read_fleet(path: str | os.PathLike[str]) -> tuple[Board, ...]:
    """Read boards from a TOML file with one ``[[board]]`` table per board, with the fields of :class:`Board`.

    Raises:
        InputError: The file is missing or invalid.
        Unavailable: This Python cannot read TOML.
    """
    path = Path(path)
    document = read_toml(path)
    rows = document.get("board")
    if set(document) != {"board"} or not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: not a fleet", why="it must have [[board]] tables and nothing else")
    return _checked([_board(row, f"{path}: board {number}") for number, row in enumerate(rows, start=1)])


def _board(row: dict[str, Any], where: str) -> Board:
    known = [*(field.name for field in fields(Board)), "delegate"]
    if unknown := sorted(set(row) - set(known)):
        raise InputError(
            f"{where}: unknown field {unknown[0]!r}",
            why=f"there are {', '.join(known)}",
            hint=closest(unknown[0], known),
        )
    if "delegate" in row and "delegates" in row:
        raise InputError(f"{where}: delegate and delegates", why="they are the same", hint="Leave one out.")
    if wrong := [key for key in ("name", "host", "python", "slots", "field") if not isinstance(row.get(key, ""), str)]:
        raise InputError(f"{where}: {wrong[0]} must be text, not {row[wrong[0]]!r}")
    if missing := [key for key in ("name", "host") if not row.get(key)]:
        raise InputError(f"{where}: {missing[0]} is missing")
    row = {("delegates" if key == "delegate" else key): value for key, value in row.items() if value != ""}
    try:
        own = {one.name: one.check(row[one.name]) for one in options_of(BenchOptions) if one.name in row}
        BenchOptions.of(**own)
    except InputError as error:
        raise InputError(f"{where}: {error.what}", why=error.why, hint=error.hint) from None
    return Board(**row | own)


def _checked(boards: list[Board]) -> tuple[Board, ...]:
    for board in boards:
        # ssh would parse a leading dash as an option.
        if board.host.startswith("-") or not board.host or any(c.isspace() or not c.isprintable() for c in board.host):
            raise InputError(f"host {board.host!r}", why="must be a host, user@host, or an alias of ~/.ssh/config")
        if not _NAME.fullmatch(board.name):
            raise InputError(f"board name {board.name!r}", why="it names a file: letters, digits and . _ - + @ only")
    names = [board.name for board in boards]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"two boards are called {twice[0]!r}", hint="Give each its own name.")
    return tuple(boards)
