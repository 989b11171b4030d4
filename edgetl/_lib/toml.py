"""Read TOML files with tomllib or tomli."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from edgetl_device._lib.files import check_regular
from edgetl_device.errors import InputError, Unavailable

_MAX_BYTES = 1 << 20


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        InputError: The file is missing, too large, or not TOML.
        Unavailable: This Python cannot read TOML.
    """
    check_regular(path)
    with open(path, "rb") as stream:
        data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise InputError(f"{path}: is larger than {_MAX_BYTES} bytes", why="configuration files are much smaller")
    try:
        found: dict[str, Any] = _library().loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid TOML", why=str(error)) from None
    return found


def _library() -> Any:
    for name in ("tomllib", "tomli"):
        if importlib.util.find_spec(name):
            return importlib.import_module(name)
    raise Unavailable(
        "this Python cannot read TOML", why="tomllib came with Python 3.11", hint="Run: pip install tomli."
    )
