"""Files written whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


@contextmanager
def atomic_path(
    target: str | os.PathLike[str], *, directory: bool = False, replaceable: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """Yield a temporary sibling of ``target``; when the block ends well it takes ``target``'s place by renaming.

    When the block raises, the temporary file or folder is removed and ``target`` stays as it was. An existing folder is
    moved aside for the rename and put back if that fails. Parent folders are created.

    Args:
        target: The file or folder to appear.
        directory: Yield a new empty folder instead of a path that does not exist yet.
        replaceable: Called with an existing folder just before it is replaced, and raises when it must stay. Without
            it, only an empty folder is replaced.

    Raises:
        InputError: A folder was asked for where there is something already.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    temporary = holder / target.name
    try:
        with naming(target):
            if directory:
                temporary.mkdir()
            yield temporary
            if directory:
                if os.path.lexists(target):
                    (replaceable or _refuse)(target)
                _replace_directory(temporary, target, aside=holder / "old")
            else:
                temporary.replace(target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


@contextmanager
def naming(target: str | os.PathLike[str]) -> Iterator[None]:
    """Put the name of what is written into system errors of the block: of an open file the system does not say it."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = os.fspath(target)
        raise


def write_bytes(target: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``target`` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(data)


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` to ``target`` atomically, as UTF-8."""
    write_bytes(target, text.encode())


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal, reading it in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _refuse(target: Path) -> None:
    if not target.is_dir() or any(target.iterdir()):
        raise InputError(f"{target}: is there already", hint="Choose another place, or remove it.")


def _replace_directory(temporary: Path, target: Path, aside: Path) -> None:
    had_one = target.exists()
    if had_one:
        target.rename(aside)
    try:
        temporary.rename(target)
    except OSError:
        if had_one:
            aside.rename(target)
        raise
