"""Make a command's flags, and its help with headings, from the definition of its options."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import typer
from typer.core import TyperCommand

from edgetl_device.options import Option, Options, Value, groups_of, options_of, parsed, refuse_json_value

O = TypeVar("O", bound=Options)  # noqa: E741  # a class of options

_FILE = "Configuration file"
_PRINT_CONFIG = "--print-config"
# Of these, --json FILE is an earlier spelling of --out FILE.
_JSON_TOOK_A_FILE = ("bench", "deploy")
# Width of the first column of help; a longer flag gets its own line.
_FIRST_COLUMN = 30


@dataclass(frozen=True)
class Asked(Generic[O]):
    """The options of one call of a command.

    Attributes:
        options: Values from the command line, else the file, else the defaults.
        given: Values given on the command line or in the file, by name.
    """

    options: O
    given: Mapping[str, Value]


def add_command(
    app: typer.Typer, verb: str, kind: type[O], function: Callable[..., None], *, configured: bool = True
) -> None:
    """Add a command whose flags are the options of a class and the function's own parameters.

    Args:
        app: The application.
        verb: Name of the command, and of its table in a configuration file.
        kind: Class of its options.
        function: Called as ``function(asked, ...)``, where all arguments but the first are Typer's parameters.
        configured: Whether the options may also come from a configuration file. If not, they are a part of the
            command's options, and follow the function's own.
    """
    from .config_file import config_text, read_config

    def command(**values: Any) -> None:
        file, print_only = values.pop("config", None), values.pop("print_config", False)
        own = {name: values[name] for name in own_names}
        given = read_config(file, verb, kind) if file is not None else {}
        typed = {name: value for name, value in values.items() if value}
        typed |= {name.removeprefix("no_"): False for name in typed if name in negatives}
        given |= parsed(kind, typed)
        options = kind.of(**given)
        if print_only:
            sys.stdout.write(config_text(options, verb))
            return
        function(Asked(options, given), **own)

    negatives = {_negative_name(one) for one in options_of(kind) if one.kind is bool}
    hints = typing.get_type_hints(function)
    mine = list(inspect.signature(function).parameters.values())[1:]
    own_names = [one.name for one in mine]
    mine = [one.replace(annotation=hints[one.name], kind=inspect.Parameter.KEYWORD_ONLY) for one in mine]
    positional = [one for one in mine if isinstance(one.default, type(typer.Argument()))]
    flags = [parameter for options in groups_of(kind).values() for one in options for parameter in _parameters(one)]
    own_flags = [one for one in mine if one not in positional]
    if configured:
        parameters = [*positional, *flags, *own_flags, *_file_parameters(verb)]
    else:
        parameters = [*positional, *own_flags, *flags]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.__doc__ = function.__doc__
    app.command(verb, cls=PanelCommand)(command)


class PanelCommand(TyperCommand):
    """A command whose help lists options under headings, in plain text: Rich takes longer than Python to start."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; --print-config needs no input argument."""
        if self.name in _JSON_TOOK_A_FILE:
            refuse_json_value(self.name, args)
        required = [one for one in self.params if one.required] if _PRINT_CONFIG in args else []
        for one in required:
            one.required = False
        try:
            return super().parse_args(ctx, args)
        finally:
            for one in required:
                one.required = True

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each ``rich_help_panel``, in the order in which they first appear."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for one in self.get_params(ctx):
            record = one.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if one.param_type_name == "argument" else "Options"
                sections.setdefault(getattr(one, "rich_help_panel", None) or usual, []).append(record)
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows, col_max=_FIRST_COLUMN)


def _parameters(one: Option) -> list[inspect.Parameter]:
    """Return Typer's parameters for an option; they are None or empty unless given."""
    shared: dict[str, Any] = {"rich_help_panel": one.group, "show_default": False}
    help = one.help_text
    if one.kind is not bool:
        text = typer.Option(None, one.flag, *one.aliases, metavar=one.value_name, help=help, **shared)
        return [_parameter(one.name, list[str], text)]
    on = typer.Option(False, one.flag, *one.aliases, help=help, hidden=one.default is True, **shared)
    off = typer.Option(False, one.negative, help=_not(help), hidden=one.default is not True, **shared)
    return [_parameter(one.name, bool, on), _parameter(_negative_name(one), bool, off)]


def _not(help: str) -> str:
    return f"Do not {help[0].lower()}{help[1:]}"


def _file_parameters(verb: str) -> list[inspect.Parameter]:
    file = typer.Option(
        None,
        "--config",
        metavar="FILE",
        help=f"Read options from a TOML file (its table [{verb}] if it has tables); flags override them.",
        rich_help_panel=_FILE,
        show_default=False,
    )
    show = typer.Option(
        False, _PRINT_CONFIG, help="Print the resulting options as such a file and exit.", rich_help_panel=_FILE
    )
    return [_parameter("config", Path, file), _parameter("print_config", bool, show)]


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _negative_name(one: Option) -> str:
    return f"no_{one.name}"
