"""Errors that say what is wrong, why, and what to do next; each class carries the exit code of the command line."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from typing import Any

# Writes stop with one of these when the disk, the quota or the allowed file size is used up.
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_REFERENCE = re.compile(r"\{(?P<name>[a-z]\w*)(?P<value>=?)\}")


class EdgetlError(Exception):
    """Base of every error that edgetl raises on purpose.

    Where ``options`` are given, ``{lr=}`` in the texts stands for an option and its value and ``{lr}`` for its name
    alone: the message says ``lr=7`` and ``lr`` to who calls a function, ``--lr 7`` and ``--lr`` to who types a command.

    Args:
        what: What is wrong, with the offending value or file.
        why: Why it is wrong, where that is not plain from ``what``.
        hint: What to do next.
        options: The values of the options that the texts refer to, by name.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", hint: str = "", options: Mapping[str, Any] | None = None) -> None:
        self.options, self._parts = options, (what, why, hint)
        self.what, self.why, self.hint = (self._rendered(part, _as_keyword) for part in self._parts)
        super().__init__(self.what)

    def __str__(self) -> str:
        return _lines(self.what, self.why, self.hint)

    def for_command_line(self) -> str:
        """Return the message as a command prints it: with flags in the place of keyword arguments."""
        return _lines(*(self._rendered(part, _on_command_line) for part in self._parts))

    def _rendered(self, text: str, say: Callable[..., str]) -> str:
        options = self.options
        if options is None:
            return text

        def say_reference(found: re.Match[str]) -> str:
            name = found["name"]
            return say(name, options[name]) if found["value"] and name in options else say(name)

        return _REFERENCE.sub(say_reference, text)


class InputError(EdgetlError):
    """The request or the input is wrong: a flag, a photo, a data set, a bundle."""

    exit_code = 2


class OptionError(InputError):
    """The value of an option is wrong, or contradicts another one's."""

    def __init__(self, what: str, *, why: str = "", hint: str = "", **options: Any) -> None:
        super().__init__(what, why=why, hint=hint, options=options)


class GateFailed(EdgetlError):
    """A measured value missed a bound that the user set. Reports are written before this is raised."""

    exit_code = 3


class Unavailable(EdgetlError):
    """This machine lacks something: a package, a runtime, a delegate, disk space, a reachable device."""

    exit_code = 4


class NumPyTooNew(Unavailable):
    """The TFLite runtime that is installed was built for NumPy 1."""


def from_os_error(error: OSError) -> EdgetlError:
    """Turn what the operating system refused into an error with a next step."""
    where = f"{error.filename}: " if error.filename else ""
    reason = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        return Unavailable(f"{where}could not be written: {reason}", hint="Free some space, or choose another place.")
    if isinstance(error, FileNotFoundError):
        return InputError(f"{where}no such file or folder", hint="Check the path.")
    if isinstance(error, PermissionError):
        return InputError(f"{where}{reason}", hint="Change its permissions, or choose another place.")
    return InputError(f"{where}{reason}")


def as_flag(name: str) -> str:
    """Return the flag of an option: ``--batch-size`` of ``batch_size``."""
    return "--" + name.replace("_", "-")


def _as_keyword(name: str, *value: Any) -> str:
    if not value:
        return name
    return f"{name}={list(value[0]) if isinstance(value[0], tuple) else value[0]!r}"


def _on_command_line(name: str, *value: Any) -> str:
    flag = as_flag(name)
    if not value or value[0] is True:
        return flag
    if value[0] is False or value[0] is None:
        return f"--no-{flag[2:]}" if value[0] is False else f"no {flag}"
    text = ",".join(map(str, value[0])) if isinstance(value[0], (tuple, list)) else str(value[0])
    return f"{flag} {text if text and text.isprintable() else ascii(text)}"


def _lines(*parts: str) -> str:
    return "\n".join(_one_line(part) for part in parts if part)


def _one_line(text: str) -> str:
    return " ".join(text.split())
