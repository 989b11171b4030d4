"""Boards for tests: real sshd on loopback, each with its own port, host key and cache folder; no user files."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from programs import needs_program


@dataclass
class SshBoard:
    """A running sshd.

    Attributes:
        name: Its host alias in the configuration of its :class:`Lab`.
        folder: Folder of its keys and its log.
        cache: ``$XDG_CACHE_HOME`` of its programs.
        port: Port on 127.0.0.1.
        process: The listening sshd.
    """

    name: str
    folder: Path
    cache: Path
    port: int
    process: subprocess.Popen[bytes]

    def running(self) -> list[int]:
        """Return the processes that belong to this board: those with its cache folder in their environment."""
        mark = f"XDG_CACHE_HOME={self.cache}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def connections(self) -> list[int]:
        """Return the processes that sshd started for connections."""
        done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        return [int(pid) for pid in done.stdout.split()]

    def wait_quiet(self, seconds: float = 15.0) -> list[int]:
        """Wait for the board's processes to end; return those still running, which should be none."""
        ends = time.monotonic() + seconds
        while (left := self.running()) and time.monotonic() < ends:
            time.sleep(0.1)
        return left

    def cut(self) -> None:
        """Kill sshd's processes for all connections, as in a power loss."""
        for pid in self.connections():
            os.kill(pid, signal.SIGKILL)


class Lab:
    """A context manager for boards and the ssh configuration that lists them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "ssh_config"
        self.known = folder / "known_hosts"
        self.key = folder / "key"
        self.boards: list[SshBoard] = []

    def __enter__(self) -> Lab:
        self.folder.mkdir(parents=True, exist_ok=True)
        _keygen(self.key)
        self.known.touch()
        self.config.write_text(
            f"Host *\n  HostName 127.0.0.1\n  User {getpass.getuser()}\n  IdentityFile {self.key}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {self.known}\n  GlobalKnownHostsFile /dev/null\n"
        )
        return self

    def __exit__(self, *exception: object) -> None:
        for board in self.boards:
            board.process.terminate()
            board.process.wait(10)

    @property
    def environment(self) -> dict[str, str]:
        """The environment that makes edgetl use this lab's configuration."""
        return {"EDGETL_SSH": f"ssh -F {self.config}"}

    def board(
        self, name: str, *, known: bool = True, shell: str = "", env: str = "", home: Path | None = None
    ) -> SshBoard:
        """Start a board.

        Args:
            name: Host alias.
            known: Whether the client knows its host key.
            shell: A script to run instead of the requested command.
            env: Further ``NAME=value`` for its programs.
            home: Its home folder, where ``scp`` copies to; the user's own when None, and then without ``scp``.
        """
        folder = self.folder / name
        folder.mkdir()
        cache = folder / "cache"
        host_key, port = folder / "host_key", _free_port()
        _keygen(host_key)
        shutil.copy(self.key.with_suffix(".pub"), folder / "authorized_keys")
        # StrictModes checks parent folders too, and temporary folders are world-writable.
        (folder / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nPermitRootLogin yes\n"
            # The device package under test, if it is not the installed one.
            f"SetEnv XDG_CACHE_HOME={cache} {f'HOME={home} ' if home else ''}"
            f"{env or 'PYTHONPATH=' + os.environ.get('PYTHONPATH', '')}\n"
        )
        if shell:
            script = folder / "shell"
            script.write_text(f"#!/bin/sh\n{shell}\n")
            script.chmod(0o755)
            with (folder / "sshd_config").open("a") as stream:
                stream.write(f"ForceCommand {script}\n")
        if home is not None:
            with (folder / "sshd_config").open("a") as stream:
                stream.write(f"Subsystem sftp internal-sftp -d {home}\n")
        if os.geteuid() == 0:
            # Compiled into sshd: the folder of its unprivileged process.
            Path("/run/sshd").mkdir(exist_ok=True)
        log = (folder / "log").open("wb")
        command = [needs_program("sshd"), "-D", "-e", "-f", str(folder / "sshd_config")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        board = SshBoard(name, folder, cache, port, process)
        self.boards.append(board)
        with self.config.open("a") as stream:
            stream.write(f"Host {name}\n  Port {port}\n")
        # Host keys are looked up by address: 127.0.0.1 in brackets, with the port.
        if known:
            with self.known.open("a") as stream:
                stream.write(f"[127.0.0.1]:{port} {host_key.with_suffix('.pub').read_text()}")
        _wait_listening(board)
        return board

    def fleet(self, *boards: SshBoard, python: str = sys.executable, **fields: str) -> Path:
        """Write a fleet file of boards that share all further fields."""
        rows = []
        for board in boards:
            row = {"name": board.name, "host": board.name} | ({"python": python} if python else {}) | fields
            rows.append("[[board]]\n" + "".join(f'{key} = "{value}"\n' for key, value in row.items()))
        path = self.folder / f"fleet-{'-'.join(board.name for board in boards)}.toml"
        path.write_text("\n".join(rows))
        return path


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_listening(board: SshBoard) -> None:
    ends = time.monotonic() + 10
    while not _listens(board.port):
        if board.process.poll() is not None or time.monotonic() > ends:
            raise RuntimeError(f"sshd does not run: {(board.folder / 'log').read_text()}")
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0
