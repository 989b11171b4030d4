"""The cache of recomputable data: decoded pixels, converted bases, activations.

An entry's key must cover everything that affects its content. Because disks may corrupt data, the CRC-32 of each block
is stored, and verified when a process first uses the entry. Only entries and leftovers of killed processes are removed,
and only if they have a seal and no foreign files and are in a folder that edgetl has marked.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetl._lib.progress import note
from edgetl._lib.threads import in_threads
from edgetl_device._lib.files import naming, write_text
from edgetl_device.errors import InputError

_DEFAULT_LIMIT_GB = 20.0
# Marks the folder for edgetl and for backup programs: https://bford.info/cachedir/
_TAG = "CACHEDIR.TAG"
_TAG_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# The cache of edgetl, which removes its own entries from here when they take too much space.\n"
    "# About cache directory tags: https://bford.info/cachedir/\n"
)
_OWN_TAG = "\n".join(_TAG_TEXT.splitlines()[:2])
# The seal, beside an entry's files: their sizes, times and checksums, or that the entry is unfinished.
_SEAL = "entry.json"
_SCHEMA = "edgetl.cache-entry/1"
# Name of an entry that is being made or removed.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp", re.DOTALL)
# The first version kept entries directly in the default folder, without a tag.
_EARLIER = ("activations", "bases", "pictures", "pixels", "views", "wheels")

# path relative to the entry: size in bytes, time of writing in ns, CRC-32 of each block
_Files = dict[str, list[int]]

_BLOCK_BYTES = 16 << 20

# Write errors that another folder would not have.
_MAY_NOT = (errno.EACCES, errno.EPERM, errno.EROFS)

_MOST_HELD = 128
# By the cache folder that is not writable.
_temporary_roots: dict[Path, Path] = {}
# Entries in use by this process: a shared lock on each seal, released by the system when the process ends.
_held: dict[Path, int] = {}
# Entries whose checksums this process has verified: inode and time of their seals.
_compared: dict[Path, tuple[int, int]] = {}
_held_lock = threading.Lock()


@dataclass(frozen=True)
class _Entry:
    """A folder with a seal, finished or not."""

    folder: Path
    files: _Files | None
    last_use: float

    @property
    def size_bytes(self) -> int:
        return sum(size for size, *_ in (self.files or {}).values())


def cache_dir() -> Path:
    """Return ``$EDGETL_CACHE``, else ``edgetl/cache`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("EDGETL_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or _home() / ".cache"
    return Path(base) / "edgetl" / "cache"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a container's user, with neither HOME nor a line in /etc/passwd
        return Path("/")


def key_of(**parts: Any) -> str:
    """Return a key for content that depends only on ``parts`` (JSON values)."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def entry(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of a cache entry, made by ``make(folder)`` if it does not exist yet.

    The folder appears only when ``make`` has finished; if several processes make the same entry, the first wins. An
    entry whose files were changed (size, modification time or content) is made again, with a note to the user.
    Content is verified when a process first uses the entry, at about 1 GB/s per core. Over the limit
    (``$EDGETL_CACHE_GB``, 20 by default), the least recently used entries are removed, except those in use by a running
    process.

    If the cache is readable but not writable, for example another user's, existing entries are used, and missing ones
    are made in a temporary folder of this process.

    Raises:
        InputError: The cache folder is not edgetl's, or a damaged entry contains files that are not edgetl's.
    """
    limit_bytes = _limit_bytes()
    root = marked_root(kind)
    if root != cache_dir() and _is_readable(cache_dir() / kind / key):
        return cache_dir() / kind / key
    folder = root / kind / key
    folder.parent.mkdir(exist_ok=True)
    if _found(root, folder):
        return folder
    with naming(folder), _temporary(root, folder) as temporary:
        make(temporary)
        _publish(root, temporary, folder)
    _prune(root, limit_bytes)
    return folder


def marked_root(kind: str = "") -> Path:
    """Return the cache folder, creating and tagging it if needed; a temporary one if it is not writable.

    Args:
        kind: The subfolder that will be written.

    Raises:
        InputError: The folder contains something else.
    """
    root = cache_dir()
    try:
        if _is_marked(root):
            return root if _is_writable(root, kind) else _temporary_root(root)
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK | os.X_OK):
            return _temporary_root(root)
    except OSError as error:
        if error.errno not in _MAY_NOT:
            raise
        return _temporary_root(root)
    others = sorted(path.name for path in root.iterdir() if not path.name.startswith(f".{_TAG}."))
    if _is_marked(root):  # another process was faster
        return root
    if others:
        raise InputError(
            f"{root}: is not a cache that edgetl made: {', '.join(others[:3])}{' ...' * (len(others) > 3)}",
            why=f"edgetl removes old entries from its cache, so it uses only folders with its own {_TAG}",
            hint="Set EDGETL_CACHE to a new or empty folder. You may remove the cache of an earlier edgetl.",
        )
    write_text(root / _TAG, _TAG_TEXT)
    earlier = [name for name in _EARLIER if (root.parent / name).is_dir()]
    if earlier and not os.environ.get("EDGETL_CACHE"):
        note(f"{root.parent}: an earlier edgetl cached here ({', '.join(earlier)}); unused now, you may remove them")
    return root


def _is_writable(root: Path, kind: str) -> bool:
    folders = [root, *([root / kind] if kind and (root / kind).exists() else [])]
    return all(os.access(folder, os.W_OK | os.X_OK) for folder in folders) and os.access(root / _TAG, os.W_OK)


def _temporary_root(instead_of: Path) -> Path:
    """Return a cache for this process only, removed at its end, and tell the user once."""
    with _held_lock:
        if instead_of not in _temporary_roots:
            made = tempfile.mkdtemp(prefix="edgetl-cache-")
            atexit.register(shutil.rmtree, made, ignore_errors=True)
            _temporary_roots[instead_of] = Path(made)
            write_text(Path(made) / _TAG, _TAG_TEXT)
            note(
                f"{instead_of}: not writable; missing entries are computed but not kept. "
                "To keep them, set EDGETL_CACHE to a folder of your own."
            )
        return _temporary_roots[instead_of]


def _is_readable(folder: Path) -> bool:
    """Whether an entry in a read-only cache is finished and intact; if so, lock it where possible."""
    if not _is_marked(folder.parent.parent) or not _is_whole(folder):
        return False
    with suppress(OSError):
        _hold(folder)
    # Once locked it is not removed, but it may have been removed just before.
    try:
        return _is_whole(folder) and _is_unchanged(folder)
    except PermissionError:
        return False


def _is_marked(root: Path) -> bool:
    try:
        return (root / _TAG).read_text(encoding="utf-8", errors="replace").startswith(_OWN_TAG)
    except (FileNotFoundError, NotADirectoryError):
        return False


@contextmanager
def _locked(root: Path) -> Iterator[bool]:
    """Block all other threads and processes from adding or removing entries while the block runs.

    Yields whether they are blocked: on a file system without locks they are not.
    """
    while True:
        with open(root / _TAG, "r+b") as tag:
            alone = _lock(tag.fileno(), fcntl.LOCK_EX)
            # Two processes that create the cache at the same time both write its tag.
            if os.path.samestat(os.fstat(tag.fileno()), (root / _TAG).stat()):
                yield alone
                return


def _lock(descriptor: int, how: int) -> bool:
    """Try to lock a file. On a file system without locks this fails, and nothing is ever removed to make room."""
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        return False
    return True


def _found(root: Path, folder: Path) -> bool:
    """Whether an entry exists and is intact; if so, lock it for this process."""
    if not os.path.lexists(folder):
        return False
    with _locked(root):
        whole = _is_whole(folder)
        aside = None if whole else _set_aside(folder)
        if whole:
            _hold(folder)
    if whole and not _is_unchanged(folder):
        # Read outside the lock, because a large entry takes seconds.
        with _locked(root):
            aside, whole = _set_aside(folder), False
    _remove(aside)
    return whole


def _publish(root: Path, temporary: Path, folder: Path) -> None:
    """Publish an entry unless another process was faster; lock it for this process either way."""
    files = _files(temporary)
    for name, sums in _sums(temporary, files).items():
        files[name] += sums
    aside = None
    with _locked(root):
        if not _is_whole(folder):
            aside = _set_aside(folder)
            _seal(temporary, files)
            try:
                temporary.rename(folder)
            except OSError:
                # Without locks, another process may have published it just now.
                if not _is_whole(folder):
                    raise
            _compared[folder] = _seal_of(folder)
        _hold(folder)
    _remove(aside)


def _hold(folder: Path) -> None:
    with suppress(PermissionError):  # another user's
        os.utime(folder)
    with _held_lock:
        before = _held.pop(folder, None)
        descriptor = os.open(folder / _SEAL, os.O_RDONLY)
        _lock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        _held[folder] = descriptor
        spare = [before] if before is not None else []
        while len(_held) > _MOST_HELD:
            spare.append(_held.pop(next(iter(_held))))
    for descriptor in spare:
        os.close(descriptor)


@contextmanager
def _temporary(root: Path, folder: Path) -> Iterator[Path]:
    """Yield a folder to make an entry in. The lock on its seal shows that the process is still alive."""
    with ExitStack() as stack:
        with _locked(root):
            temporary = _new_name(folder)
            stack.callback(_remove, temporary)
            _seal(temporary, None)
            seal = stack.enter_context(open(temporary / _SEAL, "rb"))
            _lock(seal.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield temporary


def _new_name(folder: Path) -> Path:
    made = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.tmp")
    made.mkdir()  # with the user's default permissions, which mkdtemp does not set
    return made


def _seal(folder: Path, files: _Files | None) -> None:
    """Write the seal atomically; None marks an unfinished entry."""
    new = folder / f"{_SEAL}.new"
    with open(new, "w", encoding="utf-8") as stream:
        json.dump({"schema": _SCHEMA, "files": files}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(folder / _SEAL)


def _sealed(folder: Path) -> _Entry | None:
    """Return an entry as its seal describes it; None without a seal."""
    try:
        document = json.loads((folder / _SEAL).read_bytes())
        last_use = folder.lstat().st_mtime
    except (OSError, ValueError):
        return None
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        return None
    files = document.get("files")
    return _Entry(folder, files, last_use) if files is None or isinstance(files, dict) else None


def _files(folder: Path) -> _Files:
    """Return size and modification time of every file except the seal; renaming the folder changes neither."""
    found = {}
    for parent, folders, names in os.walk(folder):
        above = Path(parent)
        for path in (above / name for name in [*names, *(one for one in folders if (above / one).is_symlink())]):
            status = path.lstat()
            found[path.relative_to(folder).as_posix()] = [status.st_size, status.st_mtime_ns]
    found.pop(_SEAL, None)
    return found


def _is_whole(folder: Path) -> bool:
    """Whether a finished entry exists with all files unchanged."""
    sealed = _sealed(folder)
    if sealed is None or sealed.files is None:
        return False
    try:
        status = {name: (folder / name).lstat() for name in sealed.files}
    except OSError:
        return False
    return all([one.st_size, one.st_mtime_ns] == sealed.files[name][:2] for name, one in status.items())


def _is_unchanged(folder: Path) -> bool:
    """Whether all files of a finished entry have their original content; disks may corrupt bytes, not times."""
    try:
        seal = _seal_of(folder)
        if _compared.get(folder) == seal:
            return True
        sealed = _sealed(folder)
        if sealed is None or sealed.files is None:
            return False
        with naming(folder):
            sums = _sums(folder, sealed.files)
    except FileNotFoundError:  # another process has made it again
        return False
    if any(sealed.files[name][2:] != found for name, found in sums.items()):
        return False
    _compared[folder] = seal
    return True


def _seal_of(folder: Path) -> tuple[int, int]:
    status = (folder / _SEAL).stat()
    return status.st_ino, status.st_mtime_ns


def _sums(folder: Path, files: _Files) -> dict[str, list[int]]:
    """Return the CRC-32 of each block of each regular file, read on all cores."""
    names = [name for name in files if not (folder / name).is_symlink()]
    sums = {name: [0] * -(-files[name][0] // _BLOCK_BYTES) for name in names}

    def read(block: tuple[str, int]) -> None:
        name, number = block
        with open(folder / name, "rb") as stream:
            stream.seek(number * _BLOCK_BYTES)
            sums[name][number] = zlib.crc32(stream.read(_BLOCK_BYTES))

    in_threads(read, ((name, number) for name in names for number in range(len(sums[name]))), lambda _: None)
    return sums


def _is_own(sealed: _Entry) -> bool:
    """Whether an entry contains only files that edgetl wrote; an unfinished one counts as edgetl's."""
    return sealed.files is None or not set(_files(sealed.folder)) - set(sealed.files)


def _set_aside(folder: Path) -> Path | None:
    """Move a damaged entry aside; return its new path if it contains anything.

    Raises:
        InputError: It contains files that are not edgetl's.
    """
    if not os.path.lexists(folder):
        return None
    sealed = None if folder.is_symlink() else _sealed(folder)
    if sealed is not None and _is_own(sealed):
        note(f"damaged cache entry, recomputed: {folder}")
        return _moved_aside(folder)
    try:
        folder.rmdir()  # it was emptied by hand
    except OSError:
        raise InputError(
            f"{folder}: is damaged, and contains files that are not edgetl's",
            why="edgetl removes only what it made",
            hint="Move it away, or set EDGETL_CACHE to another folder.",
        ) from None
    note(f"damaged cache entry, recomputed: {folder}")
    return None


def _moved_aside(folder: Path) -> Path:
    """Rename an entry to a leftover's name, so that another process removes it if this one is killed."""
    aside = _new_name(folder)
    folder.rename(aside)
    return aside


def _remove(folder: Path | None) -> None:
    """Remove an entry; its seal goes last, so that other processes can identify the entry until then."""
    if folder is None:
        return
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _SEAL:
                path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _prune(root: Path, limit_bytes: float) -> None:
    """Remove leftovers of killed processes and, over the limit, the least recently used entries not in use."""
    gone = []
    with _locked(root) as alone:
        if not alone:
            return
        found = sorted(_entries(root), key=lambda one: one.last_use)
        total = sum(one.size_bytes for one in found)
        for one in found:
            left_over = one.folder.name.startswith(".")
            if not (left_over or total > limit_bytes) or _is_in_use(one.folder):
                continue
            if left_over:
                gone.append(one.folder)
            elif _is_own(one):
                gone.append(_moved_aside(one.folder))
            else:
                continue
            total -= one.size_bytes
        _remove_unsealed(root)
    for folder in gone:
        _remove(folder)


def _entries(root: Path) -> Iterator[_Entry]:
    """Yield the folders with a seal, two levels below the root; skip links, which lead outside."""
    for kind in root.iterdir():
        if kind.is_symlink() or not kind.is_dir():
            continue
        for folder in kind.iterdir():
            if folder.is_dir() and not folder.is_symlink() and (sealed := _sealed(folder)):
                yield sealed


def _remove_unsealed(root: Path) -> None:
    """Remove folders whose process was killed before it sealed them; they hold at most part of a seal.

    Folders are made and sealed while the cache is locked.
    """
    unfinished = f"{_SEAL}.new"
    for folder in (folder for kind in root.iterdir() if not kind.is_symlink() for folder in kind.glob(".*.tmp")):
        if not _TEMPORARY.fullmatch(folder.name) or folder.is_symlink():
            continue
        # A folder that another process is just removing may be gone.
        with suppress(OSError):
            if {path.name for path in folder.iterdir()} <= {unfinished}:
                (folder / unfinished).unlink(missing_ok=True)
                folder.rmdir()


def _is_in_use(folder: Path) -> bool:
    try:
        with open(folder / _SEAL, "r+b") as seal:
            return not _lock(seal.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True


def _limit_bytes() -> float:
    text = os.environ.get("EDGETL_CACHE_GB", _DEFAULT_LIMIT_GB)
    try:
        return float(text) * 1e9
    except ValueError:
        raise InputError(f"EDGETL_CACHE_GB is {text!r}", why="it must be a number of gigabytes") from None
