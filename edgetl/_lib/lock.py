"""A lock for work that only one process may do at a time. It names its holder, and is released when the holder ends."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from edgetl_device.errors import InputError


@contextmanager
def locked(file: Path, *, what: str, hint: str) -> Iterator[None]:
    """Hold a lock while the block runs; the file is removed afterwards.

    Args:
        file: Path of the lock, in an existing folder.
        what: Error message if another process holds it: ``runs/parts: is being quantized``.
        hint: Hint of that error.

    Raises:
        InputError: Another process or thread holds it.
        OSError: The file cannot be written, or its file system has no locks.
    """
    while True:
        with open(file, "a+", encoding="utf-8") as stream:
            try:
                # The system releases it when the process ends.
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                raise InputError(f"{what} by {stream.read().strip() or 'another process'}", hint=hint) from None
            if not _is_at(stream.fileno(), file):
                continue  # the previous holder has removed it
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {platform.node()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
            stream.flush()
            try:
                yield
            finally:
                # Its folder may have been replaced.
                if _is_at(stream.fileno(), file):
                    with suppress(OSError):
                        file.unlink()
            return


def bundle_locked(bundle: Path) -> AbstractContextManager[None]:
    """Return a context in which no other process changes a bundle (``RUN/bundle`` or elsewhere).

    Raises:
        InputError: On entering: another process is changing it.
    """
    return locked(
        bundle.with_name(f"{bundle.name}.lock"),
        what=f"{bundle}: is being written",
        hint="Try again when that has finished.",
    )


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except OSError:
        return False
