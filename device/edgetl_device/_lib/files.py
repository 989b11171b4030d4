"""Write files and folders atomically, safe against a kill at any moment; hash files."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import filecmp
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError

# The temporary folder of ``name`` is ``.name.XXXXXXXX.tmp`` beside it. It holds the new file or folder, under its own
# name, and a mark, locked while its process lives. Where two folders cannot be exchanged atomically, it also holds the
# old one for a moment. The mark of files that appear together names the others, each followed by a zero byte.
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.tmp", re.DOTALL)
_MARK, _OLD, _NEW = ".mark", ".old", ".new"
# Of a temporary folder from its first moment: the sticky bit, which changes nothing there, and which no program sets
# without being asked. It shows whose the folder is before there is a mark in it.
_NEW_MODE = 0o1700
_MARK_TEXT = b"A temporary folder of edgetl, which removes it when the process that made it has ended.\n"

# linux/fcntl.h, linux/fs.h
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# The kernel, the C library or the file system cannot exchange two folders.
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV)
# The file system has no hard links.
_NO_LINK = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP)


@contextmanager
def atomic_path(
    target: str | os.PathLike[str], *, directory: bool = False, replaceable: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """Yield a temporary sibling of ``target``, which is renamed to ``target`` when the block succeeds.

    If the block raises, the temporary file or folder is removed and ``target`` is unchanged. If the process is killed,
    the old or the new one is in place, or both are beside it, for :func:`sweep` to find. The content is flushed to disk
    before the rename, so it survives power loss too. Parent folders are created.

    Args:
        target: The file or folder to write.
        directory: Yield a new empty folder instead of a path that does not exist yet.
        replaceable: Called with an existing folder just before it is replaced; raises to prevent that. By default only
            an empty folder is replaced.

    Raises:
        InputError: ``directory`` is set and ``target`` exists already.
    """
    target = Path(target)
    with _temporary_folder(target) as holder, naming(target):
        temporary = holder / target.name
        if directory:
            temporary.mkdir()
        yield temporary
        if directory:
            if os.path.lexists(target):
                (replaceable or _refuse)(target)
            _sync_tree(temporary)
            _replace_directory(temporary, target, aside=holder / f"{target.name}{_OLD}")
        else:
            _sync(temporary)
            temporary.replace(target)
        _sync(target.parent)


@contextmanager
def new_files(*targets: str | os.PathLike[str]) -> Iterator[tuple[Path, ...]]:
    """Yield a temporary path for each of several files, which appear together when the block succeeds.

    They replace nothing. If the block raises, or one of them exists, none appears. They appear in their order: if the
    process is killed before the last one, :func:`sweep` removes the others. Where a file system has no hard links, a
    kill may leave one of them unfinished.

    Args:
        targets: The files, in one folder, which is created.

    Raises:
        FileExistsError: One of them exists.
    """
    *others, last = (Path(target) for target in targets)
    with _temporary_folder(last, together=tuple(other.name for other in others)) as holder, naming(last):
        temporary = tuple(holder / target.name for target in (*others, last))
        yield temporary
        made: list[Path] = []
        try:
            for path in temporary:
                _sync(path)
                target = last.parent / path.name
                _create(path, target)
                made.append(target)
            _sync(last.parent)
        except BaseException:
            for target in made:
                target.unlink(missing_ok=True)
            raise


def check_writable(target: str | os.PathLike[str]) -> None:
    """Check that :func:`atomic_path` will be able to write a file, before the work begins; parents are created.

    Raises:
        InputError: ``target`` is not a file.
        OSError: Nothing can be written there.
    """
    target = Path(target)
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISREG(target.stat().st_mode):
            raise InputError(f"{target}: exists and is not a file", hint="Choose another place.")
    with _temporary_folder(target):
        pass


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Create a folder, and check that files can be written to it, before the work begins; parents are created.

    Raises:
        InputError: ``folder`` is not a folder.
        OSError: It cannot be created, or nothing can be written there.
    """
    folder = Path(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder}: exists and is not a folder", hint="Choose another place.")
    try:
        with _temporary_folder(folder / "file"):
            pass
    except OSError as error:
        error.filename = os.fspath(folder)  # the user has asked for no file
        raise


def sweep(folder: str | os.PathLike[str]) -> None:
    """Clean up a folder after killed processes: restore folders that were being replaced, remove temporary ones.

    Of files that were to appear together, those of a process that was killed before the last one are removed.

    Touches only entries that have edgetl's name and mark and whose process has ended, and empty ones with its name and
    mode, whose process was killed before it could mark them. Errors are ignored.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if found and entry.is_dir(follow_symlinks=False):
                with suppress(OSError):
                    _finish(Path(entry.path), found["name"])


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse a pipe or a device: reading it may block, or never end.

    Raises:
        InputError: It is a pipe or a device.
        OSError: It does not exist, or cannot be accessed.
    """
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{os.fspath(path)}: is a pipe or a device, not a file", hint="Give a file.")


def heal(target: str | os.PathLike[str]) -> None:
    """Restore a folder that a process was replacing when it was killed."""
    if not os.path.lexists(target):
        sweep(Path(target).parent)


@contextmanager
def naming(target: str | os.PathLike[str]) -> Iterator[None]:
    """Add the target's name to system errors of the block, which lack it if the file was already open."""
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


def write_link(link: str | os.PathLike[str], to: str) -> None:
    """Make or replace a symbolic link atomically."""
    link = Path(link)
    with _temporary_folder(link) as holder:
        temporary = holder / link.name
        temporary.symlink_to(to)
        temporary.replace(link)
        _sync(link.parent)


def remove_file(path: str | os.PathLike[str]) -> None:
    """Remove a file or a link, if it exists, and flush the removal to disk."""
    path = Path(path)
    if os.path.lexists(path):
        path.unlink()
        _sync(path.parent)


def reread_from_disk(path: str | os.PathLike[str]) -> None:
    """Flush a file to disk and, where possible, drop it from the page cache, so that it is next read from the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


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
        raise InputError(f"{target}: exists already", hint="Choose another place, or remove it.")


@contextmanager
def _temporary_folder(target: Path, together: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield a new folder beside ``target``, marked and locked; it is removed afterwards.

    Args:
        target: What is written.
        together: Names of the files that are to appear before it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent)
    holder, lock = _new_holder(target, together)
    mark, aside = holder / f"{target.name}{_MARK}", holder / f"{target.name}{_OLD}"
    try:
        yield holder
    finally:
        # If neither could be moved into place, keep both.
        if os.path.lexists(target) or not os.path.lexists(aside):
            _remove(holder, mark)
        os.close(lock)


def _new_holder(target: Path, together: tuple[str, ...]) -> tuple[Path, int]:
    """Make a temporary folder; return it and the descriptor that holds the lock of its mark."""
    while True:
        try:
            holder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
            holder.mkdir(_NEW_MODE)
        except FileExistsError:
            continue
        except OSError as error:
            error.filename = os.fspath(target)  # the name that the user knows
            raise
        mark = holder / f"{target.name}{_MARK}"
        lock = None
        try:
            with naming(target):
                # Lock it before renaming it: an unlocked mark means that its process has ended.
                new = mark.with_name(f"{mark.name}{_NEW}")
                lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
                os.write(lock, _MARK_TEXT + b"".join(os.fsencode(name) + b"\0" for name in together))
                # This waits for a process that sweeps, after which the mark is gone.
                with suppress(OSError):
                    fcntl.flock(lock, fcntl.LOCK_EX)
                new.rename(mark)
            return holder, lock
        except BaseException as error:
            if lock is not None:
                os.close(lock)
            _remove(holder, mark)
            if not isinstance(error, FileNotFoundError):
                raise
            # Another process swept the folder before it was marked: try again.


def _locked(descriptor: int) -> bool:
    """Try to lock a file. On a file system without locks this fails, and nothing is ever swept."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _finish(holder: Path, name: str) -> None:
    mark, new, aside, target = (
        holder / f"{name}{_MARK}", holder / name, holder / f"{name}{_OLD}", holder.parent / name
    )  # fmt: skip
    if not os.path.lexists(mark):
        _remove_unmarked(holder, mark.with_name(f"{mark.name}{_NEW}"))
        return
    with open(mark, "r+b") as stream:
        # Another process may have swept it between open and lock.
        if not _locked(stream.fileno()) or not os.path.samestat(os.fstat(stream.fileno()), mark.stat()):
            return
        text = stream.read()
        if not text.startswith(_MARK_TEXT):
            return
        together = [os.fsdecode(line) for line in text[len(_MARK_TEXT) :].split(b"\0")[:-1]]
        own = {mark, new, aside, *(holder / other for other in together)}
        if any("/" in other for other in together) or set(holder.iterdir()) - own:
            return
        # While the folder is being removed after the last one has appeared, the new one may be gone already.
        if together and os.path.lexists(new) and not _is_same(new, target):
            for other in together:
                if _is_same(holder / other, holder.parent / other):
                    (holder.parent / other).unlink()
        if os.path.lexists(aside) and not os.path.lexists(target):
            # The old one is moved aside only when the new one is complete.
            (new if os.path.lexists(new) else aside).rename(target)
        _remove(holder, mark)


def _remove_unmarked(holder: Path, unfinished: Path) -> None:
    """Remove a folder whose process was killed before it marked the folder, which holds at most an unfinished mark.

    Its mode shows that edgetl made it; a file system without modes keeps it.
    """
    if holder.lstat().st_mode & 0o1777 != _NEW_MODE:  # not the group's bit, which a folder inherits
        return
    if set(holder.iterdir()) == {unfinished}:
        with open(unfinished, "r+b") as stream:
            if not _locked(stream.fileno()) or not _is_unfinished_mark(stream.read()):
                return
            unfinished.unlink()
    holder.rmdir()  # fails if anything else is in it


def _is_unfinished_mark(text: bytes) -> bool:
    return text.startswith(_MARK_TEXT) or _MARK_TEXT.startswith(text)


def _is_same(one: Path, other: Path) -> bool:
    """Whether both are regular files with the same content."""
    regular = all(os.path.lexists(path) and stat.S_ISREG(path.lstat().st_mode) for path in (one, other))
    return regular and filecmp.cmp(one, other, shallow=False)


def _create(temporary: Path, target: Path) -> None:
    """Give a file its name, unless something has it.

    Raises:
        FileExistsError: Something has it.
    """
    try:
        os.link(temporary, target)
        return
    except OSError as error:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(target)) from None
        if error.errno not in _NO_LINK:
            raise
    mode = stat.S_IMODE(temporary.stat().st_mode)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        try:
            stream.write(temporary.read_bytes())
            stream.flush()
            os.fsync(stream.fileno())
        except BaseException:
            target.unlink()
            raise


def _remove(holder: Path, mark: Path) -> None:
    """Remove a temporary folder; its mark goes last, so that other processes can identify the folder until then."""
    with suppress(OSError):
        for path in holder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path != mark:
                path.unlink(missing_ok=True)
    shutil.rmtree(holder, ignore_errors=True)


def _replace_directory(temporary: Path, target: Path, aside: Path) -> None:
    if not os.path.lexists(target):
        temporary.rename(target)
    elif not _exchanged(temporary, target):
        target.rename(aside)
        try:
            temporary.rename(target)
        except BaseException:
            if not os.path.lexists(target):
                aside.rename(target)
            raise


def _exchanged(one: Path, two: Path) -> bool:
    """Exchange two paths atomically, so that neither is ever missing; return False if the system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc 2.28, musl 1.2.6
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(two), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), os.fspath(two))


def _sync(path: Path) -> None:
    """Flush a file's content, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems that need no fsync of folders
            raise
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    """Flush a folder's content to disk, if possible in one call (1,000 photos: 0.1 s instead of 2 s)."""
    sync = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if sync is not None and sync(descriptor) == 0:
            return
    finally:
        os.close(descriptor)
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if not path.is_symlink():
                _sync(path)
        _sync(Path(parent))
