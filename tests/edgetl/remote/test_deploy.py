"""Deployments through a real sshd on loopback: successful ones, stopped fleets, and boards that lose power."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from branches import UNMEASURED
from signer import Signer, release
from small import edgetl, refused
from sshd import Lab, SshBoard

from edgetl.cli import app
from edgetl.remote import deployment
from edgetl.remote.deploy import _waves, status
from edgetl.remote.deploy_options import DeployOptions
from edgetl.remote.deployment import BoardOutcome, Deployment
from edgetl.remote.fleet import Board
from edgetl.remote.status_page import render
from edgetl_device._lib.documents import Named
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError
from edgetl_device.slots import CURRENT, Event, Slots, SlotsState
from edgetl_device.update.options import UpdateOptions
from edgetl_device.update.run import recover, update
from edgetl_device.verify import verify

TINY = Path(__file__).resolve().parents[2] / "golden" / "tiny.edgetl"
MINE, OTHER = Signer(), Signer(bytes(32))

pytestmark = pytest.mark.needs_program("ssh", "sshd", "ps")


@pytest.fixture(scope="module")
def boards(lab: Lab) -> list[SshBoard]:
    return [lab.board(name) for name in ("one", "two")]


@pytest.fixture(scope="module")
def releases(lab: Lab) -> dict[int, Path]:
    return {number: release(TINY, lab.folder / f"v{number}.edgetl", number, MINE) for number in (1, 2, 3)}


@pytest.fixture(scope="module")
def trust(lab: Lab) -> Path:
    (lab.folder / "mine.pub").write_text(MINE.key().line())
    return lab.folder / "mine.pub"


def fleet(lab: Lab, *boards: SshBoard) -> Path:
    """A fleet of boards, each with its own slots folder, because on loopback they would share the default."""
    rows = [
        f'[[board]]\nname = "{board.name}"\nhost = "{board.name}"\npython = "{sys.executable}"\n'
        f'slots = "{board.folder}/slots"\n'
        for board in boards
    ]
    path = lab.folder / f"slots-{'-'.join(board.name for board in boards)}.toml"
    path.write_text("\n".join(rows))
    return path


def slots_of(board: SshBoard) -> Slots:
    return Slots(board.folder / "slots")


def digest(file: Path) -> str:
    return Bundle.open(file).digest


def runs(board: SshBoard) -> str:
    slots = slots_of(board)
    running = slots.running()
    assert running is not None
    assert digest(slots.path / CURRENT) == running.digest
    return running.digest


def test_a_fleet_gets_a_bundle_and_goes_back(
    lab: Lab, boards: list[SshBoard], releases: dict[int, Path], trust: Path, tmp_path: Path
) -> None:
    all_of_them = fleet(lab, *boards)
    page, written = tmp_path / "status.html", tmp_path / "deployment.json"
    shared = ("--fleet", all_of_them, "--photos", "2")
    done = edgetl(
        "deploy", releases[1], *shared, "--trust", trust, "--out", page, "--out", written, env=lab.environment
    )
    assert done.returncode == 0, done.stderr
    assert "v1.edgetl: 2 installed" in done.stdout
    found = deployment.read(written)
    assert found.to_json() == json.loads(written.read_text())
    assert (found.version, found.stopped) == (1, False)
    # One board is the canary; the others follow when it has succeeded.
    assert [(board.name, board.wave, board.outcome) for board in found.boards] == [
        ("one", 0, "installed"),
        ("two", 1, "installed"),
    ]
    order = done.stderr
    assert order.index("one: installed in") < order.index("two: connecting")
    assert all(runs(board) == digest(releases[1]) for board in boards)
    text = page.read_text()
    for word in ("one", "two", "2 boards: 2 installed", digest(releases[1])[:12]):
        assert word in text

    # From then on they refuse bundles that the trusted key has not signed.
    stranger = release(TINY, tmp_path / "stranger.edgetl", 9, OTHER)
    done = edgetl("deploy", stranger, *shared, "--out", written, env=lab.environment)
    error = refused(done)
    assert "1 of 2 boards failed: one" in error
    assert "is trusted" in error
    assert "Boards not started: 1" in error
    assert [board.outcome for board in deployment.read(written).boards] == ["refused", "not started"]
    assert deployment.read(written).stopped

    # A check after the switch fails on one board, which rolls back by itself.
    health = 'case "$EDGETL_SLOTS" in */two/slots) echo the camera is dark; exit 1;; esac'
    done = edgetl("deploy", releases[2], *shared, "--health", health, "--out", written, env=lab.environment)
    error = refused(done, 3)
    assert "two: undone: the health command ended with 1; the camera is dark" in error
    outcomes = {board.name: board.outcome for board in deployment.read(written).boards}
    assert outcomes == {"one": "installed", "two": "undone"}
    assert [runs(board) for board in boards] == [digest(releases[n]) for n in (2, 1)]

    done = edgetl("deploy", "--status", "--fleet", all_of_them, "--json", env=lab.environment)
    assert done.returncode == 0, done.stderr
    states = [board["slots"] for board in json.loads(done.stdout)["boards"]]
    assert [state["confirmed"]["version"] for state in states] == [2, 1]
    assert states[1]["events"][-1]["what"] == "undone"

    done = edgetl("deploy", "--rollback", "--fleet", all_of_them, env=lab.environment)
    error = refused(done)
    # The failed bundle overwrote the slot of its previous one.
    assert "two: refused: " in error
    assert "no previous bundle" in error
    assert all(runs(board) == digest(releases[1]) for board in boards)
    assert [board.wait_quiet() for board in boards] == [[], []]


def test_a_board_that_is_off_and_the_bound_of_failures(
    lab: Lab, boards: list[SshBoard], releases: dict[int, Path], tmp_path: Path
) -> None:
    off = lab.board("off")
    off.process.terminate()
    off.process.wait()
    written = tmp_path / "deployment.json"
    request = ("deploy", releases[3], "--fleet", fleet(lab, off, boards[1]), "--photos", "0", "--out", written)
    assert "Connection refused" in refused(edgetl(*request, env=lab.environment), 4)
    assert [board.outcome for board in deployment.read(written).boards] == ["unreachable", "not started"]
    done = edgetl(*request, "--stop-after", "2", env=lab.environment)
    assert "1 of 2 boards failed: off" in refused(done, 4)
    assert [board.outcome for board in deployment.read(written).boards] == ["unreachable", "installed"]
    again = edgetl("deploy", releases[3], "--fleet", fleet(lab, boards[1]), env=lab.environment)
    assert again.returncode == 0, again.stderr
    assert "1 unchanged" in again.stdout


def test_a_slow_board_holds_no_other(
    lab: Lab, boards: list[SshBoard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETL_SSH", lab.environment["EDGETL_SSH"])
    asked = [
        Board(name, boards[0].name, python=sys.executable, slots=str(tmp_path / name))
        for name in ("slow", "second", "third")
    ]
    others, order = threading.Event(), list[str]()

    def say(board: Board, text: str) -> None:
        if (board.name, text) == ("slow", "connecting"):
            others.wait(30)

    def changed(row: BoardOutcome, so_far: Deployment) -> None:
        order.append(row.name)
        if row.name == "second":
            assert [one.outcome for one in so_far.boards][2] == "not started"
        if row.name == "third":
            others.set()

    found = status(asked, DeployOptions(parallel=2), say=say, changed=changed)
    assert order == ["second", "third", "slow"]
    assert [(row.outcome, row.wave) for row in found.boards] == [("read", 0)] * 3
    assert not found.stopped


def test_after_a_failure_no_board_begins(lab: Lab, boards: list[SshBoard], releases: dict[int, Path]) -> None:
    off = lab.board("gone")
    off.process.terminate()
    off.process.wait()
    request = (
        "deploy",
        releases[3],
        "--fleet",
        fleet(lab, boards[1], off, boards[0]),
        "--photos",
        "0",
        "--canary",
        "0",
    )
    done = edgetl(*request, "--parallel", "1", "--json", env=lab.environment)
    assert done.returncode == 4, done.stderr
    found = json.loads(done.stdout)
    assert [row["outcome"] for row in found["boards"]][1:] == ["unreachable", "not started"]
    assert found["stopped"]


def test_ctrl_c_has_boards_go_back(lab: Lab, releases: dict[int, Path], tmp_path: Path) -> None:
    board, flag = lab.board("interrupted"), tmp_path / "flag"
    assert update(slots_of(board), releases[1], UpdateOptions(photos=0)).outcome == "installed"
    command = [
        sys.executable, "-m", "edgetl", "deploy", releases[2], "--fleet", fleet(lab, board), "--photos", "0",
        "--health", f"touch {flag}; sleep 100",
    ]  # fmt: skip
    process = subprocess.Popen(
        [*map(str, command)], stderr=subprocess.PIPE, text=True, env=os.environ | lab.environment | UNMEASURED
    )
    while not flag.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert board.wait_quiet() == []
    assert runs(board) == digest(releases[1])
    assert slots_of(board).state().events[-1].what == "undone"


def asked(*arguments: object) -> str:
    """Return the error for a request, run in this process."""
    with pytest.raises(InputError) as raised:
        app(["deploy", *map(str, arguments)], standalone_mode=False)
    return raised.value.for_command_line()


def test_requests_that_are_wrong(releases: dict[int, Path], trust: Path, tmp_path: Path) -> None:
    one = ("--on", "pi@nowhere.invalid")
    assert "give a bundle, --status or --rollback" in asked(*one)
    assert "give a bundle, --status or --rollback" in asked(releases[1], "--status", *one)
    assert "no boards" in asked(releases[1])
    assert "--canary is for a bundle" in asked("--status", "--canary", "1", *one)
    assert "--slots here: must begin with / or ~/" in asked(releases[1], "--slots", "here", *one)
    assert "int4" in asked(releases[1], "--variant", "int4", *one)
    # Refused before any board is contacted.
    assert "is not signed" in asked(TINY, "--trust", trust, *one)
    assert "is signed as version 1" in asked(releases[1], "--trust", trust, "--min-version", "2", *one)
    (tmp_path / "fleet.toml").write_text('[[board]]\nname = "a"\nhost = "a"\nslots = "here"\n')
    said = asked(releases[1], "--fleet", tmp_path / "fleet.toml")
    assert "board a: slots = 'here': must begin with / or ~/" in said


@pytest.mark.parametrize(
    ("count", "options", "sizes"),
    [
        (1, {}, [1]),
        (3, {}, [1, 2]),
        (30, {"canary": 0.1, "parallel": 8}, [3, 27]),
        (5, {"canary": 0}, [5]),
        (5, {"canary": 1, "parallel": 2}, [5]),
    ],
)
def test_waves(count: int, options: dict[str, float], sizes: list[int]) -> None:
    boards = [Board(f"b{number}", f"b{number}") for number in range(count)]
    waves = _waves(boards, DeployOptions(**options))  # type: ignore[arg-type]
    assert [len(wave) for wave in waves] == sizes
    assert [board for wave in waves for board in wave] == boards


class Markup(HTMLParser):
    """What a page consists of: its tags, and each attribute that can load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.found += [f"{name}={value}" for name, value in attrs if name in ("src", "href") or name.startswith("on")]


def test_the_page_escapes_what_boards_say() -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    page = page_of_two_boards(evil)
    assert evil not in page
    assert "the remaining boards were not started" in page
    assert "2 boards: 1 refused, 1 not started" in page
    assert markup(page) == markup(page_of_two_boards("words"))
    assert all(part.startswith("href=#") for part in markup(page) if "=" in part)


def page_of_two_boards(reason: str) -> str:
    slots = SlotsState(events=(Event("2026-11-29T00:00:00+00:00", "refused", None, None, reason),))
    rows = (
        BoardOutcome("a", 0, "refused", reason, 2, 1.0, slots),
        BoardOutcome("b", 1, "not started", None, 0, 0.0, None),
    )
    return render(Deployment(Named("edgetl", "0"), "2026-11-29T00:00:00+00:00", None, None, True, rows))


def markup(page: str) -> list[str]:
    parser = Markup()
    parser.feed(page)
    return parser.found


def test_a_damaged_deployment_names_the_field(tmp_path: Path) -> None:
    rows = (BoardOutcome("a", 0, "read", None, 0, 0.0, SlotsState()),)
    document = Deployment(Named("edgetl", "0"), "2026-11-29T00:00:00+00:00", None, None, False, rows).to_json()
    document["boards"][0]["slots"]["min_version"] = "1"
    (tmp_path / "d.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"boards\[0\]\.slots\.min_version must be a whole number"):
        deployment.read(tmp_path / "d.json")


# Power loss


def cut_at_random(lab: Lab, board: SshBoard, releases: dict[int, Path], count: int, seed: int) -> dict[str, int]:
    """Deploy repeatedly, each time killing all processes of the board at a random moment; count the states found.

    SHLVL marks the board's shells as inner ones, so that they do not read the user's ~/.bashrc: programs started there
    may leave locks behind when killed.
    """
    chance = random.Random(seed)
    slots, numbers = slots_of(board), {digest(file): number for number, file in releases.items()}
    quick = UpdateOptions(photos=1)
    assert update(slots, releases[1], quick).outcome == "installed"
    health_s = 1.0
    command = [
        sys.executable, "-m", "edgetl", "deploy", "--fleet", fleet(lab, board), "--photos", "1", "--health",
        f"sleep {health_s}",
    ]  # fmt: skip

    def started(number: int) -> subprocess.Popen[bytes]:
        # Processes on the board are killed, and their coverage data with them.
        return subprocess.Popen(
            [*map(str, command), str(releases[number])],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | lab.environment | UNMEASURED,
        )

    begun = time.monotonic()
    assert started(2).wait(120) == 0
    took_s = time.monotonic() - begun
    found = {"cut": 0, "old": 0, "new": 0, "interrupted": 0, "bundles that failed": 0}
    for _ in range(count):
        seen_before = runs(board)
        number = numbers[seen_before] % len(releases) + 1
        process = started(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.2 * took_s, took_s))
        died = process.poll() is None
        lose_power(board)
        process.wait(60)
        assert board.wait_quiet() == []
        running = slots.running()
        assert running is not None
        seen = running.digest
        assert seen in (seen_before, digest(releases[number]))
        found["bundles that failed"] += not verify(Bundle.open(slots.file(running))).ok
        found["interrupted"] += slots.state().pending is not None
        recover(slots)
        assert runs(board) == seen
        found["cut"] += died
        found["old" if seen == seen_before else "new"] += 1
    return found


def weak_board(lab: Lab, name: str) -> SshBoard:
    return lab.board(name, env=f"SHLVL=5 PYTHONPATH={os.environ.get('PYTHONPATH', '')}")


def lose_power(board: SshBoard) -> None:
    """Kill all processes of the board at once, until none is left: the agent, the update, and their children."""
    while running := [*board.connections(), *board.running()]:
        groups = set()
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                groups.add(os.getpgid(pid))
        for group in groups - {os.getpgrp(), os.getpgid(board.process.pid)}:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def test_a_board_loses_power_a_few_times(lab: Lab, releases: dict[int, Path]) -> None:
    found = cut_at_random(lab, weak_board(lab, "weak"), releases, 2, int.from_bytes(os.urandom(4), "big"))
    assert found["bundles that failed"] == 0
    assert found["old"] + found["new"] == 2


@pytest.mark.faults
def test_a_board_loses_power_at_50_moments(lab: Lab, releases: dict[int, Path]) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    found = cut_at_random(lab, weak_board(lab, "weaker"), releases, 50, seed)
    print(f"seed {seed}: {found}")
    assert found["bundles that failed"] == 0
    assert found["cut"] >= 15
    assert found["interrupted"] >= 1
