"""Records and photos of boards, over a real sshd: nothing is lost, nothing comes twice, nothing else is touched."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import small
from branches import UNMEASURED
from drawing import draw_photo
from sshd import Lab, SshBoard

from edgetl.remote import agent, pull
from edgetl.remote.connection import Connection
from edgetl.remote.fleet import Board
from edgetl.remote.pull_options import PullOptions
from edgetl_device._lib import documents
from edgetl_device._lib.files import sha256_file
from edgetl_device.classifier import Classifier
from edgetl_device.monitor import Monitor, read_records
from edgetl_device.monitor.collection import CollectionDocument
from edgetl_device.monitor.folder import FolderDocument

TINY = Path(__file__).resolve().parents[2] / "golden" / "tiny.edgetl"
PHOTOS = sorted((TINY.parent / "photos").glob("*.jpg"))

pytestmark = pytest.mark.needs_program("ssh", "sshd", "ps")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A monitor's folder with two days, as the monitor writes it, and photos."""
    folder = tmp_path_factory.mktemp("board") / "field"
    for day in (0, 1):
        clock = partial(float, 1_800_000_000 + 86_400 * day)
        with Classifier(TINY) as classifier, Monitor(folder, classifier, collect=9, clock=clock) as monitor:
            # The thread that keeps photos passes over some while it is busy.
            for number in range(60):
                monitor.classify(draw_photo(100 * day + number))
                if number >= 5 and len(photos_of(folder)) >= 3:
                    break
                time.sleep(0.02)
    assert len(photos_of(folder)) >= 3
    return folder


@pytest.fixture
def field(watched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(watched, tmp_path / "on-board"))


def photos_of(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in folder.glob("photos/*.*")}


def pulled(lab: Lab, field: Path, out: Path, *flags: object, on: str = "good") -> Any:
    done = small.edgetl(
        "field", "pull", "--on", on, "--folder", field, "--out", out, "--json", *flags, env=lab.environment
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["boards"]
    return row


def pulled_here(
    lab: Lab,
    field: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    on: str = "good",
    keep: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> pull.PulledBoard:
    """Pull in this process; ``say`` may change the board just before a file is fetched."""
    monkeypatch.setenv("EDGETL_SSH", lab.environment["EDGETL_SSH"])
    options = PullOptions(folder=str(field), keep=keep)
    found = pull.pull([Board(on, on)], out, options, say=lambda _, text: say(text), finished=lambda _: None)
    return found.boards[0]


def index_of(folder: Path) -> CollectionDocument:
    return documents.read(CollectionDocument, folder / "photos.json")


def listed(folder: Path) -> dict[str, str]:
    return {one.file: one.sha256 for one in index_of(folder).photos}


def test_what_came_is_removed_there_but_the_newest_day(lab: Lab, good: SshBoard, field: Path, tmp_path: Path) -> None:
    before, photos, index = read_records(field), photos_of(field), (field / "photos.json").read_bytes()
    out = tmp_path / "home"
    row = pulled(lab, field, out)
    here = out / "good"
    assert (row["outcome"], row["days"], row["photos"]) == ("pulled", 2, len(photos))
    assert read_records(here) == before
    assert photos_of(here) == photos
    assert (here / "photos.json").read_bytes() == index
    assert row["removed"] == 1 + len(photos)
    assert photos_of(field) == {}
    assert sorted(path.name for path in field.glob("*.jsonl")) == ["2027-01-16.jsonl"]
    # What the monitor knows stays: it goes on as if somebody had taken the photos away.
    assert (field / "photos.json").read_bytes() == index
    clock = partial(float, 1_800_000_000 + 90_000)
    with Classifier(TINY) as classifier, Monitor(field, classifier, collect=9, clock=clock) as monitor:
        monitor.classify(draw_photo(777))
    row = pulled(lab, field, out)
    assert (row["days"], row["photos"]) == (1, len(photos_of(here)) - len(photos))
    assert len(read_records(here).records) == len(before.records) + 1
    # The list names the photos of before, too.
    listed = documents.read(CollectionDocument, here / "photos.json").photos
    assert {one.file for one in listed} == set(photos_of(here))
    assert pulled(lab, field, out)["bytes"] <= (field / "photos.json").stat().st_size
    assert good.wait_quiet() == []


def test_keep_removes_nothing(lab: Lab, good: SshBoard, field: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in field.rglob("*") if path.is_file()}
    assert pulled(lab, field, tmp_path / "home", "--keep")["removed"] == 0
    assert {path: path.read_bytes() for path in field.rglob("*") if path.is_file()} == before
    del good


def test_a_board_that_began_anew_adds_to_a_day(lab: Lab, good: SshBoard, field: Path, tmp_path: Path) -> None:
    out = tmp_path / "home"
    pulled(lab, field, out, "--keep")
    day = field / "2027-01-16.jsonl"
    other = day.read_bytes().replace(b'"photos": 6', b'"photos": 7')
    assert other != day.read_bytes()
    day.write_bytes(other)
    pulled(lab, field, out, "--keep")
    assert [one.photos for one in read_records(out / "good").records] == [6, 6, 7]
    assert pulled(lab, field, out)["outcome"] == "pulled"
    assert [one.photos for one in read_records(out / "good").records] == [6, 6, 7]
    del good


@pytest.mark.parametrize("moment", [": photos.json", ": photos/"])
def test_a_list_that_is_written_meanwhile_comes_before_photos_go(
    lab: Lab, good: SshBoard, field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The monitor keeps a photo after the list was read, before the photos are: its class must come home, too."""
    photos, index = photos_of(field), index_of(field)
    documents.write(field / "photos.json", replace(index, photos=index.photos[:-1]))

    def say(text: str) -> None:
        if moment in text:
            documents.write(field / "photos.json", index)

    row = pulled_here(lab, field, tmp_path, monkeypatch, say=say)
    assert (row.why, row.photos) == (None, len(photos))
    assert photos_of(field) == {}
    assert photos_of(tmp_path / "good") == photos == listed(tmp_path / "good")
    del good


def test_a_photo_that_is_not_listed_stays(
    lab: Lab, good: SshBoard, field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, index = photos_of(field), index_of(field)
    *others, last = index.photos
    # One not at all, another with other bytes.
    others[0] = replace(others[0], sha256="0" * 64)
    documents.write(field / "photos.json", replace(index, photos=tuple(others)))
    row = pulled_here(lab, field, tmp_path, monkeypatch)
    assert set(photos_of(field)) == {last.file, others[0].file}
    assert photos_of(tmp_path / "good") == photos
    documents.write(field / "photos.json", index)
    row = pulled_here(lab, field, tmp_path, monkeypatch)
    assert (row.photos, row.removed, photos_of(field)) == (0, 2, {})
    assert listed(tmp_path / "good") == photos
    del good


def test_a_list_that_never_stays_the_same_fails_and_nothing_goes(
    lab: Lab, good: SshBoard, field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, fetch = photos_of(field), Connection.fetch

    def changed(link: Connection, folder: str, name: str, start: int) -> bytes:
        index = index_of(field)
        documents.write(field / "photos.json", replace(index, seen=index.seen + 1))
        return fetch(link, folder, name, start)

    monkeypatch.setattr(Connection, "fetch", changed)
    row = pulled_here(lab, field, tmp_path, monkeypatch)
    assert row.why is not None
    assert "photos.json: other bytes came than the board listed; 5 times" in row.why
    assert photos_of(field) == photos
    del good


def test_a_photo_that_is_replaced_meanwhile_is_left_out(
    lab: Lab, good: SshBoard, field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = photos_of(field)
    name = min(photos)

    def say(text: str) -> None:
        if "photos.json" in text:
            (field / "photos" / name).unlink()

    row = pulled_here(lab, field, tmp_path, monkeypatch, say=say)
    assert (row.why, row.photos) == (None, len(photos) - 1)
    assert name not in photos_of(tmp_path / "good")
    del good


TORN = b'{"schema": "edgetl.monitor/1", "start": "2027-01'


def test_a_line_that_is_not_complete_swallows_none(
    lab: Lab, good: SshBoard, field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, day = tmp_path / "home", field / "2027-01-16.jsonl"
    whole = day.read_bytes()
    other, third = (whole.replace(b'"photos": 6', b'"photos": %d' % number) for number in (7, 8))

    def seen(data: bytes) -> list[int]:
        day.write_bytes(data)
        assert pulled_here(lab, field, out, monkeypatch, keep=True).why is None
        found = read_records(out / "good")
        # Its end is told by who reads it, and nothing else.
        assert [problem for problem in found.problems if "is not complete" not in problem] == []
        assert len(found.problems) == (not data.endswith(b"\n"))
        return [one.photos for one in found.records[1:]]

    assert seen(whole + TORN) == [6]
    # The power failed, and the monitor has cut the line.
    assert seen(whole + other) == [6, 7]
    # Half a line was listed, then all of it.
    assert seen(whole + other + third[:99]) == [6, 7]
    assert seen(whole + other + third) == [6, 7, 8]
    assert seen(whole + other + third + TORN) == [6, 7, 8]
    # A board that began anew, in the middle of a line, and a while later.
    fourth = whole.replace(b'"photos": 6', b'"photos": 9')
    assert seen(fourth + TORN) == [6, 7, 8, 9]
    assert seen(fourth + other) == [6, 7, 8, 9]
    del good


def test_an_older_day_that_ends_within_a_line_comes_as_it_is(
    lab: Lab, good: SshBoard, field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = field / "2027-01-15.jsonl"
    data = day.read_bytes() + TORN
    day.write_bytes(data)
    pulled_here(lab, field, tmp_path, monkeypatch)
    assert not day.exists()
    assert (tmp_path / "good" / day.name).read_bytes() == data
    del good


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.faults)])
def test_cut_at_random_moments_nothing_is_lost(lab: Lab, field: Path, tmp_path: Path, times: int) -> None:
    """A board is cut again and again; each try goes on, and what is gone there is here."""
    board = lab.board(f"cut-{times}")
    # Some that take more than one reply each.
    index = index_of(field)
    for number in range(3):
        data = random.Random(number).randbytes(3_000_000)
        sha256 = hashlib.sha256(data).hexdigest()
        name = f"random-{sha256[:16]}.jpg"
        (field / "photos" / name).write_bytes(data)
        one = replace(index.photos[0], file=name, sha256=sha256, bytes=len(data), reason="random")
        index = replace(index, photos=(*index.photos, one))
    documents.write(field / "photos.json", index)
    photos, out = photos_of(field), tmp_path / "home"
    records, moments = read_records(field).records, random.Random(1)
    command = [
        sys.executable,
        "-m",
        "edgetl",
        "field",
        "pull",
        "--on",
        "cut",
        "--folder",
        str(field),
        "--out",
        str(out),
    ]
    environment = os.environ | lab.environment
    cuts = 0
    for _ in range(times):
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            # From when it copies on.
            assert process.stderr is not None
            for line in process.stderr:
                if b" of " in line:
                    break
            threading.Thread(target=process.stderr.read).start()
            time.sleep(moments.uniform(0, 0.15))
            board.cut()
            cuts += process.wait(60) == 4
        here = photos_of(out / board.name)
        assert {name: sha256 for name, sha256 in here.items() if photos[name] != sha256} == {}
        # Each photo is here or there, and what is said of it.
        there = photos_of(field)
        assert set(photos) == set(here) | set(there)
        if set(there) < set(photos):
            assert listed(out / board.name) == photos
    assert cuts
    assert pulled(lab, field, out, on=board.name)["outcome"] == "pulled"
    assert photos_of(out / board.name) == photos
    assert read_records(out / board.name).records == records
    assert photos_of(field) == {}
    assert list((out / board.name / ".parts").iterdir()) == []
    assert board.wait_quiet() == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda field: shutil.rmtree(field), "no monitor has written there"),
        (lambda field: (field / "monitor.json").write_text("[]"), "is not a monitor's folder"),
        (lambda field: (field / "monitor.json").write_text('{"schema": "edgetl.run/3"}'), "is not a monitor's folder"),
        (lambda field: (field / "2027-01-15.jsonl").write_bytes(b"x" * (17 << 20)), "bytes"),
        (lambda field: (field / "photos.json").write_bytes(b"[" * 9999), "photos.json of the board"),
    ],
)
def test_what_is_no_monitors_folder_is_left_alone(
    lab: Lab, good: SshBoard, field: Path, tmp_path: Path, change: Any, why: str
) -> None:
    change(field)
    before = {path: path.read_bytes() for path in field.rglob("*") if path.is_file()}
    done = small.edgetl(
        "field", "pull", "--on", "good", "--folder", field, "--out", tmp_path / "home", env=lab.environment
    )
    assert done.returncode in (2, 4)
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in field.rglob("*") if path.is_file()} == before
    del good


def test_other_files_and_links_stay_where_they_are(lab: Lab, good: SshBoard, field: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not yours")
    mine = field / "photos" / "mine.jpg"
    mine.write_bytes(b"mine")
    (field / "notes.txt").write_text("mine")
    link = field / "photos" / f"random-{'0' * 16}.jpg"
    link.symlink_to(secret)
    done = small.edgetl(
        "field", "pull", "--on", "good", "--folder", field, "--out", tmp_path / "home", env=lab.environment
    )
    assert done.returncode == 4
    assert "is no file of a monitor" in done.stderr
    link.unlink()
    pulled(lab, field, tmp_path / "home")
    assert mine.read_bytes() == b"mine"
    assert secret.read_text() == "not yours"
    assert not (tmp_path / "home" / "good" / "photos" / "mine.jpg").exists()
    del good


@pytest.mark.parametrize(
    "name",
    ["../run.json", "photos/../../x", "/etc/passwd", "photos/random-0.jpg", "2027-01-15.jsonl\n", "٢٠٢٧-01-15.jsonl"],
)
def test_a_board_cannot_name_files_here(name: str) -> None:
    listed = [agent.FieldFile(name, 1, "0" * 64)]
    with pytest.raises(pull.Unavailable, match="no monitor writes"):
        pull._check(listed)


def test_the_agent_knows_the_names_that_a_monitor_gives(watched: Path) -> None:
    written = {path.relative_to(watched).as_posix() for path in watched.rglob("*") if path.is_file()}
    others = {name for name in written if not agent.MONITOR_FILE.fullmatch(name)}
    assert others <= {agent.MONITOR_MARK, ".lock", "reference.json"}
    assert agent.MONITOR_MARK in others
    assert FolderDocument.SCHEMA.startswith(agent._MONITOR_SCHEMA)


def test_requests_that_cannot_be_met(lab: Lab, tmp_path: Path) -> None:
    assert "no boards" in small.refused(small.edgetl("field", "pull"))
    asked = ("field", "pull", "--on", "good", "--folder", "field")
    assert "must begin with / or ~/" in small.refused(small.edgetl(*asked))
    (tmp_path / "file").write_text("")
    done = small.edgetl("field", "pull", "--on", "good", "--out", tmp_path / "file" / "x", env=lab.environment)
    assert done.returncode == 2
    assert "is not a folder" in done.stderr or "Not a directory" in done.stderr
    # A file that nobody asked for is not named.
    said = small.refused(small.edgetl("field", "pull", "--on", "good", "--out", "/proc", env=lab.environment))
    assert said.startswith("/proc: ")


ABOUT = agent.About("/root", "/usr/bin/python3", (3, 11, 2), "aarch64", 64, ("glibc", "2.36"), 1 << 30, venv=True)


def lying(lab: Lab, name: str, *replies: object, then: str = "") -> str:
    """Start a board that gives these replies, whatever it is asked, and return its name."""
    said = lab.folder / f"{name}.said"
    said.write_text(agent.HELLO + "".join(json.dumps(reply) + "\n" for reply in ({"done": asdict(ABOUT)}, *replies)))
    lab.board(name, shell=f"cat {shlex.quote(str(said))}; {then or 'cat > /dev/null'}")
    return name


def listing(*listed: tuple[str, int, bytes]) -> dict[str, Any]:
    return {
        "done": [asdict(agent.FieldFile(name, size, hashlib.sha256(data).hexdigest())) for name, size, data in listed]
    }


def test_a_board_that_reports_without_end(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    loud = lying(lab, "loud", {"say": "x" * 10_000}, then="""yes '{"say": "y"}'""")
    row = pulled_here(lab, tmp_path, tmp_path / "home", monkeypatch, on=loud, say=said.append)
    assert (row.outcome, row.exit) == ("failed", 4)
    assert "the board's reply has no end" in str(row.why)
    assert max(map(len, said)) == 500
    assert len(said) <= 100_002


def test_more_than_a_monitor_keeps_is_refused_before_anything_comes(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [(f"photos/random-{number:016x}.jpg", 64 << 20, b"") for number in range(2_000)]
    greedy = lying(lab, "greedy", listing(*files))
    row = pulled_here(lab, tmp_path, tmp_path / "home", monkeypatch, on=greedy)
    assert (row.outcome, row.exit) == ("failed", 4)
    assert "the board lists 134,217,728,000 bytes" in str(row.why)
    assert not (tmp_path / "home" / greedy).exists()


def test_more_than_the_disk_has_room_for_is_refused_before_anything_comes(
    lab: Lab, good: SshBoard, field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    photos = photos_of(field)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: usage._replace(free=(1 << 30) + 1000))
        row = pulled_here(lab, field, tmp_path / "home", monkeypatch)
    assert (row.outcome, row.exit) == ("failed", 4)
    assert "has no room for" in str(row.why)
    assert photos_of(field) == photos
    assert not (tmp_path / "home" / "good").exists()
    assert pulled(lab, field, tmp_path / "home")["outcome"] == "pulled"
    del good


@pytest.mark.parametrize(
    ("name", "replies", "why"),
    [
        ("base", [listing(("2027-01-15.jsonl", 3, b"abc")), {"done": "*not base 64*"}], "is not base 64"),
        (
            "other",
            [
                listing(("2027-01-15.jsonl", 3, b"abc")),
                {"done": base64.b64encode(b"abd").decode()},
                listing(("2027-01-14.jsonl", 3, b"abc")),
            ],
            "another file than it was asked for",
        ),
        ("error", [{"error": "x" * 10_000}], "x" * 500),
    ],
)
def test_replies_that_no_board_gives(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, replies: list[object], why: str
) -> None:
    row = pulled_here(lab, tmp_path, tmp_path / "home", monkeypatch, on=lying(lab, name, *replies))
    assert (row.outcome, row.exit) == ("failed", 4)
    assert why in str(row.why)
    assert len(str(row.why)) <= 600
    assert not list((tmp_path / "home").glob("*/*.jsonl"))


def test_more_bytes_than_asked_are_cut(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [
        listing(("2027-01-15.jsonl", 3, b"abc")),
        {"done": base64.b64encode(b"abcdef" * 99).decode()},
        {"done": []},
        {"done": []},
    ]
    row = pulled_here(lab, tmp_path, tmp_path / "home", monkeypatch, on=lying(lab, "generous", *replies))
    assert (row.why, row.bytes) == (None, 3)
    assert (tmp_path / "home" / "generous" / "2027-01-15.jsonl").read_bytes() == b"abc"


def test_a_slow_board_holds_no_other(
    lab: Lab, good: SshBoard, field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETL_SSH", lab.environment["EDGETL_SSH"])
    boards = [Board(name, good.name) for name in ("slow", "second", "third", "fourth")]
    others, order = threading.Event(), list[str]()

    def say(board: Board, text: str) -> None:
        if (board.name, text) == ("slow", "listing"):
            others.wait(20)

    def finished(row: pull.PulledBoard) -> None:
        assert row.why is None
        order.append(row.name)
        if len(order) == 3:
            others.set()

    options = PullOptions(folder=str(field), keep=True, parallel=2)
    found = pull.pull(boards, tmp_path, options, say=say, finished=finished)
    assert order == ["second", "third", "fourth", "slow"]
    assert [row.name for row in found.boards] == ["slow", "second", "third", "fourth"]


def test_ctrl_c_ends_all_and_keeps_what_came(lab: Lab, good: SshBoard, field: Path, tmp_path: Path) -> None:
    hangs = lab.board("hangs", shell="exec cat > /dev/null")
    never = lab.board("never")
    out = tmp_path / "home"
    command = [
        *(sys.executable, "-m", "edgetl", "field", "pull", "--fleet", lab.fleet(good, hangs, never)),
        *("--folder", field, "--out", out, "--parallel", "1"),
    ]
    photos = photos_of(field)
    process = subprocess.Popen(
        [*map(str, command)], stderr=subprocess.PIPE, text=True, env=os.environ | lab.environment | UNMEASURED
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("good: done"):
            break
    ends = time.monotonic() + 20
    while not hangs.connections() and time.monotonic() < ends:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    errors = process.stderr.read()
    assert process.wait(30) == 130, errors
    assert "never" not in errors
    assert photos_of(out / "good") == photos
    assert [*good.wait_quiet(), *hangs.wait_quiet()] == []
    assert not (out / ".pull.lock").exists()
