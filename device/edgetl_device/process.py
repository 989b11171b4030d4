"""What a command needs of its process, whatever the environment says: UTF-8, and warnings that are not errors."""

from __future__ import annotations

import io
import os
import sys
import warnings

_QUIET = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def prepare() -> None:
    """Make this process independent of locale, ``PYTHONIOENCODING`` and ``PYTHONWARNINGS``.

    Where Python takes file names for another encoding than UTF-8 (``LC_ALL=C`` with ``PYTHONUTF8=0``, old locales), the
    process is replaced by one in UTF-8 mode: a class folder with an umlaut would have another name in each locale.
    """
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
