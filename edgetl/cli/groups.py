"""A group of commands whose help does not cut their summaries."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

# Longer than any first sentence.
_WHOLE = 1000


class CommandGroup(TyperGroup):
    """A group whose help wraps the first sentence of each command; click cuts it to one line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the section of commands, in the order in which they were registered."""
        commands = [command for name in self.list_commands(ctx) if (command := self.get_command(ctx, name))]
        rows = [(str(one.name), one.get_short_help_str(_WHOLE)) for one in commands if not one.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def command_group(help: str) -> typer.Typer:
    """Return an empty group of commands; without one of them it prints its help."""
    return typer.Typer(cls=CommandGroup, help=help, no_args_is_help=True, rich_markup_mode=None)
