"""Fetch public data sets: resumable download, hash check, atomic unpacking."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import IO, cast
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from edgetl._lib.progress import step, track
from edgetl.data.readers.class_labels import NAME_FILES
from edgetl_device._lib.files import atomic_path, sha256_file
from edgetl_device.errors import InputError, Unavailable

from .public_sets import PublicDataset, RemoteFile

_TIMEOUT_S = 30
_TRIES = 3  # without receiving a byte
_PAUSE_S = 1.0
_BLOCK_BYTES = 1 << 18


def fetch(dataset: PublicDataset, to: Path, *, base_url: str | None = None) -> Path:
    """Download a data set and unpack it to ``to``, ready for ``edgetl train``.

    Files are downloaded to ``<to>.download``. An interrupted download resumes there, and files fetched elsewhere can be
    put there. At the end the downloads are removed, and the folder too unless it contains anything else.

    Args:
        dataset: The data set to fetch.
        to: The folder to create.
        base_url: URL of a mirror with the same file names.

    Returns:
        ``to``.

    Raises:
        InputError: ``to`` exists already, or a file does not have the published hash; the download is removed.
        Unavailable: The server cannot be reached or stops sending; the partial download is kept.
    """
    if os.path.lexists(to):
        raise InputError(f"{to}: exists already", hint="Choose another folder with --to, or remove it.")
    downloads = to.with_name(f"{to.name}.download")
    downloads.mkdir(parents=True, exist_ok=True)
    paths = []
    for file in dataset.files:
        path = downloads / file.name
        came_another_way = path.exists()
        paths.append(download(file, path, url=f"{base_url.rstrip('/')}/{file.name}" if base_url else file.url))
        if not came_another_way:
            _mark_of(path).touch()
    with atomic_path(to, directory=True) as folder:
        for path in paths:
            if dataset.inside is None:
                shutil.copyfile(path, folder / path.name)
            else:
                with step(f"Unpacking {path.name}"):
                    _unpack(path, folder, inside=dataset.inside, left_out=dataset.left_out)
        if dataset.class_names:
            text = "".join(f"{name}\n" for name in dataset.class_names)
            (folder / NAME_FILES[0]).write_text(text, encoding="utf-8")
    for path in paths:
        if _mark_of(path).exists():
            path.unlink()
            _mark_of(path).unlink()
    with suppress(OSError):
        downloads.rmdir()
    return to


def download(file: RemoteFile, target: Path, *, url: str | None = None) -> Path:
    """Download a file and check its hash, resuming a partial download (HTTP Range, RFC 9110, 14).

    Args:
        file: URL, size and hash.
        target: Destination; ``<target>.part`` until it is complete and checked.
        url: A mirror of the same file.

    Raises:
        InputError: It does not have the published hash; the download is removed.
        Unavailable: The server cannot be reached or stops sending; the partial download is kept.
    """
    url = url or file.url
    if target.exists():
        if not _is_published(file, target):
            raise InputError(
                f"{target}: is not the published file", why="its SHA-256 differs", hint="Replace or remove it."
            )
        return target
    part = target.with_name(f"{target.name}.part")
    failures, why = 0, None
    while failures < _TRIES:
        before = _size(part)
        why = _append(file, part, url, target)
        if why is None:
            if not _is_published(file, part):
                part.unlink()
                raise InputError(
                    f"{url}: is not the published file, and was removed",
                    why=f"its SHA-256 is not {file.sha256[:16]}...",
                    hint="Run the command again. If it fails again, the file on the server has changed.",
                )
            part.replace(target)
            return target
        if _size(part) > before:
            failures = 0
        else:
            failures += 1
            time.sleep(_PAUSE_S)
    raise Unavailable(
        f"{url}: the download stopped after {_size(part) / 1e6:,.1f} MB",
        why=why or "",
        hint="Run the command again to resume.",
    )


def _append(file: RemoteFile, part: Path, url: str, target: Path) -> str | None:
    """Download the rest of a file into ``part``; return why it is incomplete, or None."""
    have = _size(part)
    try:
        with _opened(url, have, target) as response:
            if response.status == 206 and _starts_at(response, have):
                mode = "ab"
            else:
                # The server ignores ranges and sends the whole file.
                mode, have = "wb", 0
            rest = response.headers.get("Content-Length")
            total = file.size_bytes or (have + int(rest) if rest else None)
            with open(part, mode) as stream, track(file.name, (total or 0) // 1000, unit="kB", waits=True) as advance:
                advance(have // 1000)
                written = have
                while block := response.read(_BLOCK_BYTES):
                    stream.write(block)
                    advance((written + len(block)) // 1000 - written // 1000)
                    written += len(block)
    except _RangeNotSatisfiable:
        # Nothing is left to send; the hash decides whether the download is complete.
        return None
    except (HTTPException, ConnectionError, TimeoutError) as error:
        return str(error) or type(error).__name__
    if total is not None and written < total:
        return f"{written:,} of {total:,} bytes came"
    return None


class _RangeNotSatisfiable(Exception):
    pass


@contextmanager
def _opened(url: str, have: int, target: Path) -> Iterator[HTTPResponse]:
    request = Request(url, headers={"User-Agent": "edgetl"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = cast(HTTPResponse, urlopen(request, timeout=_TIMEOUT_S))
    except HTTPError as error:
        if error.code == 416 and have:
            raise _RangeNotSatisfiable from None
        raise _unreachable(url, target, f"the server answers {error.code} {error.reason}") from None
    except (URLError, TimeoutError) as error:
        raise _unreachable(url, target, f"no connection: {getattr(error, 'reason', error)}") from None
    with response:
        yield response


def _starts_at(response: HTTPResponse, offset: int) -> bool:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == offset


def _unreachable(url: str, target: Path, why: str) -> Unavailable:
    return Unavailable(
        f"{url}: cannot be fetched",
        why=why,
        hint=f"Fetch it on a machine with a network, put it at {target}, and run this again.",
    )


def _mark_of(path: Path) -> Path:
    """Return the files beside a download that edgetl wrote and may remove."""
    return path.with_name(f"{path.name}.downloaded")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_published(file: RemoteFile, path: Path) -> bool:
    with step(f"Checking {file.name}"):
        return sha256_file(path) == file.sha256


def _unpack(archive: Path, folder: Path, *, inside: str, left_out: tuple[str, ...]) -> None:
    """Write the regular files below ``inside`` to ``folder``; nothing else, and nothing outside it."""
    for name, stream in _files(archive):
        if not name.startswith(inside):
            # Licence and readme are beside the photos.
            name = inside + name if "/" not in name else ""
        relative = PurePosixPath(name[len(inside) :])
        if not name or str(relative) in left_out:
            continue
        if relative.is_absolute() or ".." in relative.parts:
            raise InputError(
                f"{archive}: has a file outside its folder: {name}", why="it is damaged or not the published archive"
            )
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)


def _files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and the content of each regular file in a zip or tar, in its order."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                if not entry.is_dir():
                    with packed.open(entry) as stream:
                        yield entry.filename, stream
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile():
                content = tar.extractfile(member)
                assert content is not None  # regular files have one
                yield member.name, content
