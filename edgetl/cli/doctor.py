"""``edgetl doctor``: report what a machine lacks for edgetl, and how to get it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import echo

from .json_output import JSON, OUT, check_out, deliver

if TYPE_CHECKING:
    from edgetl.remote.fleet import Board
    from edgetl_device.doctor import Report


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("doctor")(doctor)


def doctor(
    json: bool = JSON,
    out: Path | None = OUT,
    on: list[str] = typer.Option(
        [], metavar="HOST", help="Check a board, through SSH: pi@host. May be repeated.", show_default=False
    ),
    fleet: str = typer.Option("", metavar="FILE", help="Check all boards of a fleet.toml.", show_default=False),
    offline: bool = typer.Option(False, "--offline", help="With boards: send all wheels from this machine over SSH."),
) -> None:
    """Check this machine or boards: packages, runtimes, delegates, Edge TPUs and permissions, clocks, heat, space.

    Exit code 4 if something is missing that edgetl needs; 0 with warnings.

    Example: edgetl doctor
    """
    from edgetl.cli.bench_remote import chosen_boards
    from edgetl.doctor import examine
    from edgetl_device.doctor import raise_problems

    check_out(out)
    if boards := chosen_boards(on, fleet):
        _doctor_boards(boards, json=json, out=out, offline=offline)
        return
    report = examine(place=Path())
    if not deliver(report, json=json, out=out):
        _print_checks(report)
    raise_problems(report)


def _doctor_boards(boards: Sequence[Board], *, json: bool, out: Path | None, offline: bool) -> None:
    from edgetl.cli.bench_remote import raise_failures
    from edgetl.cli.boards import BoardView
    from edgetl.remote.board import examine_board
    from edgetl.remote.connection import ssh_command
    from edgetl.remote.parallel import on_boards
    from edgetl_device.doctor import raise_problems
    from edgetl_device.errors import InputError, Unavailable

    if (json or out) and len(boards) > 1:
        flag = "--json" if json else "--out"
        raise InputError(f"{flag} reports one board, but there are {len(boards)}", hint="Check them one at a time.")
    ssh_command()  # raises if there is none
    with BoardView(boards) as view:
        outcomes = on_boards(
            boards,
            lambda board, children, say: examine_board(board, offline=offline, children=children, say=say),
            say=view.say,
            finished=view.finished,
        )
    examined = {outcome.board.name: outcome.document for outcome in outcomes if outcome.document is not None}
    for name, report in examined.items():
        if not deliver(report, json=json, out=out):
            echo(f"{name}:")
            _print_checks(report)
    raise_failures(outcomes)
    if len(boards) == 1:
        raise_problems(examined[boards[0].name])
    elif lacking := [name for name, report in examined.items() if not report.ok]:
        raise Unavailable(
            f"something that edgetl needs is missing on {', '.join(lacking)}", hint="See the lines marked problem."
        )


def _print_checks(report: Report) -> None:
    from edgetl_device.console import doctor_lines

    for line in doctor_lines(report):
        echo(line)
