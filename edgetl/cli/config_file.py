"""Options in a TOML file: ``--config`` reads it, ``--print-config`` writes it.

A file has one table per command, ``[train]``, ``[quantize]``, ``[adapt]``, ``[bench]``, ``[deploy]``, or the options of
one command and no table.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from edgetl_device.errors import InputError
from edgetl_device.options import Option, Options, Value, check_names, groups_of, options_of

VERBS = ("train", "import", "quantize", "adapt", "bench", "deploy", "pull", "review")
_WIDTH = 100


def read_config(path: Path, verb: str, kind: type[Options]) -> dict[str, Value]:
    """Return a file's values for the options of a command, by name, each checked on its own.

    Raises:
        InputError: The file is missing, not TOML or only for other commands, or has an invalid name or value.
    """
    from edgetl._lib.toml import read_toml

    document = read_toml(path)
    if document and all(name in VERBS and isinstance(value, dict) for name, value in document.items()):
        if verb not in document:
            raise InputError(
                f"{path}: has no table [{verb}]", why=f"it has {', '.join(f'[{one}]' for one in document)}"
            )
        document = document[verb]
    check_names(kind, document, where=str(path))
    try:
        return {one.name: one.check(document[one.name]) for one in options_of(kind) if one.name in document}
    except InputError as error:
        raise InputError(f"{path}: {error.what}", why=error.why, hint=error.hint) from None


def config_text(options: Options, verb: str) -> str:
    """Return options as a commented TOML table, which :func:`read_config` reads back as equal options."""
    lines = [f"[{verb}]"]
    for group, members in groups_of(type(options)).items():
        lines += ["", f"## {group}"]
        for one in members:
            lines += ["", *_described(one), _assigned(one, getattr(options, one.name))]
    return "\n".join(lines) + "\n"


def _described(one: Option) -> list[str]:
    bounds = f" {one.bounds[0].upper()}{one.bounds[1:]}." if one.bounds else ""
    default = f" Default: {one.default_text}." if one.default_text and one.kind is not bool else ""
    return textwrap.wrap(one.help + bounds + default, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _assigned(one: Option, value: Any) -> str:
    # TOML has no null: options that are None are commented out.
    return f"# {one.name} =" if value is None else f"{one.name} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        # A JSON string is a TOML string, except for DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
