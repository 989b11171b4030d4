"""Photos that a command line names: files, folders, patterns, standard input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgetl_device.classifier import Classifier, Failures, classify_each
from edgetl_device.errors import InputError
from edgetl_device.named_photos import named_photos
from edgetl_device.preprocess import MAX_BYTES


@pytest.fixture
def folder(photo_file: Path, tmp_path: Path) -> Path:
    for name in ("a.jpg", "deep/er/b.JPG", "[1].jpg", ".hidden.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo_file, tmp_path / name)
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "empty").mkdir()
    return tmp_path


def names_of(*names: object) -> list[str]:
    found = []
    for one in named_photos(map(str, names)):
        assert one.source == one.name
        found.append(one.name)
    return found


def test_folders_and_patterns_stand_for_their_photos(folder: Path) -> None:
    below = [str(folder / name) for name in ("[1].jpg", "a.jpg", "deep/er/b.JPG")]
    assert names_of(folder) == below
    assert names_of(folder / "*.jpg") == below[:2]
    assert sorted(names_of(folder / "**" / "*.[jJ][pP][gG]")) == sorted(below)
    assert names_of(folder / "a.jpg", folder / "deep", folder / "a.jpg") == [below[1], below[2], below[1]]
    # A file of that name comes before the pattern; a name that does not exist is reported when it is opened.
    assert names_of(folder / "[1].jpg") == below[:1]
    assert names_of(folder / "none.jpg") == [str(folder / "none.jpg")]


def test_names_without_photos_are_rows_and_the_others_are_classified(folder: Path, tiny_file: Path) -> None:
    failures = Failures()
    names = [str(folder / "empty"), str(folder / "*.png"), str(folder / "a.jpg"), str(folder / "none.jpg")]
    with Classifier(tiny_file) as classifier:
        rows = list(classify_each(classifier, names, failures))
    assert [row.photo for row in rows] == names
    assert "contains no photos" in str(rows[0].error)
    assert "no file matches this pattern" in str(rows[1].error)
    assert rows[2].predictions[0].label == "circle"
    assert "no such file" in str(rows[3].error).lower()
    with pytest.raises(InputError, match="3 of 4 photos could not be classified"):
        failures.raise_any()


def test_a_photo_from_standard_input(tiny_file: Path, photo_file: Path) -> None:
    command = [sys.executable, "-m", "edgetl_device", "classify", str(tiny_file), "-", str(photo_file)]
    done = subprocess.run(command, input=photo_file.read_bytes(), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    piped, read = json.loads(done.stdout)["photos"]
    assert piped["photo"] == "-"
    assert piped["predictions"] == read["predictions"]
    done = subprocess.run(command, input=b"", capture_output=True, check=False, timeout=60)
    assert done.returncode == 2
    assert b"1 of 2 photos could not be classified" in done.stderr


def test_standard_input_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/zero") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        (found,) = named_photos(["-"])
    assert str(MAX_BYTES) in str(found.source)
