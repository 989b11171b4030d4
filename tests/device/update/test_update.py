"""Updates of a board: refused, undone, and interrupted by power loss, which leaves a bundle that works."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from branches import UNMEASURED
from signer import Signer, release

from edgetl_device import signature
from edgetl_device._lib import jsonfile
from edgetl_device._lib.documents import read
from edgetl_device._lib.files import sha256_bytes
from edgetl_device.bundle import Bundle
from edgetl_device.errors import GateFailed, InputError, OptionError, Unavailable
from edgetl_device.slots import CURRENT, Slots, SlotsState
from edgetl_device.update.options import MAX_VERSION, UpdateOptions
from edgetl_device.update.run import raise_failure, recover, rollback, update
from edgetl_device.verify import verify

Device = Callable[..., subprocess.CompletedProcess[str]]
Refuses = Callable[..., None]

MINE, OTHER = Signer(), Signer(bytes(32))
QUICK = UpdateOptions(photos=1)


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Bundles of versions 1 to 3, signed by both keys."""
    golden = Path(__file__).parents[2] / "golden" / "tiny.edgetl"
    folder = tmp_path_factory.mktemp("releases")
    return {number: release(golden, folder / f"v{number}.edgetl", number, MINE, OTHER) for number in (1, 2, 3)}


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    return Slots(tmp_path / "slots")


@pytest.fixture
def trust(tmp_path: Path) -> dict[str, str]:
    for name, signer in (("mine", MINE), ("other", OTHER)):
        (tmp_path / f"{name}.pub").write_text(signer.key().line())
    return {name: str(tmp_path / f"{name}.pub") for name in ("mine", "other")}


def digest(file: Path) -> str:
    return Bundle.open(file).digest


def current(slots: Slots) -> str:
    """The bundle that a program sees when it opens the link."""
    return digest(slots.path / CURRENT)


def running(slots: Slots) -> str:
    found = slots.running()
    assert found is not None
    assert digest(slots.file(found)) == found.digest
    return found.digest


def events(slots: Slots) -> list[str]:
    return [event.what for event in slots.state().events]


def test_the_first_and_the_next(slots: Slots, releases: dict[int, Path]) -> None:
    report = update(slots, releases[1], QUICK)
    assert (report.outcome, report.exit) == ("installed", 0)
    assert {check.status for check in report.checks} <= {"ok", "skipped"}
    assert report.checks[-1].name == "trial, int8"
    assert current(slots) == running(slots) == digest(releases[1])
    assert update(slots, releases[2], QUICK).outcome == "installed"
    assert current(slots) == running(slots) == digest(releases[2])
    state = slots.state()
    assert state.previous is not None
    assert state.previous.digest == digest(releases[1])
    assert (state.confirmed and state.confirmed.version) is None  # no signature was required
    before = sorted(slots.path.iterdir())
    assert update(slots, releases[2], QUICK).outcome == "unchanged"
    assert sorted(slots.path.iterdir()) == before
    assert [path.name for path in before] == ["a.edgetl", "b.edgetl", "current.edgetl", "lock", "slots.json"]
    assert read(SlotsState, slots.path / "slots.json") == state


def test_back_and_forth(slots: Slots, releases: dict[int, Path]) -> None:
    with pytest.raises(InputError, match="no bundle was installed"):
        rollback(slots)
    assert not slots.path.exists()
    update(slots, releases[1], QUICK)
    with pytest.raises(InputError, match="no previous bundle"):
        rollback(slots)
    update(slots, releases[2], QUICK)
    assert rollback(slots).outcome == "rolled back"
    assert current(slots) == running(slots) == digest(releases[1])
    assert rollback(slots).outcome == "rolled back"
    assert current(slots) == digest(releases[2])
    # There is no rollback to a bundle that no longer verifies.
    data = bytearray((slots.path / "a.edgetl").read_bytes())
    data[60_000] ^= 1
    (slots.path / "a.edgetl").write_bytes(data)
    report = rollback(slots)
    assert (report.outcome, report.exit) == ("refused", 2)
    assert current(slots) == running(slots) == digest(releases[2])


def test_signatures_decide(slots: Slots, releases: dict[int, Path], trust: dict[str, str], tiny_file: Path) -> None:
    mine = replace(QUICK, trust=(trust["mine"],))
    assert update(slots, releases[2], mine).outcome == "installed"
    state = slots.state()
    assert state.confirmed is not None
    assert (state.confirmed.version, state.confirmed.key) == (2, MINE.key().id)
    assert state.min_version == 2
    # From now on the board requires a signature by itself, and refuses older versions.
    unsigned = update(slots, tiny_file, QUICK)
    assert (unsigned.outcome, unsigned.exit) == ("refused", 2)
    assert unsigned.why == "tiny.edgetl: is not signed; only bundles signed by " + MINE.key().id + " are accepted"
    old = update(slots, releases[1], QUICK)
    assert old.why is not None
    assert "is signed as version 1" in old.why
    assert current(slots) == digest(releases[2])
    assert events(slots) == ["installed", "refused", "refused"]
    with pytest.raises(InputError, match=r"Still running: v2\.edgetl"):
        raise_failure(old)
    # The previous bundle stays in its slot until a new one passes the first checks.
    assert update(slots, releases[1], replace(QUICK, allow_downgrade=True)).outcome == "installed"
    assert slots.state().min_version == 1
    assert update(slots, releases[2], replace(QUICK, min_version=3)).outcome == "refused"


def test_the_trusted_key_changes_with_a_bundle_that_both_signed(
    slots: Slots, releases: dict[int, Path], trust: dict[str, str], tiny_file: Path, tmp_path: Path
) -> None:
    update(slots, releases[1], replace(QUICK, trust=(trust["mine"],)))
    stranger = release(tiny_file, tmp_path / "stranger.edgetl", 9, OTHER)
    report = update(slots, stranger, replace(QUICK, trust=(trust["other"],)))
    # A given key alone is not enough.
    assert (report.outcome, slots.state().trust) == ("refused", (MINE.key(),))
    assert update(slots, releases[2], replace(QUICK, trust=(trust["other"],))).outcome == "installed"
    assert slots.state().trust == (OTHER.key(),)
    assert update(slots, stranger, QUICK).outcome == "installed"


def test_a_board_that_wakes_up_in_the_past(
    slots: Slots, tiny_file: Path, trust: dict[str, str], tmp_path: Path
) -> None:
    """An expired signature stays expired on a board without a clock battery."""
    good = release(tiny_file, tmp_path / "good.edgetl", 1, MINE)
    late = release(tiny_file, tmp_path / "late.edgetl", 2, MINE, expires="2098-06-01T00:00:00+00:00")
    update(slots, good, replace(QUICK, trust=(trust["mine"],)))
    slots.write(replace(slots.state(), clock="2098-12-31T00:00:00+00:00"))
    report = update(slots, late, QUICK)
    assert report.outcome == "refused"
    assert "expired at 2098-06-01" in (report.why or "")


def test_a_damaged_bundle_is_refused_before_the_switch(slots: Slots, releases: dict[int, Path], tmp_path: Path) -> None:
    update(slots, releases[1], QUICK)
    update(slots, releases[2], QUICK)
    before = slots.state()
    data = bytearray(releases[3].read_bytes())
    data[data.index(Bundle.open(releases[3]).read("models/int8.tflite")) + 9000] ^= 1
    (tmp_path / "bad.edgetl").write_bytes(data)
    for bad in (data, data[:50_000], b"no zip"):
        (tmp_path / "bad.edgetl").write_bytes(bad)
        report = update(slots, tmp_path / "bad.edgetl", QUICK)
        assert (report.outcome, report.exit) == ("refused", 2)
        assert report.why is not None
        assert ".tmp" not in report.why
        assert "bad.edgetl" in report.why
    state = slots.state()
    assert (state.confirmed, state.previous) == (before.confirmed, before.previous)
    assert rollback(slots).outcome == "rolled back"
    assert [path.name for path in slots.path.iterdir() if path.name.startswith(".")] == []


def test_a_bundle_that_runs_but_does_not_verify_is_refused(slots: Slots, tiny_file: Path, tmp_path: Path) -> None:
    """Every file has its hash, and the models run: only the proof tells that the labels are in another order."""
    update(slots, tiny_file, QUICK)
    other = tmp_path / "other.edgetl"
    with zipfile.ZipFile(tiny_file) as old, zipfile.ZipFile(other, "w") as new:
        data = {member.filename: old.read(member) for member in old.infolist()}
        data["labels.txt"] = b"".join(reversed(data["labels.txt"].splitlines(keepends=True)))
        document = json.loads(data["bundle.json"])
        document["files"]["labels.txt"]["sha256"] = sha256_bytes(data["labels.txt"])
        document["digest"] = jsonfile.digest(document)
        data["bundle.json"] = json.dumps(document).encode()
        for name, content in data.items():
            new.writestr(name, content)
    report = update(slots, other, QUICK)
    assert (report.outcome, report.exit) == ("refused", 2)
    assert "checks failed: labels" in (report.why or "")
    assert current(slots) == digest(tiny_file)


def test_the_health_command_decides_after_the_switch(slots: Slots, releases: dict[int, Path], tmp_path: Path) -> None:
    update(slots, releases[1], QUICK)
    seen = tmp_path / "seen"
    asks = f'readlink "$EDGETL_BUNDLE" > {seen}; echo "$EDGETL_DIGEST" >> {seen}; echo all is well'
    report = update(slots, releases[2], replace(QUICK, health=asks))
    assert report.outcome == "installed"
    assert (report.checks[-1].name, report.checks[-1].detail) == ("health command", "all is well")
    assert seen.read_text().split() == ["b.edgetl", digest(releases[2])]

    report = update(slots, releases[3], replace(QUICK, health="echo camera lost >&2; exit 7"))
    assert (report.outcome, report.exit) == ("undone", GateFailed.exit_code)
    assert report.why == "the health command ended with 7; camera lost"
    assert current(slots) == running(slots) == digest(releases[2])
    with pytest.raises(GateFailed, match="undone"):
        raise_failure(report)

    started = time.monotonic()
    report = update(slots, releases[3], replace(QUICK, health="sleep 60 & sleep 60", health_timeout=0.3))
    assert time.monotonic() - started < 20
    assert (report.outcome, report.why) == ("undone", "the health command took more than 0.3 s")
    assert events(slots) == ["installed", "installed", "undone", "undone"]
    # The failed bundle overwrote its slot.
    with pytest.raises(InputError, match="no previous bundle"):
        rollback(slots)


def test_a_first_bundle_that_fails_leaves_none(slots: Slots, releases: dict[int, Path]) -> None:
    report = update(slots, releases[1], replace(QUICK, health="false"))
    assert report.outcome == "undone"
    assert slots.running() is None
    assert not os.path.lexists(slots.path / CURRENT)
    with pytest.raises(GateFailed, match="No bundle is installed"):
        raise_failure(report)
    assert update(slots, releases[1], QUICK).outcome == "installed"


def test_requests_that_are_wrong(slots: Slots, releases: dict[int, Path], folder: Path, tmp_path: Path) -> None:
    assert MAX_VERSION == signature.MAX_VERSION
    with pytest.raises(InputError, match="is a folder"):
        update(slots, folder, QUICK)
    with pytest.raises(OptionError, match="without trust"):
        update(slots, releases[1], replace(QUICK, min_version=1))
    with pytest.raises(InputError, match="no bundle was installed"):
        recover(Slots(tmp_path / "nowhere"))
    assert update(slots, tmp_path / "none.edgetl", QUICK).outcome == "refused"
    assert update(slots, releases[1], replace(QUICK, variant="int4")).outcome == "refused"
    assert slots.running() is None


def test_one_update_at_a_time(slots: Slots, releases: dict[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgetl_device.slots._PATIENCE_S", 0.1)
    update(slots, releases[1], QUICK)
    assert not slots.is_updating()
    with slots.updating():
        assert slots.is_updating()
        with pytest.raises(Unavailable, match="another update is running"):
            update(Slots(slots.path), releases[2], QUICK)


def test_a_damaged_journal_is_said(slots: Slots, releases: dict[int, Path]) -> None:
    update(slots, releases[1], QUICK)
    file = slots.path / "slots.json"
    good = json.loads(file.read_text())
    for change, said in (
        ({"confirmed": None, "pending": 3}, "pending"),
        ({"previous": good["confirmed"]}, "two bundles in one slot"),
        ({"min_version": -1}, "min_version"),
        ({"schema": "edgetl.slots/9"}, "edgetl.slots/9"),
    ):
        file.write_text(json.dumps(good | change))
        with pytest.raises(InputError, match=said):
            slots.running()


def test_the_commands(device: Device, refuses: Refuses, releases: dict[int, Path], tmp_path: Path) -> None:
    place = tmp_path / "board"
    refuses(device("slots", place, "--recover"), 2, "no bundle was installed")
    done = device("update", releases[1], place, "--photos", "2")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "installed"
    assert "copying to slot a" in done.stderr
    done = device("update", releases[2], place, "--photos", "0", "--health", "exit 3")
    refuses(done, 3, "v2.edgetl was undone", "the health command ended with 3", "Still running: v1.edgetl")
    report = json.loads(done.stdout)
    assert report["outcome"] == "undone"
    assert report["slots"]["confirmed"]["digest"] == digest(releases[1])
    assert json.loads(device("slots", place).stdout) == report["slots"]
    refuses(device("slots", place, "--rollback"), 2, "no previous bundle")


# Power loss


def started(slots: Path, bundle: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edgetl_device", "update", bundle, slots, "--photos", "1", *more]
    return subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | UNMEASURED,
        start_new_session=True,
    )


def cut(process: subprocess.Popen[bytes], after_s: float) -> bool:
    """Kill a process and its children after a time; return whether it was still running."""
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def cut_at_random(slots: Slots, releases: dict[int, Path], count: int, seed: int) -> dict[str, int]:
    """Interrupt updates at random moments; check after each that a bundle runs and verifies; count the states found."""
    chance = random.Random(seed)
    begun = time.monotonic()
    assert update(slots, releases[1], QUICK).outcome == "installed"
    whole = started(slots.path, releases[2], "--health", "sleep 0.3")
    assert whole.wait(60) == 0
    took_s = time.monotonic() - begun
    numbers = {digest(file): number for number, file in releases.items()}
    found = {"cut": 0, "old": 0, "new": 0, "interrupted": 0, "bundles that failed": 0}
    for _ in range(count):
        old = running(slots)
        number = numbers[old] % len(releases) + 1
        died = cut(started(slots.path, releases[number], "--health", "sleep 0.3"), chance.uniform(0, took_s))
        # What a reader without write permission sees, before recovery.
        seen = running(slots)
        opened = Bundle.open(slots.file(slots.running()))  # type: ignore[arg-type]
        found["bundles that failed"] += not verify(opened).ok
        assert seen in (old, digest(releases[number]))
        before = slots.state()
        recover(slots)
        assert running(slots) == current(slots) == seen
        found["cut"] += died
        found["old" if seen == old else "new"] += 1
        found["interrupted"] += before.pending is not None
        assert [path.name for path in slots.path.iterdir() if path.name.endswith(".tmp")] == []
    return found


def test_power_is_lost_a_few_times(slots: Slots, releases: dict[int, Path]) -> None:
    found = cut_at_random(slots, releases, 5, seed=int.from_bytes(os.urandom(4), "big"))
    assert found["bundles that failed"] == 0
    assert found["old"] + found["new"] == 5


@pytest.mark.faults
def test_power_is_lost_at_50_moments(slots: Slots, releases: dict[int, Path]) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    found = cut_at_random(slots, releases, 50, seed)
    print(f"seed {seed}: {found}")
    assert found["bundles that failed"] == 0
    assert found["cut"] >= 25
    assert found["interrupted"] >= 1


STEPS = ("open", "os.rename", "os.remove", "os.symlink", "os.mkdir", "os.rmdir", "os.truncate", "os.scandir")


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Do the work in another process that kills itself at a step; return whether it got that far."""
    child = os.fork()
    if not child:
        steps = iter(range(1 << 20))

        def kill(event: str, _: object) -> None:
            if event in STEPS and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_power_is_lost_at_each_step(slots: Slots, releases: dict[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt an update at each step that touches the disk; checks do not, and are left out."""
    monkeypatch.setattr("edgetl_device.update.run._Attempt._verify", lambda *_: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # there are 1,000 of them
    options = UpdateOptions(photos=0)
    update(slots, releases[1], options)
    update(slots, releases[2], options)
    old, new = digest(releases[2]), digest(releases[3])
    kept = slots.path.with_name("kept")
    shutil.copytree(slots.path, kept, symlinks=True)
    step, seen = 0, []
    while True:
        shutil.rmtree(slots.path)
        shutil.copytree(kept, slots.path, symlinks=True)

        def work() -> None:
            assert update(slots, releases[3], options).outcome == "installed"

        if not killed_at(step, work):
            break
        seen.append(running(slots))
        assert seen[-1] in (old, new), step
        recover(slots)
        assert running(slots) == current(slots) == seen[-1], step
        step += 1
    assert step > 40
    # It changes only at the confirmation.
    assert seen == sorted(seen, key=lambda one: one == new)
    assert {old, new} == set(seen)
    assert running(slots) == new


def test_sigterm_goes_back_in_order(slots: Slots, releases: dict[int, Path], tmp_path: Path) -> None:
    """The end of an SSH connection."""
    update(slots, releases[1], QUICK)
    flag = tmp_path / "flag"
    process = started(slots.path, releases[2], "--health", f"touch {flag}; sleep 60")
    while not flag.exists():
        assert process.poll() is None
        time.sleep(0.02)
    # While the update runs, followers use the pending bundle.
    assert running(slots) == current(slots) == digest(releases[2])
    process.terminate()
    assert process.wait(20) == 130
    assert running(slots) == current(slots) == digest(releases[1])
    assert events(slots) == ["installed", "undone"]
