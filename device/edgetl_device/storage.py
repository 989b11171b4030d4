"""Read a bundle's files from a folder or a zip. Names cannot escape from it."""

from __future__ import annotations

import errno
import lzma
import os
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Protocol

from ._lib.documents import Is, Sha256
from ._lib.files import check_regular
from ._lib.given import advice
from .errors import InputError, is_of_machine

# The maximum size of a file in a bundle: that of a TFLite flatbuffer.
MAX_FILE_BYTES = 2 << 30

# What NumPy raises for a damaged .npy header, which it parses as Python source, or for data that does not fit it.
NPY_DAMAGE = (
    ValueError,
    EOFError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    OverflowError,
    RecursionError,
    LookupError,
)

_AGAIN = "Copy it again, or make it again with edgetl."


@dataclass(frozen=True)
class Entry:
    """A file's entry in ``bundle.json``.

    Attributes:
        sha256: SHA-256 of the file.
        bytes: Size of the file.
    """

    sha256: Sha256
    bytes: Annotated[int, Is(low=0, high=MAX_FILE_BYTES)]


class Storage(Protocol):
    """Read-only access to files by name, a relative path with forward slashes."""

    def has(self, name: str) -> bool:
        """Whether there is a file with this name."""

    def size_bytes(self, name: str) -> int:
        """Return the size according to the file system or the zip's directory."""

    def read(self, name: str, *, limit_bytes: int) -> bytes:
        """Return the content; refuse a file of more than ``limit_bytes`` before reading it."""


def open_storage(path: Path, manifest: str) -> Storage:
    """Open a folder or a zip that holds ``manifest``.

    Raises:
        InputError: There is no such folder or zip at ``path``.
    """
    if path.is_dir():
        if not (path / manifest).exists():
            raise InputError(
                f"{path}: not a bundle", why=f"it has no {manifest}", hint=advice(path, "Give the bundle's folder.")
            )
        return _Folder(path)
    if not path.exists():
        raise InputError(f"{path}: no such bundle", hint=advice(path, "Check the path."))
    return _Zip(path, manifest)


def checked_name(name: str) -> str:
    """Return ``name`` if it is a plain relative path inside the bundle.

    Raises:
        InputError: It is absolute, contains ``..``, or is not normalized.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or str(path) != name or any(c in name for c in "\\:\0"):
        raise InputError(
            f"the bundle names the file {name!r}",
            why="paths must stay inside the bundle",
            hint="Do not use this bundle.",
        )
    return name


def damaged(what: str, why: str) -> InputError:
    """Return the error for a bundle that was changed after it was written."""
    return InputError(what, why=why, hint=f"The bundle is damaged or edited. {_AGAIN}")


@contextmanager
def reading_zip(refusal: Callable[[str], InputError]) -> Iterator[None]:
    """Turn the exceptions of zipfile for a damaged archive into ``refusal(reason)``."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError) as error:
        # RuntimeError: an encrypted member or, as NotImplementedError, a compression method unknown to zipfile.
        raise refusal(str(error)) from None
    except OSError as error:
        # EINVAL: an offset is before the start of the file. No errno: bzip2 data is invalid.
        if error.errno not in (errno.EINVAL, None):
            raise
        raise refusal("it has offsets outside the file" if error.errno else str(error)) from None


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root, self._real = root, root.resolve()

    def has(self, name: str) -> bool:
        return os.path.lexists(self._root / checked_name(name))

    def size_bytes(self, name: str) -> int:
        return self._file(name).stat().st_size

    def read(self, name: str, *, limit_bytes: int) -> bytes:
        file = self._file(name)
        if file.stat().st_size > limit_bytes:
            raise damaged(f"{self._root}: {name}", f"it is larger than {limit_bytes} bytes")
        with open(file, "rb") as stream:
            return stream.read(limit_bytes + 1)

    def _file(self, name: str) -> Path:
        try:
            file = (self._root / checked_name(name)).resolve(strict=True)
        except FileNotFoundError:
            raise damaged(f"{self._root}: {name} is missing", "bundle.json lists it") from None
        except (RuntimeError, NotADirectoryError, OSError) as error:
            if isinstance(error, PermissionError) or (isinstance(error, OSError) and is_of_machine(error)):
                raise
            raise damaged(f"{self._root}: {name} cannot be read", str(error)) from None
        if not file.is_relative_to(self._real):
            raise InputError(
                f"{self._root}: {name} is a link to {os.fspath(file)}",
                why="paths must stay inside the bundle",
                hint="Copy the file into the bundle.",
            )
        if not stat.S_ISREG(file.stat().st_mode):
            raise damaged(f"{self._root}: {name}", "it is not a regular file")
        return file


class _Zip:
    def __init__(self, path: Path, manifest: str) -> None:
        self._path = path
        check_regular(path)
        with reading_zip(
            lambda why: InputError(
                f"{path}: not a bundle", why=f"it cannot be read as a zip: {why}", hint=advice(path, _AGAIN)
            )
        ):
            # Stays open as long as the bundle: opening a zip of 8,000 members takes longer than reading one of them.
            self._archive = zipfile.ZipFile(path)
            members = self._archive.infolist()
            self._bytes = path.stat().st_size
        self._members = {member.filename: member for member in members}
        if len(self._members) != len(members):
            raise damaged(f"{path}", "it has two files with the same name")
        if manifest not in self._members:
            raise InputError(
                f"{path}: not a bundle", why=f"it has no {manifest}", hint=advice(path, "Give an .edgetl file.")
            )

    def has(self, name: str) -> bool:
        return name in self._members

    def size_bytes(self, name: str) -> int:
        return self._member(name).file_size

    def read(self, name: str, *, limit_bytes: int) -> bytes:
        member = self._member(name)
        if member.file_size > limit_bytes:
            raise damaged(f"{self._path}: {name}", f"it is larger than {limit_bytes} bytes")
        with (
            reading_zip(lambda why: damaged(f"{self._path}: {name} cannot be read", why)),
            self._archive.open(member) as stream,
        ):
            return stream.read(limit_bytes + 1)

    def _member(self, name: str) -> zipfile.ZipInfo:
        try:
            member = self._members[checked_name(name)]
        except KeyError:
            raise damaged(f"{self._path}: {name} is missing", "bundle.json lists it") from None
        # edgetl packs without compression, so no member can be larger than the zip, whatever its header says.
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > self._bytes:
            raise damaged(f"{self._path}: {name} cannot be read", "it is compressed, or larger than the whole file")
        return member
