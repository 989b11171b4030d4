"""Generate the pages of docs/reference/ that are made from the code: python docs/generate.py.

``PAGES`` has one function per page. ``tests/edgetl/test_docs.py`` fails if a page differs from what its function
returns.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "reference"
_MADE = "<!-- Made by docs/generate.py: change the code instead, and run it again. -->"


def cli() -> str:
    """Return the page of both command lines, from the parsers themselves."""
    import typer

    from edgetl.cli import app

    lines = [
        "# Command line",
        "",
        "`edgetl COMMAND --help` prints this too. [Exit codes](../index.md#exit-codes) are the same for all commands.",
        "",
    ]
    for names, command in commands(typer.main.get_command(app), ("edgetl",)):
        lines += _command(" ".join(names), command)
    lines += [
        "## python -m edgetl_device",
        "",
        "The device package's own command line: JSON on stdout, for boards without `edgetl`.",
        "",
    ]
    for name, parser in device_commands().items():
        lines += _device_command(name, parser)
    return "\n".join(lines)


def commands(command: Any, names: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any]]:
    """Yield every command below a group with the words that call it, in the group's order."""
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from commands(inner, (*names, name))
        elif not inner.hidden:
            yield (*names, name), inner


def device_commands() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command of ``python -m edgetl_device``."""
    from edgetl_device.__main__ import _parser

    (found,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def _command(title: str, command: Any) -> list[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    required = [f"{one.opts[0]} {_name(one)}" for one in options if one.required]
    words = [title, *(_argument(one) for one in arguments), *required, "[OPTIONS]" if options else ""]
    usage = " ".join(words).rstrip()
    lines = [f"## {title}", "", *_paragraphs(command.help, usage)]
    if arguments:
        lines += _table("argument", [(f"`{_name(one)}`", _cell(one.help), "", "") for one in arguments])
    # In the order in which panels first occur, as --help shows them.
    for panel in dict.fromkeys(one.rich_help_panel for one in options):
        rows = [(_flags(one), *_described(one)) for one in options if one.rich_help_panel == panel]
        if panel:
            lines += [f"**{_cell(panel)}**", ""]
        lines += _table("option", rows)
    return lines


def _table(first: str, rows: list[tuple[str, str, str, str]]) -> list[str]:
    """Return rows of name, meaning, values and default as a table, without empty columns."""
    columns = [i for i in range(4) if i < 2 or any(row[i] for row in rows)]
    heads = (first, "meaning", "values", "default")
    table = [[heads[i] for i in columns], ["---"] * len(columns), *([row[i] for i in columns] for row in rows)]
    return [*(f"| {' | '.join(cells)} |" for cells in table), ""]


def _paragraphs(help: str | None, usage: str) -> list[str]:
    """Return the help of a command as Markdown: usage and examples are one block of code."""
    lines: list[str] = []
    code = [usage]
    for paragraph in (help or "").replace("\b\n", "").split("\n\n"):
        head, colon, rest = paragraph.partition(":")
        if head in ("Example", "Examples") and colon:
            code += ["", *(line.strip() for line in rest.strip().splitlines())]
        else:
            lines += [_cell(" ".join(paragraph.split())), ""]
    return [*lines, "```", *code, "```", ""]


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _argument(argument: Any) -> str:
    name = _name(argument) + ("..." if argument.nargs == -1 and "..." not in _name(argument) else "")
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _flags(option: Any) -> str:
    flags = ", ".join(f"`{flag}`" for flag in option.opts)
    if option.secondary_opts:
        flags += " / " + ", ".join(f"`{flag}`" for flag in option.secondary_opts)
    return flags


def _described(option: Any) -> tuple[str, str, str]:
    """Return meaning, values and default of an option, which its help may end with: ``[1 to 8; default: 2]``."""
    help, _, bracket = (option.help or "").partition("  [")
    values, _, default = bracket.removesuffix("]").rpartition("default: ")
    values = values.rstrip("; ").removeprefix("one of ")
    if not values and "|" in (option.metavar or ""):
        values = option.metavar.strip("[]").replace("|", ", ")
    return _cell(help), _cell(values), _cell(default) or _default(option)


def _default(option: Any) -> str:
    if option.required:
        return "required"
    default = option.default
    if not option.show_default or default is None or default is False or isinstance(default, (list, tuple)):
        return ""
    if isinstance(option.show_default, str):
        return _cell(option.show_default)
    return f"`{option.opts[0] if default is True else getattr(default, 'value', default)}`" if default != "" else ""


def _device_command(name: str, parser: argparse.ArgumentParser) -> list[str]:
    title = f"edgetl_device {name}"
    lines = [f"### {title}", "", f"{_cell(parser.description)}.", ""]
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    rows = []
    for action in actions:
        flags = ", ".join(f"`{flag}`" for flag in action.option_strings) or f"`{action.metavar or action.dest}`"
        values = ", ".join(map(str, action.choices)) if action.choices else ""
        unset = action.default is None or action.default is False or action.default in ("", [], argparse.SUPPRESS)
        help, _, bracket = (action.help or "").partition("  [")
        bounds, _, default = bracket.removesuffix("]").rpartition("default: ")
        values = values or bounds.rstrip("; ").removeprefix("one of ")
        rows.append((flags, _cell(help), _cell(values), _cell(default) or ("" if unset else f"`{action.default}`")))
    return lines + (_table("option", rows) if rows else [])


def _cell(text: str | None) -> str:
    """Escape text for Markdown, also in a table cell."""
    text = (text or "").replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;").replace("*", "\\*")
    return text.replace("_", "\\_").replace("[", "\\[")


_OPTIONS = """# Options

`edgetl train`, `import`, `quantize`, `bench` and `deploy` take each option as a flag, from a configuration file, or
as a keyword argument in Python, where dashes become underscores: `--batch-size 16`, `batch_size = 16`,
`batch_size=16`. All are checked in the same way, before any work begins.

## Configuration file

`--print-config` writes a file with every option and its meaning; `--config` reads it:

```
edgetl train --epochs 30 --print-config > edgetl.toml
edgetl quantize --print-config >> edgetl.toml
edgetl train photos/ --config edgetl.toml --seed 3
edgetl quantize runs/photos --config edgetl.toml
```

The command line overrides the file, and the file the defaults; `--no-quick` and the like turn off what the file
turns on. A file has a table for each command, `[train]`, `[import]`, `[quantize]`, `[bench]`, `[deploy]`, or the
options of one command and no table. An unknown name is refused. If a default below is a description, it depends on the
photos, the backbone or the machine; `run.json` records the value.
"""

_CODES = """# Codes

Every finding, check and reason of a verdict has a code. Texts may change; codes are stable. JSON documents contain
them, and `--fail-if` takes the codes of a verdict: `edgetl bench BUNDLE --fail-if int8.noisy-latency`.
"""


def options() -> str:
    """Return the page of all options, from their definitions."""
    from edgetl.importing.options import ImportOptions
    from edgetl.quantization.options import QuantizeOptions
    from edgetl.remote.deploy_options import DeployOptions
    from edgetl.remote.pull_options import PullOptions
    from edgetl.review.options import ReviewOptions
    from edgetl.searching.options import SearchOptions
    from edgetl.training.options import TrainOptions
    from edgetl_device.adapt.options import AdaptOptions
    from edgetl_device.bench.options import BenchOptions
    from edgetl_device.options import markdown_table

    verbs = (
        ("train", TrainOptions),
        ("search", SearchOptions),
        ("import", ImportOptions),
        ("quantize", QuantizeOptions),
        ("adapt", AdaptOptions),
        ("bench", BenchOptions),
        ("deploy", DeployOptions),
        ("field pull", PullOptions),
        ("review", ReviewOptions),
    )
    return "\n".join([_OPTIONS, *(f"## edgetl {verb}\n\n{markdown_table(kind)}" for verb, kind in verbs)])


def documents() -> str:
    """Return the page of all documents, from their classes."""
    from edgetl.documents import page

    return page()


def codes() -> str:
    """Return the page of the codes of all reasons, from their tables."""
    from edgetl.data import AUDIT
    from edgetl.doctor import WORKSTATION
    from edgetl.quantization.findings import CALIBRATION
    from edgetl_device.reasons import DOCTOR, VERDICT

    parts = [_CODES]
    for title, reasons in (
        ("Verdict of a measurement", VERDICT),
        ("Checks of a machine", DOCTOR),
        ("Additional checks of a workstation", WORKSTATION),
        ("Findings on a data set", AUDIT),
        ("Findings on calibration photos", CALIBRATION),
    ):
        cells = [(f"`{one.code}`", one.severity, _cell(one.meaning), _cell(one.advice)) for one in reasons.values()]
        rows = [("code", "severity", "meaning", "what to do"), ("---",) * 4, *cells]
        parts.append("\n".join([f"## {title}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]))
    return "\n".join(parts)


_MUTANTS = """# Mutants

Each line is a wrong change of one place in the code, and the test that must fail with it. `make mutants` makes the
changes, one at a time in a copy of the checkout, and runs these tests; without a change they must pass.
[Reliability](../reliability.md#mutants) has the results.
"""


def mutants() -> str:
    """Return the page of the breaks that tests must notice, from ``tests/mutants``."""
    sys.path.insert(0, str(FOLDER.parents[1] / "tests" / "mutants"))
    try:
        from mutant import by_area

        areas = by_area()
    finally:
        del sys.path[0]

    parts = [_MUTANTS]
    for area, found in areas.items():
        cells = [(_cell(one.what), f"`{one.file}`", ", ".join(f"`{test}`" for test in one.tests)) for one in found]
        rows = [("broken", "file", "noticed by"), ("---",) * 3, *cells]
        parts.append("\n".join([f"## {area}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]))
    return "\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli,
    "options.md": options,
    "documents.md": documents,
    "codes.md": codes,
    "mutants.md": mutants,
}


def pages() -> dict[Path, str]:
    """Return the text of every page that is made from the code."""
    return {FOLDER / name: f"{page().rstrip()}\n\n{_MADE}\n" for name, page in PAGES.items()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
        print(path)
