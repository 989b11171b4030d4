"""Values read from the system, or :class:`Unknown`; never 0 or None."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from edgetl_device._lib.documents import Unknown

T = TypeVar("T")


def known(read: Callable[[], T]) -> T | Unknown:
    """Return the result of ``read``, or why the value is unknown."""
    try:
        return read()
    except OSError as error:
        return Unknown(f"{error.filename}: {error.strerror}" if error.filename else str(error) or type(error).__name__)
    except (ValueError, LookupError, subprocess.SubprocessError, metadata.PackageNotFoundError) as error:
        return Unknown(str(error) or type(error).__name__)


def text_of(path: Path) -> str:
    """Return a file of sysfs or the device tree without its trailing newline or NUL; OSError if it is missing."""
    return path.read_text(encoding="utf-8", errors="replace").strip().rstrip("\0")


def text_or_none(path: Path) -> str | None:
    """As :func:`text_of`, but None if the file cannot be read."""
    try:
        return text_of(path)
    except OSError:
        return None


def number_or_none(path: Path) -> int | None:
    """Return the integer in a file; None if there is none."""
    text = text_or_none(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None
