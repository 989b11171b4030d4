"""SSH connection to one board: the user's ``ssh`` as a child process, with ``agent`` at the other end.

A single connection is used throughout, so that a hardware key needs only one touch.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from edgetl.remote.agent import HELLO, MOST_FETCHED, About, Ended, FieldFile
from edgetl_device._lib.documents import Json, of_json
from edgetl_device.errors import InputError, Unavailable

Say = Callable[[str], None]
T = TypeVar("T")

# BatchMode: fail instead of prompting unseen. ControlMaster: use an existing master but leave none behind. Forwardings
# in the user's configuration would collide between boards. Options in $EDGETL_SSH come first, and ssh takes the first.
_OPTIONS = (
    "BatchMode=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "ControlMaster=no",
    "ClearAllForwardings=yes",
    "RemoteCommand=none",
)
# Bootstrap code for the command line; the agent itself is sent over stdin.
_BOOT = (
    "import sys; v = sys.version_info[:2]; "
    'v < (3, 10) and sys.exit("edgetl needs Python 3.10 or newer, this is %d.%d" % v); '
    "exec(sys.stdin.buffer.read({count}))"
)
_DAMAGED = "The connection, or Python there, is damaged."
_BEAT_S = 5.0
# Timeout for the agent to start: a slow board takes a few seconds to start Python.
_HELLO_S = 60.0
_SSH_FAILED = 255
# Limit of a reply, which may hold a benchmark result with raw samples; a board could print without end.
_MOST_BYTES = 1 << 30
# Limits of what a board reports before it replies: an hour's benchmark reports a line a second for each variant.
_MOST_LINES, _MOST_CHARACTERS = 100_000, 500


class Children:
    """Registry of child processes, so that another thread can terminate them all at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self.stopped = False

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program in its own process group, so that Ctrl-C reaches only this process.

        Raises:
            KeyboardInterrupt: :meth:`stop` was called.
        """
        with self._lock:
            if self.stopped:
                raise KeyboardInterrupt
            child = subprocess.Popen(command, start_new_session=True, **options)
            self._running.add(child)
        return child

    def done(self, child: subprocess.Popen[bytes]) -> None:
        """Remove a program that has exited."""
        with self._lock:
            self._running.discard(child)

    def stop(self) -> None:
        """Terminate all programs and start no more."""
        with self._lock:
            self.stopped = True
            for child in self._running:
                child.terminate()


class Connection:
    """Context manager that sends requests to the agent, one at a time; a failed request raises Unavailable.

    Args:
        host: As in :class:`edgetl.remote.fleet.Board`.
        python: The Python to run on the board.
        children: Registry of the ``ssh`` process.
        say: Called with each line of progress.

    Attributes:
        about: Description of the board; available inside the ``with`` statement.

    Raises:
        Unavailable: The board is unreachable, denies access, or lacks a recent enough Python.
    """

    def __init__(self, host: str, python: str, *, children: Children, say: Say) -> None:
        self._host, self._python, self._children, self._say = host, python, children, say
        self._sending = threading.Lock()
        self._over = threading.Event()
        self._late = False
        self.about: About
        self._greeted = False

    def __enter__(self) -> Connection:
        script = files(__package__).joinpath("agent.py").read_bytes()
        # The remote shell expands ~ only outside quotes.
        home, python = ("~/", self._python[2:]) if self._python.startswith("~/") else ("", self._python)
        remote = f"exec {home}{shlex.quote(python)} -c {shlex.quote(_BOOT.format(count=len(script)))}"
        # A file, not a pipe: nothing reads stderr while waiting for a reply.
        self._errors = tempfile.TemporaryFile()
        self._process = self._children.start(
            [*ssh_command(), "-T", *(f"-o{option}" for option in _OPTIONS), "--", self._host, remote],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        late = threading.Timer(_HELLO_S, self._give_up)
        late.start()
        try:
            self._write(script)
            self._skip_to_hello()
            self.about = self._read(About, self._answer())
            self._greeted = True
        except BaseException:
            self._close()
            raise
        finally:
            late.cancel()
        threading.Thread(target=self._heartbeat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def lock(self) -> None:
        """Wait until no other run uses this board."""
        self._ask("lock")

    def has(self, path: str) -> bool:
        """Return whether a file or folder exists on the board, and mark it as used."""
        return self._read(bool, self._ask("has", path=path))

    def wanting(self, files: Mapping[str, str]) -> tuple[str, ...]:
        """Return the paths of the files (path -> SHA-256) that are missing or differ on the board."""
        return self._read(tuple[str, ...], self._ask("wanting", files=files))

    def put(self, content: BinaryIO, path: str) -> None:
        """Upload the content of a seekable file."""
        self._ask("put", content, path=path)

    def make(self, path: str) -> None:
        """Create an empty folder, replacing an existing one."""
        self._ask("make", path=path)

    def remove(self, path: str) -> None:
        """Remove a folder created by the agent."""
        self._ask("remove", path=path)

    def keep(self, path: str, count: int) -> None:
        """Remove all but the ``count`` most recently used folders in ``path``."""
        self._ask("keep", path=path, count=count)

    def run(self, command: Sequence[str], *, tell: bool = False) -> Ended:
        """Run a program and wait for it; with ``tell``, report its stderr as progress."""
        return self._read(Ended, self._ask("run", command=list(command), tell=tell))

    def field(self, folder: str, only: str = "") -> tuple[FieldFile, ...]:
        """List what a monitor wrote to its folder, records first, or the one file ``only`` if it is there."""
        return self._read(tuple[FieldFile, ...], self._ask("field", folder=folder, only=only))

    def fetch(self, folder: str, name: str, start: int) -> bytes:
        """Return a part of such a file from a byte on; nothing at its end."""
        text = self._read(str, self._ask("fetch", folder=folder, name=name, start=start, count=MOST_FETCHED))
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise Unavailable("the agent's reply: is not base 64", hint=_DAMAGED) from None

    def forget(self, folder: str, files: Mapping[str, str]) -> tuple[str, ...]:
        """Remove such files (name -> SHA-256) where they are as they were fetched; return the removed names."""
        return self._read(tuple[str, ...], self._ask("forget", folder=folder, files=files))

    def _read(self, kind: type[T], answer: Json) -> T:
        try:
            return of_json(kind, answer, name="the agent's reply")
        except InputError as error:
            raise Unavailable(error.what, hint=_DAMAGED) from None

    def _ask(self, do: str, payload: BinaryIO | None = None, **fields: Json) -> Json:
        """Send a request, with the content of ``payload`` if given, and return the agent's reply."""
        if payload is None:
            self._write(_line(do=do, **fields))
        else:
            digest = hashlib.sha256()
            while block := payload.read(1 << 20):
                digest.update(block)
            size = payload.tell()
            payload.seek(0)
            self._write(_line(do=do, bytes=size, sha256=digest.hexdigest(), **fields), payload)
        return self._answer()

    def _write(self, data: bytes, more: BinaryIO | None = None) -> None:
        """Write to ssh; if it has exited, reading the reply reports why."""
        stdin = self._process.stdin
        assert stdin is not None
        with self._sending, contextlib.suppress(BrokenPipeError):
            stdin.write(data)
            if more is not None:
                shutil.copyfileobj(more, stdin, 1 << 16)
            stdin.flush()

    def _give_up(self) -> None:
        self._late = True
        self._process.terminate()

    def _heartbeat(self) -> None:
        while not self._over.wait(_BEAT_S):
            with contextlib.suppress(ValueError):  # closed meanwhile
                self._write(_line(do="heartbeat"))

    def _skip_to_hello(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        seen, wanted = b"", HELLO.encode()
        while not seen.endswith(wanted):
            byte = stdout.read(1)
            if not byte:
                raise self._ended()
            seen = (seen + byte)[-len(wanted) :]

    def _answer(self) -> Json:
        assert self._process.stdout is not None
        lines, left = 0, _MOST_BYTES
        while line := self._process.stdout.readline(left + 1):
            if not line.endswith(b"\n") and len(line) <= left:
                break  # truncated line
            lines, left = lines + 1, left - len(line)
            if left < 0 or lines > _MOST_LINES:
                raise Unavailable("the board's reply has no end", why=f"{lines:,} lines came", hint=_DAMAGED)
            try:
                answer = json.loads(line)
            except (ValueError, RecursionError):
                answer = None
            if not isinstance(answer, dict) or len(answer) != 1:
                raise Unavailable("the board's reply is not from edgetl's agent", why=repr(line[:80])[1:])
            ((kind, content),) = answer.items()
            if kind == "done":
                return content
            if kind == "error":
                raise Unavailable(str(content)[:_MOST_CHARACTERS])
            self._say(str(content)[:_MOST_CHARACTERS])
        raise self._ended()

    def _ended(self) -> BaseException:
        """Return the error for ssh having exited."""
        if self._children.stopped:
            return KeyboardInterrupt()
        code = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        if self._late:
            return Unavailable(f"no reply within {_HELLO_S:.0f} s of connecting")
        if self._greeted:
            return Unavailable("the connection was lost", why=last)
        if code == _SSH_FAILED:
            return Unavailable(last.removeprefix("ssh: ") or "ssh failed", hint=self._hint(last))
        if code in (126, 127):
            return Unavailable(f"no {self._python} there", why=last, hint="Install Python 3.10 or newer on the board.")
        return Unavailable(last or f"{self._python} ended with {code}")

    def _hint(self, message: str) -> str:
        if "Host key verification failed" in message:
            return f"To connect for the first time, run ssh {self._host} and compare the fingerprint with the board's."
        if "Permission denied" in message:
            return f"ssh {self._host} must work without a password: see ssh-copy-id."
        return ""

    def _close(self) -> None:
        """Close stdin, on which the agent terminates its programs, and wait for ssh."""
        self._over.set()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._sending, contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()
        self._children.done(self._process)


def ssh_command() -> list[str]:
    """Return ``$EDGETL_SSH`` (such as ``ssh -F lab.conf``) or ``ssh``, split into arguments.

    Raises:
        InputError: ``$EDGETL_SSH`` is not a valid command line.
        Unavailable: The program is not found.
    """
    try:
        words = shlex.split(os.environ.get("EDGETL_SSH", "")) or ["ssh"]
    except ValueError as error:
        raise InputError("EDGETL_SSH is not a command line", why=str(error)) from None
    if shutil.which(words[0]) is None:
        raise Unavailable(f"there is no {words[0]} here", hint="Install OpenSSH's client.")
    return words


def in_memory(data: bytes) -> BinaryIO:
    """Wrap bytes as a payload."""
    return io.BytesIO(data)


def _line(**request: Json) -> bytes:
    return (json.dumps(request) + "\n").encode()
