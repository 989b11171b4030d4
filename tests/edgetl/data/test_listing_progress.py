"""A folder that takes long to list shows from the first second that something happens, and how far it is."""

from __future__ import annotations

import math
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgetl.data import list_photos

# A disk that takes 8 ms for each file that it is asked about.
_SLOW = """
import sys, time
from pathlib import Path
is_file = Path.is_file
def slow(path):
    if path.suffix == ".jpg":
        time.sleep(0.008)
    return is_file(path)
Path.is_file = slow
from edgetl.cli import main
sys.argv = ["edgetl", "data", "check", sys.argv[1]]
main()
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 names; listing them takes over 3 seconds on such a disk. What is in them is read later."""
    folder = tmp_path_factory.mktemp("many") / "photos"
    for label in ("ant", "bee"):
        (folder / label).mkdir(parents=True)
        for number in range(200):
            (folder / label / f"IMG_{number:05}.jpg").touch()
    return folder


def test_lines_come_from_the_first_second_and_then_sparsely(many: Path) -> None:
    command = [sys.executable, "-c", _SLOW, str(many)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = list(process.stderr)
    assert process.returncode == 2  # there is nothing in the files
    told = [line for line in lines if line.startswith("Listing photos")]
    so_far = [int(re.findall(r"([\d,]+) files so far", line)[0].replace(",", "")) for line in told[:-1]]
    assert len(so_far) >= 2
    assert so_far == sorted(so_far)
    assert so_far[-1] > so_far[0]
    # The first after a second, and not one each second.
    took = float(re.findall(r"in ([\d.]+) s", told[-1])[0])
    first = int(re.findall(r"so far, (\d+) s", told[0])[0])
    # Where much else runs, everything takes longer.
    assert first <= max(2, took / 2)
    assert len(so_far) <= 1 + math.log2(took)
    assert re.search(r"400 files in \d+\.\d s", told[-1])


def test_a_terminal_shows_a_count(many: Path) -> None:
    master, terminal = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", _SLOW, str(many)], stderr=terminal, stdout=subprocess.DEVNULL)
    os.close(terminal)
    shown = b""
    try:
        while block := os.read(master, 1 << 16):
            shown += block
    except OSError:  # Linux' way to say that the other end was closed
        pass
    process.wait()
    os.close(master)
    counts = [int(found.replace(b",", b"")) for found in re.findall(rb"Listing photos\s+([\d,]+) files", shown)]
    assert len(set(counts)) > 3
    assert b"so far" not in shown


def test_a_folder_that_is_listed_at_once_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("ant", "bee"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.jpg").touch()
    assert len(list_photos(tmp_path).files) == 2
    assert capsys.readouterr().err == ""
