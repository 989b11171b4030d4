"""Errors that say what is wrong, why, and what to do next; each class carries the exit code of the command line."""

from __future__ import annotations

import errno

# Writes stop with one of these when the disk, the quota or the allowed file size is used up.
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class EdgetlError(Exception):
    """Base of every error that edgetl raises on purpose.

    Args:
        what: What is wrong, with the offending value or file.
        why: Why it is wrong, where that is not plain from ``what``.
        hint: What to do next.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.hint = what, why, hint

    def __str__(self) -> str:
        return "\n".join(_one_line(part) for part in (self.what, self.why, self.hint) if part)


class InputError(EdgetlError):
    """The request or the input is wrong: a flag, a photo, a data set, a bundle."""

    exit_code = 2


class GateFailed(EdgetlError):
    """A measured value missed a bound that the user set. Reports are written before this is raised."""

    exit_code = 3


class Unavailable(EdgetlError):
    """This machine lacks something: a package, a runtime, a delegate, disk space, a reachable device."""

    exit_code = 4


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


def _one_line(text: str) -> str:
    return " ".join(text.split())
