"""The whole circle with drawn photos: train, ship, watch, bring home, label, train again, ship again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import small
from PIL import Image
from reviewing import client, serving
from sshd import Lab, SshBoard

from edgetl.runs.directory import Run
from edgetl.synthetic import draw_dataset
from edgetl_device.bundle import Bundle
from edgetl_device.monitor import read_records
from edgetl_device.slots import CURRENT, Slots
from edgetl_device.verify import verify

pytestmark = [pytest.mark.needs_program("ssh", "sshd", "ps"), pytest.mark.no_cover]


def edgetl(*arguments: object, lab: Lab) -> str:
    done = small.edgetl(*arguments, env=lab.environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pixels(photo: Path) -> bytes:
    with Image.open(photo) as image:
        return image.convert("RGB").tobytes()


def on_board(lab: Lab, board: SshBoard, command: str) -> str:
    ssh = [*lab.environment["EDGETL_SSH"].split(), board.name, command]
    done = subprocess.run(ssh, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_class_that_was_missing_comes_home_and_goes_back(short_run: Run, lab: Lab, tmp_path: Path) -> None:
    board = lab.board("shelf")
    run = Path(shutil.copytree(short_run.folder, tmp_path / "parts"))
    edgetl("quantize", run, "--int8", "--unknown", "--no-repair", lab=lab)
    fleet = lab.fleet(board, slots=f"{board.folder}/slots", field=f"{board.folder}/field")
    edgetl("deploy", run / "bundle", "--fleet", fleet, "--photos", 2, lab=lab)
    slots = Slots(board.folder / "slots")
    first = slots.running()
    assert first is not None

    # In front of the camera there are springs now, too.
    seen = draw_dataset(tmp_path / "seen", per_class=6, classes=("bolt", "spring"), size=96, seed=11)
    watch = f"-m edgetl_device classify {slots.path} {seen} --monitor {board.folder}/field --collect 60"
    kept = board.folder / "field" / "photos"
    # All at once are more than a monitor takes the time to keep.
    for _ in range(10):
        answers = on_board(lab, board, f"{sys.executable} {watch}")
        assert answers.count("unknown_score") == 12
        if len(list(kept.iterdir())) >= 9:
            break
    records = read_records(board.folder / "field").records
    assert {one.photos for one in records} == {12}

    home = tmp_path / "home"
    edgetl("field", "pull", "--fleet", fleet, "--out", home, lab=lab)
    assert list(kept.iterdir()) == []
    assert f"{12 * len(records)}" in edgetl("field", "report", home, lab=lab)
    photos = sorted((home / "shelf" / "photos").iterdir())
    assert len(photos) >= 9

    table = tmp_path / "field.csv"
    # Kept without metadata: with the same pixels, and other bytes.
    labels = {pixels(path): path.parent.name for path in seen.rglob("*") if path.is_file()}
    with serving(home / "shelf" / "photos", "--run", run, "--out", table) as (address, _):
        ask = client(address)
        while (state := ask("GET", "/state"))["photo"]:
            label = labels[pixels(home / "shelf" / "photos" / state["photo"]["path"])]
            asked = {"photo": state["photo"]["place"], "what": "label", "label": label}
            assert ask("POST", "/decide", asked)["labelled"] == state["labelled"] + 1
    assert len(table.read_text().splitlines()) == 1 + len(photos)

    flags = ("--views", 1, "--epochs", 1, "--batch-size", 8, "--trainable-blocks", 2)
    again = tmp_path / "parts-2"
    edgetl("train", "--from", run, "--add", table, "--out", again, *flags, lab=lab)
    assert Run.open(again).labels == ("bolt", "gear", "spring", "washer")
    edgetl("quantize", again, "--int8", "--no-repair", lab=lab)
    edgetl("deploy", again / "bundle", "--fleet", fleet, "--photos", 2, lab=lab)
    second = slots.running()
    assert second is not None
    assert second.digest != first.digest
    assert "spring" in Bundle.open(slots.path / CURRENT).labels
    assert verify(Bundle.open(slots.path / CURRENT)).ok
