"""What a command needs of its process, whatever the environment says: UTF-8, open streams, no warnings as errors."""

from __future__ import annotations

import fcntl
import io
import os
import sys
import warnings

from ..errors import Unavailable

_QUIET = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def prepare() -> None:
    """Make this process independent of locale, ``PYTHONIOENCODING`` and ``PYTHONWARNINGS``.

    Where Python takes file names for another encoding than UTF-8 (``LC_ALL=C`` with ``PYTHONUTF8=0``, old locales), the
    process is replaced by one in UTF-8 mode: a class folder with an umlaut would have another name in each locale.

    Raises:
        Unavailable: Standard output is closed.
    """
    _open_standard_streams()
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], os.environ | {"PYTHONUTF8": "1"})
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # In a file or a pipe, UTF-8, as JSON demands; a terminal gets escapes for what it cannot show.
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    if any(action == "error" for action, *_ in warnings.filters):
        # Those of libraries, which say nothing about the user's request, would end a command.
        warnings.resetwarnings()
        for kind in _QUIET:
            warnings.simplefilter("ignore", kind)
    if fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise Unavailable("standard output is closed", hint="To discard what is printed, add: > /dev/null")


def _open_standard_streams() -> None:
    """Replace closed standard streams, as GNU programs do, so that no file gets their descriptors.

    Reading standard input and writing standard output still fails; what goes to standard error is dropped.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is not None:
            continue
        # The wrong way round for 0 and 1.
        descriptor = os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_WRONLY)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.set_inheritable(number, True)
        stream = open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
