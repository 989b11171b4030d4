"""Agent on a board for commands with ``--on``: stores and fetches files, runs programs, exits with the connection.

The source of this file is sent over SSH to the board's Python, so it imports the standard library only. It reads one
JSON request per line on stdin (some followed by a payload) and writes one JSON reply per line on stdout. If stdin
closes or is silent for a minute, the connection is dead: the agent kills its child processes, removes unfinished files
and exits.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# A login shell may print text before this; the first reply follows on the same line.
HELLO = "edgetl-agent/1 "
# The workstation sends a heartbeat every few seconds: silence means that it sleeps or is disconnected.
SILENCE_S = 60.0
# Marks folders that the agent created and may remove.
MARK = ".edgetl"
# Seconds from SIGTERM to SIGKILL.
GRACE_S = 3.0
# What a monitor writes to its folder; a test compares it with edgetl_device.monitor.
MONITOR_MARK = "monitor.json"
_MONITOR_SCHEMA = "edgetl.monitor-folder/"
MONITOR_FILE = re.compile(
    r"\d{4}-\d\d-\d\d\.jsonl|photos\.json|photos/(unknown|uncertain|random)-[0-9a-f]{16}\.[a-z]{3,4}", re.ASCII
)
# Bytes of a file in one reply.
MOST_FETCHED = 1 << 20


@dataclass(frozen=True)
class About:
    """A board, as described by its agent.

    Attributes:
        root: Working folder of the agent.
        executable: Path of the Python that runs the agent.
        python: Version of that Python.
        machine: Architecture as named by the kernel.
        bits: 64 or 32, of the userland: a 64-bit kernel may run a 32-bit system.
        libc: Name and version of the C library; empty if it is not glibc.
        free_bytes: Free disk space at ``root``, in bytes.
        venv: Whether this Python can create virtual environments (a separate package on Debian).
    """

    root: str
    executable: str
    python: tuple[int, int, int]
    machine: str
    bits: int
    libc: tuple[str, str]
    free_bytes: int
    venv: bool


@dataclass(frozen=True)
class FieldFile:
    """A file in a monitor's folder.

    Attributes:
        name: Its path in the folder.
        bytes: Its size.
        sha256: Its SHA-256.
    """

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Ended:
    """Result of a program on a board.

    Attributes:
        exit: Exit code; negative signal number if killed by a signal.
        stdout: Standard output.
        stderr: Last 8,000 bytes of standard error.
    """

    exit: int
    stdout: str
    stderr: str


class Disconnected(Exception):
    """The workstation has disconnected."""


class Link:
    """The board's end of the SSH connection."""

    def __init__(self, source: int, target: int) -> None:
        self.source, self._target = source, target
        self._held = bytearray()
        # Payload bytes of the last request not yet received.
        self._owed = 0
        self._heard_s = time.monotonic()

    def fill(self, timeout_s: float) -> None:
        """Receive available bytes, waiting at most ``timeout_s``; raise Disconnected at the end of the stream."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.source, selectors.EVENT_READ)
            ready = selector.select(timeout_s)
        if ready:
            data = os.read(self.source, 1 << 16)
            if not data:
                raise Disconnected
            self._held += data
            self._heard_s = time.monotonic()
        elif time.monotonic() - self._heard_s > SILENCE_S:
            raise Disconnected

    def request(self) -> dict[str, Any]:
        """Return the next request, skipping heartbeats."""
        while True:
            line, found, rest = self._held.partition(b"\n")
            if not found:
                self.fill(SILENCE_S / 4)
                continue
            self._held = rest
            request: dict[str, Any] = json.loads(line)
            if request["do"] != "heartbeat":
                self._owed = request.get("bytes", 0)
                return request

    def upload(self) -> Iterator[bytes]:
        """Yield the payload of the last request in chunks."""
        while self._owed:
            if not self._held:
                self.fill(SILENCE_S / 4)
                continue
            piece = bytes(self._held[: self._owed])
            del self._held[: self._owed]
            self._owed -= len(piece)
            yield piece

    def send(self, **answer: Any) -> None:
        """Write a reply, or a line of progress with ``say=``."""
        data = (json.dumps(answer) + "\n").encode()
        while data:
            data = data[os.write(self._target, data) :]


def main() -> None:
    """Serve requests until the workstation disconnects."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    os.write(1, HELLO.encode())
    link = Link(0, 1)
    try:
        root = _root()
        link.send(done=asdict(_describe(root)))
        with open(root / "lock", "wb") as lock:
            while True:
                request = link.request()
                try:
                    answer: dict[str, Any] = {"done": _OPERATIONS[request["do"]](link, root, request, lock)}
                except BrokenPipeError:
                    raise
                except OSError as error:
                    answer = {"error": str(error)}
                # Drain the payload, or the rest of it would be read as the next request.
                for _ in link.upload():
                    pass
                link.send(**answer)
    except (Disconnected, BrokenPipeError):
        pass
    except OSError as error:
        link.send(error=str(error))


def _leave(number: int, frame: Any) -> None:
    del number, frame
    raise Disconnected


def _root() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgetl" / "remote"
    root.mkdir(parents=True, exist_ok=True)
    return root


def _describe(root: Path) -> About:
    version = sys.version_info
    return About(
        root=str(root),
        executable=sys.executable,
        python=(version.major, version.minor, version.micro),
        machine=platform.machine(),
        bits=8 * struct.calcsize("P"),
        libc=platform.libc_ver(),
        free_bytes=shutil.disk_usage(root).free,
        venv=all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
    )


def _lock(link: Link, root: Path, request: dict[str, Any], lock: Any) -> None:
    """Wait until no other run uses this board: concurrent runs would distort each other's timings."""
    del root, request
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                link.send(say="waiting: another edgetl uses this board")
            told = True
        link.fill(0.5)


def _has(link: Link, root: Path, request: dict[str, Any], lock: Any) -> bool:
    del link, lock
    path = root / request["path"]
    if not path.exists():
        return False
    # Mark as recently used.
    os.utime(path.parent)
    return True


def _wanting(link: Link, root: Path, request: dict[str, Any], lock: Any) -> list[str]:
    """Return the files that are missing or have another SHA-256: a power loss can leave empty files on an SD card."""
    del lock
    found = []
    for name, sha256 in request["files"].items():
        path = root / name
        if _sha256(path) != sha256:
            found.append(name)
        elif root in path.parents:
            # Mark as recently used.
            os.utime(path.parent)
        # Receive heartbeats and notice a disconnect meanwhile.
        link.fill(0)
    return found


def _sha256(path: Path) -> str | None:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return digest.hexdigest()


def _put(link: Link, root: Path, request: dict[str, Any], lock: Any) -> None:
    """Store the payload; the file appears only if its SHA-256 matches."""
    del lock
    target = root / request["path"]
    part = target.with_name(target.name + ".part")
    digest = hashlib.sha256()
    _marked(root, request["path"])
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(part, "wb") as stream:
            for piece in link.upload():
                digest.update(piece)
                stream.write(piece)
            stream.flush()
            # A power loss must not leave an empty file after the rename.
            os.fsync(stream.fileno())
        if digest.hexdigest() != request["sha256"]:
            raise OSError(f"{target.name} was damaged on the way")
        part.replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _marked(root: Path, path: str) -> Path:
    """Return the managed folder of ``path``, such as ``venvs/KEY``; create and mark it if missing."""
    folder = root.joinpath(*Path(path).parts[:2])
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / MARK).touch()
    return folder


def _make(link: Link, root: Path, request: dict[str, Any], lock: Any) -> None:
    """Create a folder with only its mark, replacing an existing one."""
    _remove(link, root, request, lock)
    _marked(root, request["path"])


def _remove(link: Link, root: Path, request: dict[str, Any], lock: Any) -> None:
    """Remove a folder created by the agent, or one inside it."""
    del link, lock
    path = root / request["path"]
    if not path.exists():
        return
    if not (root.joinpath(*Path(request["path"]).parts[:2]) / MARK).is_file():
        raise OSError(f"{path}: was not made by this edgetl, and is not removed; move it away")
    shutil.rmtree(path)


def _keep(link: Link, root: Path, request: dict[str, Any], lock: Any) -> None:
    """Remove folders created by the agent, except the most recently used."""
    del link, lock
    made = [folder for folder in (root / request["path"]).iterdir() if (folder / MARK).is_file()]
    folders = sorted(made, key=lambda folder: folder.stat().st_mtime)
    for folder in folders[: -request["count"]]:
        shutil.rmtree(folder, ignore_errors=True)


def _run(link: Link, root: Path, request: dict[str, Any], lock: Any) -> dict[str, Any]:
    """Run a program and return exit code and output; with ``tell``, stream its stderr."""
    del lock
    child = subprocess.Popen(
        request["command"],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        printed, said = _follow(link, child, tell=request["tell"])
    except BaseException:
        _end(child)
        raise
    return asdict(Ended(child.wait(), printed.decode(errors="replace"), said[-8000:].decode(errors="replace")))


def _follow(link: Link, child: subprocess.Popen[bytes], *, tell: bool) -> tuple[bytes, bytes]:
    """Read stdout and stderr of a program to the end while watching the connection."""
    assert child.stdout is not None
    assert child.stderr is not None
    streams = {child.stdout.fileno(): bytearray(), child.stderr.fileno(): bytearray()}
    printed, said = streams.values()
    told = 0
    with selectors.DefaultSelector() as selector:
        for number in (link.source, *streams):
            selector.register(number, selectors.EVENT_READ)
        while len(selector.get_map()) > 1:
            ready = {key.fd for key, _ in selector.select(SILENCE_S / 4)}
            for number in ready & set(streams):
                data = os.read(number, 1 << 16)
                streams[number] += data
                if not data:
                    selector.unregister(number)
            # Even if nothing is ready, to notice silence.
            link.fill(0)
            if tell and (end := said.rfind(b"\n") + 1) > told:
                link.send(say=said[told:end].decode(errors="replace").splitlines()[-1])
                told = end
    return bytes(printed), bytes(said)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Terminate a program and its child processes."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)


def _monitored(request: dict[str, Any]) -> Path:
    """Return a monitor's folder, which may be given from the user's home."""
    folder = Path(request["folder"]).expanduser()
    try:
        with open(folder / MONITOR_MARK, encoding="utf-8") as stream:
            known = str(json.loads(stream.read(1 << 16))["schema"]).startswith(_MONITOR_SCHEMA)
    except FileNotFoundError:
        raise OSError(f"{folder}: no monitor has written there") from None
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise OSError(f"{folder}: is not a monitor's folder")
    return folder


def _field_file(folder: Path, name: str) -> Path:
    """Return the path of a file that a monitor wrote: no link, and nothing of another name."""
    path = folder / name
    if not MONITOR_FILE.fullmatch(name) or path.is_symlink() or path.parent.is_symlink() or not path.is_file():
        raise OSError(f"{name}: is no file of a monitor")
    return path


def _field(link: Link, root: Path, request: dict[str, Any], lock: Any) -> list[dict[str, Any]]:
    """List what a monitor wrote, records first, or one of these files."""
    del root, lock
    folder = _monitored(request)
    found = []
    for path in (*sorted(folder.iterdir()), *sorted(folder.glob("photos/*"))):
        name = path.relative_to(folder).as_posix()
        if MONITOR_FILE.fullmatch(name) and request["only"] in ("", name):
            try:
                # It may grow meanwhile: the size is that of what was hashed.
                data = _field_file(folder, name).read_bytes()
            except OSError:
                if os.path.lexists(path):
                    raise
                continue  # the monitor has replaced it
            found.append(asdict(FieldFile(name, len(data), hashlib.sha256(data).hexdigest())))
            link.fill(0)
    return found


def _fetch(link: Link, root: Path, request: dict[str, Any], lock: Any) -> str:
    """Return a part of a file that a monitor wrote, in base 64; nothing if it is gone."""
    del link, root, lock
    folder = _monitored(request)
    if not (folder / request["name"]).exists():
        return ""
    with open(_field_file(folder, request["name"]), "rb") as stream:
        stream.seek(request["start"])
        return base64.b64encode(stream.read(min(request["count"], MOST_FETCHED))).decode()


def _forget(link: Link, root: Path, request: dict[str, Any], lock: Any) -> list[str]:
    """Remove files that a monitor wrote and that still are what was fetched; return their names."""
    del root, lock
    folder = _monitored(request)
    removed = []
    for name, sha256 in request["files"].items():
        with contextlib.suppress(OSError):
            path = _field_file(folder, name)
            if _sha256(path) == sha256:
                path.unlink()
                removed.append(name)
        link.fill(0)
    return removed


_OPERATIONS = {
    "field": _field,
    "fetch": _fetch,
    "forget": _forget,
    "lock": _lock,
    "has": _has,
    "wanting": _wanting,
    "put": _put,
    "make": _make,
    "remove": _remove,
    "keep": _keep,
    "run": _run,
}

if __name__ == "__main__":
    main()
