"""The folder of a monitor: one process writes to it, whole lines only, and removes nothing but what edgetl wrote."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgetl_device._lib import documents
from edgetl_device._lib.files import check_regular, remove_file, sweep
from edgetl_device.errors import EdgetlError, InputError, Unavailable, from_os_error

from .record import MAX_DAY_BYTES, MAX_DAYS, MonitorRecord, day_files

_MARK, _LOCK = "monitor.json", ".lock"
REFERENCE = "reference.json"
_FIRST_LINE_BYTES = 200
_OURS = f'{{"schema": "{MonitorRecord.SCHEMA.partition("/")[0]}/'.encode()


@dataclass(frozen=True)
class FolderDocument:
    """Marks a folder as that of a monitor, so that edgetl knows it."""

    SCHEMA: ClassVar[str] = "edgetl.monitor-folder/1"


class Folder:
    """A folder that this process has locked. Make one with :meth:`open`.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path, self._lock = path, lock

    @classmethod
    def open(cls, path: Path) -> Folder:
        """Open, create and lock a folder.

        Raises:
            InputError: It is a file, contains other things, or another process writes to it.
            OSError: It cannot be created or written to.
        """
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: exists and is not a folder", hint="Choose another place.")
        if not (path / _MARK).is_file():
            if path.is_dir():
                sweep(path)
                if others := sorted({one.name for one in path.iterdir()} - {_LOCK}):
                    raise InputError(
                        f"{path}: contains other things than records",
                        why=f"such as {others[0]!r}"[:200],
                        hint="Give an empty or new folder.",
                    )
            path.mkdir(parents=True, exist_ok=True)
        else:
            documents.read(FolderDocument, path / _MARK, max_bytes=1 << 16)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{path}: another process writes its records there",
                    hint="Give each process a folder of its own, or end the other one.",
                ) from None
            if not (path / _MARK).is_file():
                documents.write(path / _MARK, FolderDocument())
        except BaseException:
            os.close(lock)
            raise
        return cls(path, lock)

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)

    def append(self, day: str, line: bytes) -> None:
        """Append a line to the file of a day, ``2026-11-30``, or nothing; remove the oldest days beyond 366.

        Raises:
            OSError: It could not be written.
        """
        path = self.path / f"{day}.jsonl"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        is_new = not path.exists()
        file = os.open(path, flags, 0o644)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "is not a file", os.fspath(path))
            size = _whole_bytes(file, status.st_size)
            if size != status.st_size:
                os.ftruncate(file, size)  # the power failed while a line was written
            if size + len(line) > MAX_DAY_BYTES:
                raise OSError(errno.EFBIG, f"has {size} bytes of records already", os.fspath(path))
            try:
                if os.write(file, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
                os.fsync(file)
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(file, size)
                error.filename = error.filename or os.fspath(path)
                raise
        finally:
            os.close(file)
        if is_new:
            self._remove_old_days()

    def _remove_old_days(self) -> None:
        for old in day_files(self.path)[:-MAX_DAYS]:
            with suppress(OSError, EdgetlError):
                check_regular(old)
                with open(old, "rb") as stream:
                    is_ours = stream.read(_FIRST_LINE_BYTES).startswith(_OURS)
                if is_ours:
                    remove_file(old)


def _whole_bytes(file: int, size: int) -> int:
    """Return the size of a file up to the end of its last whole line."""
    end = size
    while end > 0:
        start = max(0, end - (64 << 10))
        block = os.pread(file, end - start, start)
        if (place := block.rfind(b"\n")) >= 0:
            return start + place + 1
        end = start
    return 0


def reason(error: OSError | EdgetlError) -> str:
    """Return an error as one line for this machine."""
    known = from_os_error(error) if isinstance(error, OSError) else error
    return known.what + (f" ({known.why})" if known.why else "")


def recorded_reason(error: Exception) -> str:
    """Return an error for a record, which travels: it names no path."""
    if not isinstance(error, EdgetlError):
        return getattr(error, "strerror", None) or type(error).__name__
    return "this machine lacks something" if isinstance(error, Unavailable) else "the folder or the photo is wrong"
