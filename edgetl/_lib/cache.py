"""The folder for what can be computed again: decoded pixels, converted bases, activations.

An entry's key must hold everything that changes its content. Not for: anything a user would miss.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgetl._lib.progress import note
from edgetl_device.errors import InputError
from edgetl_device.files import atomic_path

_DEFAULT_LIMIT_GB = 20.0
_ABANDONED_S = 24 * 3600
# Beside the files of an entry: what they were when it was finished.
_SEAL = "entry.json"


def cache_dir() -> Path:
    """Return ``$EDGETL_CACHE``, else ``edgetl`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("EDGETL_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgetl"


def key_of(**parts: Any) -> str:
    """Return a key for content that depends on ``parts`` (JSON values) and on nothing else."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def entry(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of a cache entry, made by ``make(folder)`` when it is not there yet.

    The folder appears only when ``make`` has ended; two processes may make the same entry, and one of them wins.
    An entry whose files are not as ``make`` left them (another size or time of writing) is made again, and said.
    Entries unused for longest are removed when the cache is over its limit (``$EDGETL_CACHE_GB``, 20 by default).
    """
    folder = cache_dir() / kind / key
    if folder.is_dir() and not _is_whole(folder):
        note(f"damaged cache entry, made again: {folder}")
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.is_dir():
        with atomic_path(folder, directory=True) as temporary:
            make(temporary)
            (temporary / _SEAL).write_text(json.dumps(_files(temporary)), encoding="utf-8")
        _prune(keep=folder)
    os.utime(folder)
    return folder


def _files(folder: Path) -> dict[str, list[int]]:
    """Return the size in bytes and the time of writing in ns of every file; renaming the folder changes neither."""
    status = {path.name: path.stat() for path in folder.iterdir() if path.name != _SEAL}
    return {name: [one.st_size, one.st_mtime_ns] for name, one in sorted(status.items())}


def _is_whole(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / _SEAL).read_bytes()) == _files(folder))
    except (OSError, ValueError):
        return False


def _prune(keep: Path) -> None:
    limit_bytes = _limit_bytes()
    entries = sorted((folder for folder in cache_dir().glob("*/*") if _is_old(folder)), key=_last_use)
    sizes = {folder: sum(_size(file) for file in folder.rglob("*")) for folder in entries}
    total = sum(sizes.values())
    for folder in entries:
        # A name with a dot is what a killed process left unfinished.
        left_over = folder.name.startswith(".")
        if folder != keep and (left_over or total > limit_bytes):
            shutil.rmtree(folder, ignore_errors=True)
            total -= sizes[folder]


def _limit_bytes() -> float:
    text = os.environ.get("EDGETL_CACHE_GB", _DEFAULT_LIMIT_GB)
    try:
        return float(text) * 1e9
    except ValueError:
        raise InputError(f"EDGETL_CACHE_GB is {text!r}", why="it must be a number of gigabytes") from None


def _is_old(folder: Path) -> bool:
    """Whether another process is surely not writing this entry: it is finished, or a day old."""
    return not folder.name.startswith(".") or time.time() - _last_use(folder) > _ABANDONED_S


def _last_use(path: Path) -> float:
    # Another process may remove entries at the same time.
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
