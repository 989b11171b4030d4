"""Records and photos of boards, over a real sshd: nothing is lost, nothing comes twice, nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import small
from drawing import draw_photo
from sshd import Lab, SshBoard

from edgetl.remote import agent, pull
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
            for number in range(6):
                monitor.classify(draw_photo(100 * day + number))
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


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.faults)])
def test_cut_at_random_moments_nothing_is_lost(lab: Lab, field: Path, tmp_path: Path, times: int) -> None:
    """A board is cut again and again; each try goes on, and what is gone there is here."""
    board = lab.board(f"cut-{times}")
    # Some that take more than one reply each.
    for number in range(3):
        data = random.Random(number).randbytes(3_000_000)
        sha256 = hashlib.sha256(data).hexdigest()
        (field / "photos" / f"random-{sha256[:16]}.jpg").write_bytes(data)
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
        # Each photo is here or there.
        assert set(photos) == set(here) | set(photos_of(field))
    assert cuts
    assert pulled(lab, field, out, on=board.name)["outcome"] == "pulled"
    assert photos_of(out / board.name) == photos
    assert read_records(out / board.name).records == records
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
