"""Errors that say what is wrong, why, and what to do next; each class has its exit code."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from typing import Any

from .text import shown

_SPACE = "Free some space, or choose another place."
_PATH = "Check the path."
_RIGHTS = "Change its permissions, or choose another place."
_DISK = "Check the disk and its cable (dmesg says more), or choose another place."
_NETWORK = "Check the network, and run it again."
_LIMITS = "End other programs, or raise the limit (ulimit -a), and run it again."

# Messages from C++ (through libraries that raise another error), from the dynamic linker, from the system, and from
# LiteRT, which creates XNNPACK's runtime only for models that it has parsed completely.
_NO_MEMORY = (
    "bad_alloc",
    "failed to map segment",
    "annot allocate memory",
    "failed to create XNNPACK runtime",
    # Of Python's import, where there is no memory for the exception itself.
    "returned NULL without setting an exception",
)

_REFERENCE = re.compile(r"\{(?P<name>[a-z]\w*)(?P<value>=?)\}")


class EdgetlError(Exception):
    """Base of every error that edgetl raises on purpose.

    With ``options``, ``{lr=}`` in the texts stands for an option with its value and ``{lr}`` for its name: ``lr=7`` and
    ``lr`` in Python, ``--lr 7`` and ``--lr`` on the command line.

    Args:
        what: What is wrong, with the offending value or file.
        why: Why it is wrong, if ``what`` does not make it clear.
        hint: What to do next.
        options: The values of the options that the texts refer to, by name.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, why: str = "", hint: str = "", options: Mapping[str, object] | None = None
    ) -> None:
        self.options, self._parts = options, (what, why, hint)
        self.what, self.why, self.hint = (self._rendered(part, _as_keyword) for part in self._parts)
        super().__init__(self.what)

    def __str__(self) -> str:
        return _lines(self.what, self.why, self.hint)

    def for_command_line(self) -> str:
        """Return the message for the command line, with flags instead of keyword arguments."""
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
    """The value of an option is wrong, or contradicts another option."""

    def __init__(self, what: str, *, why: str = "", hint: str = "", **options: Any) -> None:
        super().__init__(what, why=why, hint=hint, options=options)


class GateFailed(EdgetlError):
    """A measured value violates a bound that the user set. Reports are written before this is raised."""

    exit_code = 3


class Unavailable(EdgetlError):
    """This machine lacks something: a package, a runtime, a delegate, disk space, a reachable device."""

    exit_code = 4


class NumPyTooNew(Unavailable):
    """The installed TFLite runtime was built for NumPy 1."""


# Class and hint for errors of the operating system. InputError: a path in the request is wrong. Unavailable: the disk,
# the network or the machine is at fault, whatever the request. All others are defects.
_BY_ERRNO: dict[int, tuple[type[EdgetlError], str]] = {
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG), (InputError, _PATH)),
    **dict.fromkeys((errno.EEXIST, errno.ENOTEMPTY), (InputError, "Choose another place.")),
    **dict.fromkeys((errno.EACCES, errno.EPERM), (InputError, _RIGHTS)),
    # The disk, the quota or the allowed file size is used up.
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), (Unavailable, _SPACE)),
    # A disk or SD card that fails, so that Linux remounts it read-only, or is unplugged; a lost network drive.
    **dict.fromkeys(
        (errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE), (Unavailable, _DISK)
    ),
    # Operations that the file system does not support: locks, links, large files.
    **dict.fromkeys((errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EXDEV), (Unavailable, "Choose another place.")),
    **dict.fromkeys((errno.EBUSY, errno.ETXTBSY), (Unavailable, "End the program that uses it, and run it again.")),
    **dict.fromkeys((errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN), (Unavailable, _LIMITS)),
    **dict.fromkeys(
        (
            errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT,
            errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, errno.EADDRNOTAVAIL,
        ),
        (Unavailable, _NETWORK),
    ),
}  # fmt: skip
# Of tempfile: nothing can be written to $TMPDIR, /tmp, /var/tmp, ...
_NO_TEMPORARY = "No usable temporary directory"
# Their errno is None or has another numbering: an unknown host, a certificate, an HTTP status.
_OF_NETWORK = ("socket", "ssl", "urllib.error", "http.client")


def from_os_error(error: OSError) -> EdgetlError:
    """Convert an error of the operating system to an EdgetlError with a hint and the right exit code.

    Returns:
        InputError for a path in the request; Unavailable for the machine, its disk and its network; EdgetlError, a
        defect, for anything else.
    """
    kind, hint = _BY_ERRNO.get(error.errno or 0, (EdgetlError, ""))
    # A copy has two names; the second is the one written to.
    name = (hint == _SPACE and error.filename2) or error.filename
    where = f"{name}: " if name else ""
    reason = error.strerror or str(error)
    if isinstance(error, ConnectionError | TimeoutError) or type(error).__module__ in _OF_NETWORK:
        return Unavailable(f"{where}{reason}", hint=_NETWORK)
    if hint == _SPACE:
        return Unavailable(f"{where}could not be written: {reason}", hint=hint)
    if error.errno == errno.ENOENT and not name and reason.startswith(_NO_TEMPORARY):
        hint = "Set TMPDIR to a folder that can be written, or raise the limits (ulimit -a)."
        return Unavailable("there is no folder for temporary files", why=reason, hint=hint)
    if error.errno == errno.ENOENT:
        return InputError(f"{where}no such file or folder", hint=hint)
    return kind(f"{where}{reason}", hint=hint)


def is_of_machine(error: OSError) -> bool:
    """Whether an error is caused by the disk, the network or the machine, not by a file's content."""
    return isinstance(from_os_error(error), Unavailable)


def out_of_memory(what: str = "", why: str = "") -> Unavailable:
    """Return the error for running out of memory; ``what`` is what it was needed for."""
    what = f"not enough memory {what}" if what else "this machine has not enough memory left for it"
    return Unavailable(what, why=why, hint="End other programs, or raise the limit.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of a native library, or of loading it, means that memory ran out."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)


def as_flag(name: str) -> str:
    """Return the flag of an option: ``--batch-size`` for ``batch_size``."""
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
    return shown(" ".join(text.split()))
