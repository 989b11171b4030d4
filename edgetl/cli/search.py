"""``edgetl search``: parse, call :func:`edgetl.searching.run.search`, print the winner and what the budget cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgetl.cli.console.output import DATA_FORMS, accuracy_text, echo, print_json, print_table
from edgetl.searching.options import SearchOptions
from edgetl_device.options import BASICS

from .json_output import JSON
from .options import Asked, add_command

if TYPE_CHECKING:
    from edgetl.searching.document import Cost, FinalModel, SearchDocument

_BOARD = "Board"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add_command(app, "search", SearchOptions, search)


def search(
    asked: Asked[SearchOptions],
    data: Path = typer.Argument(..., help=DATA_FORMS, readable=False, show_default=False),
    out: Path | None = typer.Option(
        None, metavar="DIR", help="Folder of the search.  [default: runs/<name of DATA>-search]", rich_help_panel=BASICS
    ),
    on: str = typer.Option(
        "",
        metavar="HOST",
        help="Measure models on a board, through SSH: pi@host.",
        show_default=False,
        rich_help_panel=_BOARD,
    ),
    offline: bool = typer.Option(
        False, "--offline", help="Send all wheels from this machine over SSH.", rich_help_panel=_BOARD
    ),
    json: bool = JSON,
) -> None:
    """Find the best int8 model for these photos under a budget: backbone, input size, depth and training.

    Networks are measured with random weights first, and those over the budget never trained; of the others, linear
    probes on frozen features choose a few. Trials of these are trained, and bad ones ended early. The winner's bundle
    is DIR/bundle; search.html shows all trials. The same command continues a search that was ended, and several may
    work on one at a time.

    Example: edgetl search photos/ --budget "p95_ms<8, mb<3, drop_pp<0.5" --on pi@host
    """
    from edgetl.remote.fleet import from_hosts
    from edgetl.searching.run import PAGE, default_place
    from edgetl.searching.run import search as run_search

    place = out or default_place(data)
    (board,) = from_hosts([on]) if on else (None,)
    found = run_search(data, place, asked.options, board=board, offline=offline)
    if json:
        print_json(found)
        return
    _print(found)
    echo(f"bundle    {place / 'bundle'}")
    echo(f"report    {place / PAGE}")


def _print(found: SearchDocument) -> None:
    models = [("winner", found.winner), ("baseline", found.baseline)]
    rows = [_row(name, one) for name, one in models if one is not None]
    print_table(("", "network", "test top-1, int8", "p95 ms", "MB"), rows)
    assert found.winner is not None
    trained = len({one.network for one in found.trials})
    echo(f"trained   {len(found.trials)} trials of {trained} of {len(found.networks)} networks")
    echo(f"winner    edgetl train {found.request.data} {found.winner.flags}")
    if lead := found.against_baseline:
        low, high = lead.ci95_pp
        echo(f"against   edgetl's default: {lead.difference_pp:+.1f} pp (95% CI {low:+.1f} to {high:+.1f})")
    echo(found.conclusion)


def _row(name: str, one: FinalModel) -> tuple[str, ...]:
    return name, one.name, accuracy_text(one.test), _p95(one.cost), f"{one.cost.bytes / 1e6:.2f}"


def _p95(cost: Cost) -> str:
    return "-" if not isinstance(cost.p95_ms, float) else f"{cost.p95_ms:.2f}"
