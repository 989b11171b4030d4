"""Commands that are killed: at a moment, or at the n-th step at which they touch the disk in some folder."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from branches import UNMEASURED

from edgetl_device._lib.files import heal

# Read by Python when it starts, before anything else. The variables are for this process and not for its children.
_HOOK = """
import atexit, os, signal, sys
_at, _folder, _count = (os.environ.pop(name, "") for name in ("KILL_AT", "KILL_IN", "KILL_COUNT"))
_steps, _owner = 0, os.getpid()
def _hook(event, arguments):
    global _steps
    if event == "open":
        path, _, flags = arguments
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
    elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"):
        path = arguments[0]
    else:
        return
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, str) or not os.path.abspath(path).startswith(_folder) or os.getpid() != _owner:
        return
    if _at and _steps == int(_at):
        os.kill(os.getpid(), signal.SIGKILL)
    _steps += 1
def _write():
    with open(_count, "w") as stream:
        stream.write(str(_steps))
if _folder:
    sys.addaudithook(_hook)
    if _count:
        atexit.register(_write)
"""


@dataclass(frozen=True)
class Command:
    """A command of edgetl that writes something.

    Attributes:
        words: Its arguments.
        place: The folder that it writes to, and what else is there.
        check: Raises unless what the command makes is whole; called only if it is there.
        made: What the command makes.
        replaces: Whether it replaces what is there; otherwise that is removed before each start.
        env: Further environment.
        again: The arguments of the next start after a kill, if they are others.
        after: Called after each kill.
        settled: Raises unless all that was made fits together; called after each start that was let run to its end.
    """

    words: tuple[object, ...]
    place: Path
    made: tuple[Path, ...]
    check: Callable[[], object]
    replaces: bool = True
    env: dict[str, str] = field(default_factory=dict)
    again: Callable[[], tuple[object, ...]] | None = None
    after: Callable[[], object] = lambda: None
    settled: Callable[[], object] = lambda: None


def kill_often(command: Command, *, kills: int, finish_every: int = 1, seed: int | None = None) -> dict[str, int]:
    """Kill a command at random moments, and say what was found.

    Half of the kills come at a random time between its start and its end, the others at a random step of those at which
    it touches its folder. After each, what it makes is whole or absent, and not absent if it was there before, once its
    folder is swept; the next start succeeds on what is left, and leaves nothing else in its folder than a start that
    nobody kills.

    Args:
        command: The command.
        kills: How often.
        finish_every: After how many kills the next start is let run to its end.
        seed: Of the moments; by default another one each time.
    """
    seed = int.from_bytes(os.urandom(4), "big") if seed is None else seed
    chance = random.Random(seed)
    hook = command.place.parent / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_HOOK)
    count = hook / "count"
    if kills > 5:
        finish(command, hook, count)  # so that what it takes is not that of empty caches
        _clear(command)
    started_s = time.monotonic()
    finish(command, hook, count)
    took_s, steps = time.monotonic() - started_s, int(count.read_text())
    clean = names(command.place)
    command.check()
    found = {"seed": seed, "kills": 0, "ended before": 0, "old or new": 0, "absent": 0, "steps": steps}
    number = 0
    while found["kills"] < kills:
        number += 1
        assert number < 10 * kills, found
        _clear(command)
        there = all(map(os.path.lexists, command.made))
        at = chance.randrange(steps) if number % 2 else None
        process = start(command, hook, count, at=at, words=command.words)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(600 if at is not None else chance.uniform(0, took_s))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait(60)
        found["kills" if code == -signal.SIGKILL else "ended before"] += 1
        command.after()
        if code != -signal.SIGKILL:
            continue
        if number % 4 < 2:  # otherwise that is left to the next start
            for path in command.made:
                heal(path)
            half = {path.name for path in command.made if os.path.lexists(path)}
            assert len(half) in (0, len(command.made)), (found, number, at, half)
        whole = all(map(os.path.lexists, command.made))
        assert whole or not there, (found, number)
        if whole:
            command.check()
        found["old or new" if whole else "absent"] += 1
        if found["kills"] % finish_every:
            continue
        words = command.again() if command.again is not None else command.words
        if words == command.words and whole:
            _clear(command)
        finish(command, hook, count, words)
        command.check()
        command.settled()
        assert names(command.place) == clean, (found, number, at)
    return found


def start(
    command: Command, hook: Path, count: Path, *, at: int | None, words: tuple[object, ...]
) -> subprocess.Popen[bytes]:
    """Start a command, to be killed at a step."""
    environment = os.environ | UNMEASURED | command.env
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(hook), environment.get("PYTHONPATH", ""))))
    environment |= {"KILL_IN": str(command.place), "KILL_COUNT": str(count), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {} if at is None else {"KILL_AT": str(at)}
    with open(hook / "log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "edgetl", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def finish(command: Command, hook: Path, count: Path, words: tuple[object, ...] = ()) -> None:
    """Run a command to its end, which must be success."""
    process = start(command, hook, count, at=None, words=words or command.words)
    assert process.wait(600) == 0, (hook / "log").read_text(errors="replace")


def names(folder: Path) -> set[str]:
    """Return the paths of all that is below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def _clear(command: Command) -> None:
    """Remove what a command would refuse to replace."""
    for path in () if command.replaces else command.made:
        heal(path)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
