"""``edgetl field``: bring home what monitors wrote on boards, and show it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import echo, print_json, print_table, word
from edgetl.cli.groups import command_group
from edgetl.remote.pull_options import PullOptions
from edgetl_device.errors import InputError

from .boards import BoardView
from .json_output import JSON, check_out, deliver
from .options import Asked, add_command

if TYPE_CHECKING:
    from edgetl.remote.pull import Pull, PulledBoard

_BOARDS = "Boards"


def register(app: typer.Typer) -> None:
    """Add the command group to the application."""
    group = command_group("Bring home what monitors wrote on boards, and show it.")
    add_command(group, "pull", PullOptions, pull)
    group.command("report")(report)
    app.add_typer(group, name="field")


def pull(
    asked: Asked[PullOptions],
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
    out: Path = typer.Option(Path("field"), metavar="DIR", help="Folder here; each board has its own in it."),
    json: bool = JSON,
) -> None:
    """Bring the records and photos of monitors to this machine, and remove on the boards what is here.

    A file is removed there only after the same bytes are on the disk here. What was cut goes on where it ended.

    Example: edgetl field pull --fleet fleet.toml --out field/
    """
    from edgetl.cli.bench_remote import chosen_boards
    from edgetl.remote.pull import pull as run_pull
    from edgetl.remote.pull import raise_failures

    boards = chosen_boards(on, fleet)
    if not boards:
        raise InputError("no boards", hint="Name them: --on HOST, or --fleet FILE.")
    with BoardView(boards) as view:

        def finished(row: PulledBoard) -> None:
            view.ended(row.name, row.seconds, row.why if row.outcome == "failed" else None)

        done = run_pull(boards, out, asked.options, say=view.say, finished=finished)
    if not deliver(done, json=json, out=None):
        _print(done, out)
    raise_failures(done)


def _print(done: Pull, out: Path) -> None:
    columns = ("board", "outcome", "days", "photos", "MB", "removed there", "seconds")
    rows = [
        (
            row.name,
            row.outcome,
            str(row.days),
            str(row.photos),
            f"{row.bytes / 1e6:.1f}",
            str(row.removed),
            f"{row.seconds:.1f}",
        )
        for row in done.boards
    ]
    print_table(columns, rows, title=f"records and photos in {out}")
    if any(row.photos for row in done.boards):
        echo(f"next      edgetl field report {word(out)}")


def report(
    folder: Path = typer.Argument(
        ..., help="Folder of edgetl field pull, or of one monitor.", readable=False, show_default=False
    ),
    out: Path | None = typer.Option(
        None,
        "--out",
        "-o",
        metavar="FILE",
        help="HTML file to write.  [default: FOLDER/report.html]",
        show_default=False,
    ),
    json: bool = JSON,
) -> None:
    """Write a page about the field: boards over time, drift, photos worth labelling, boards unlike the others.

    Example: edgetl field report field/ -o field.html
    """
    from edgetl._lib.progress import note
    from edgetl.field.page import render
    from edgetl.field.summary import summarize
    from edgetl_device._lib.files import write_text

    target = out or folder / "report.html"
    check_out(target)
    found = summarize(folder)
    write_text(target, render(found, folder))
    if json:
        note(f"report: {target}")
        print_json(found)
        return
    rows = [
        (
            board.name,
            f"{board.photos:,}",
            f"{board.unknown / board.told:.1%}" if board.told else "-",
            f"{board.alarms} of {board.windows:,}" if board.windows else "-",
            ", ".join(one.measure for one in board.differs) or "-",
            board.last[:16].replace("T", " "),
        )
        for board in found.boards
    ]
    print_table(("board", "photos", "unknown", "drift", "unlike the others", "last record"), rows)
    for board in found.boards:
        if board.drifts:
            echo(f"{board.name}: photos no longer look like those that the model was tested on")
    echo(f"report    {target}")
    echo(f"next      edgetl review {word(folder)}")
