"""``edgetl deploy``: install a bundle on boards, show what is installed, or roll back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import echo, note, print_table
from edgetl.remote.deploy_options import DeployOptions
from edgetl_device.errors import InputError, OptionError

from .boards import BoardView
from .json_output import JSON, check_out, deliver
from .options import Asked, add_command

if TYPE_CHECKING:
    from edgetl.remote.deployment import BoardOutcome, Deployment
    from edgetl_device.slots import Installed

_BOARDS = "Boards"
# The options that --status and --rollback accept.
_SHARED = ("slots", "parallel")
_PAGES = (".html", ".htm")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    add_command(app, "deploy", DeployOptions, deploy)


def deploy(
    asked: Asked[DeployOptions],
    bundle: Path | None = typer.Argument(
        None, help="A bundle folder, a run folder, or an .edgetl file.", readable=False, show_default=False
    ),
    on: list[str] = typer.Option(
        [],
        metavar="HOST",
        help="A board, through SSH: pi@host. May be repeated.",
        show_default=False,
        rich_help_panel=_BOARDS,
    ),
    fleet: str = typer.Option(
        "", metavar="FILE", help="All boards of a fleet.toml.", show_default=False, rich_help_panel=_BOARDS
    ),
    status: bool = typer.Option(
        False, "--status", help="Without BUNDLE: show what is installed on the boards.", rich_help_panel=_BOARDS
    ),
    rollback: bool = typer.Option(
        False, "--rollback", help="Without BUNDLE: roll back to the previous bundle.", rich_help_panel=_BOARDS
    ),
    offline: bool = typer.Option(
        False, "--offline", help="Send all wheels from this machine over SSH.", rich_help_panel=_BOARDS
    ),
    json: bool = JSON,
    out: list[Path] = typer.Option(
        [],
        "--out",
        "-o",
        metavar="FILE",
        help="Write the deployment: .json, or .html for a page. May be repeated.",
        show_default=False,
    ),
) -> None:
    """Install a bundle on boards: each board checks it, switches atomically, and rolls back if anything fails.

    Canaries come first. Exit codes: 2 a board refused the bundle, 3 a board rolled back after the switch, 4 a board is
    unreachable.

    Example: edgetl deploy parts.edgetl --fleet fleet.toml --trust release-2027.pub --canary 0.2 -o status.html

    Example: edgetl deploy --status --on pi@shelf-1
    """
    from edgetl.cli.bench_remote import chosen_boards
    from edgetl.remote import deploy as remote
    from edgetl.remote.deployment import raise_failures
    from edgetl_device.bundle import Bundle

    if (bundle is not None) + status + rollback != 1:
        raise InputError("give a bundle, --status or --rollback", why="exactly one of them is needed")
    if bundle is None:
        _refuse_options(asked)
    boards = chosen_boards(on, fleet)
    if not boards:
        raise InputError("no boards", hint="Name them: --on HOST, or --fleet FILE.")
    _check_out(out)
    with BoardView(boards) as view:

        def changed(row: BoardOutcome, deployment: Deployment) -> None:
            failure = f"{row.outcome}: {row.why}" if row.failed else None
            view.ended(row.name, row.elapsed_s, failure, done=row.outcome)
            _write(deployment, out)

        if bundle is not None:
            opened = Bundle.open(bundle)
            done = remote.deploy(opened, boards, asked.options, offline=offline, say=view.say, changed=changed)
        else:
            work = remote.status if status else remote.roll_back
            done = work(boards, asked.options, offline=offline, say=view.say, changed=changed)
    _write(done, out)
    if not deliver(done, json=json, out=None):
        _print(done)
    for path in out:
        note(f"written: {path}")
    raise_failures(done)


def _refuse_options(asked: Asked[DeployOptions]) -> None:
    if unused := sorted(set(asked.given) - set(_SHARED)):
        raise OptionError(f"{{{unused[0]}}} is for a bundle", why="--status and --rollback do not install one")


def _check_out(out: Sequence[Path]) -> None:
    """Refuse files of other kinds, files that cannot be written, and a page without what makes it."""
    from edgetl._lib import extras

    for path in out:
        if path.suffix not in (".json", *_PAGES):
            raise InputError(f"--out {path}: unknown kind of file", why="it must end in .json or .html")
        check_out(path)
    if any(path.suffix in _PAGES for path in out):
        extras.check_installed("jinja2", extra="report")


def _write(deployment: Deployment, out: Sequence[Path]) -> None:
    """Write the deployment so far; called again as boards finish."""
    from edgetl.remote.status_page import render
    from edgetl_device._lib import documents
    from edgetl_device._lib.files import write_text

    for path in out:
        if path.suffix in _PAGES:
            write_text(path, render(deployment))
        else:
            documents.write(path, deployment)


def _print(deployment: Deployment) -> None:
    columns = ["board", "outcome", "runs", "version", "key", "previous", "seconds"]
    rows = [
        [
            board.name,
            board.outcome,
            *_described(board.slots.confirmed if board.slots else None),
            _described(board.slots.previous if board.slots else None)[0],
            f"{board.elapsed_s:.1f}",
        ]
        for board in deployment.boards
    ]
    name = deployment.bundle.name if deployment.bundle is not None else "boards"
    print_table(columns, rows, title=f"{name}: {deployment.counted()}")
    for board in deployment.boards:
        if board.why:
            echo(f"{board.name}: {board.outcome}: {board.why}")


def _described(installed: Installed | None) -> tuple[str, str, str]:
    if installed is None:
        return "-", "-", "-"
    version = "-" if installed.version is None else str(installed.version)
    return f"{installed.name} {installed.digest[:12]}", version, installed.key or "-"
