"""The ``edgetl`` command: one thin module per command, and the only place where errors become text and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import Any, NoReturn

import typer

from edgetl import __version__
from edgetl.cli.groups import CommandGroup


class _PipeClosed(Exception):
    """The reader of stdout has closed the pipe, as ``edgetl ... | head`` does."""


class _Commands(CommandGroup):
    """The commands; click would report a closed pipe as failure 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _PipeClosed from error


app = typer.Typer(
    name="edgetl",
    cls=_Commands,
    help="From a folder of photos to a verified int8 image classifier on a small Linux board.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# In the order of use. Each module has a function ``register(app)``.
_COMMANDS = (
    "data",
    "models",
    "advise",
    "train",
    "import_model",
    "search",
    "evaluate",
    "quantize",
    "export",
    "compile",
    "pack",
    "keygen",
    "sign",
    "adapt",
    "bench",
    "latency",
    "deploy",
    "compare",
    "report",
    "results",
    "classify",
    "field",
    "review",
    "verify",
    "inspect",
    "doctor",
    "schema",
    "demo",
)

for _name in _COMMANDS:
    importlib.import_module(f"edgetl.cli.{_name}").register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgetl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None: ...


def main() -> None:
    """Run the command line and exit with its exit code."""
    from edgetl_device._lib.process import prepare
    from edgetl_device.errors import EdgetlError, from_os_error, is_out_of_memory, out_of_memory

    try:
        prepare()
        # edgetl reports problems with photos itself; Pillow's warnings would only clutter its output.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        app()
    except EdgetlError as error:
        _fail(error)
    except (_PipeClosed, BrokenPipeError):
        # Print nothing more, not even at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        known = from_os_error(error)
        if known.exit_code == EdgetlError.exit_code:
            _defect()
        _fail(known)
    except SystemExit as stop:
        # Ctrl-C: Typer uses this code, and so do commands that kept partial results.
        if stop.code == 130:
            sys.stderr.write("interrupted; what was finished is kept\n")
        raise
    except Exception as error:
        if is_out_of_memory(error):
            _fail(out_of_memory())
        _defect()


def _defect() -> NoReturn:
    """Print the traceback of the exception being handled, and exit."""
    import traceback

    traceback.print_exc()
    sys.stderr.write("This is a defect in edgetl. Please report it with the lines above and the command.\n")
    sys.exit(1)


def _fail(error: Exception) -> None:
    from edgetl_device.errors import EdgetlError

    assert isinstance(error, EdgetlError)
    sys.stderr.write(f"error: {error.for_command_line()}\n")
    sys.exit(error.exit_code)
