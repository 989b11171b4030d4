"""The options ``--size`` and ``--grey`` of the commands that decode photos without a run."""

from __future__ import annotations

import typer

SIZE = typer.Option("160", metavar="PIXELS", help="Height and width of the input: 96, or 240x320 where they differ.")
GREY = typer.Option(False, "--grey", help="One channel, grey, as for train.")
