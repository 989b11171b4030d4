"""edgetl replaces and removes only what it can prove it made; it refuses and leaves alone everything else."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import small

from edgetl._lib.owned import Kind, check_replaceable, foreign, remove
from edgetl.export.c_array import check_target
from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.pipeline import quantize
from edgetl.runs.directory import Run, check_run_replaceable
from edgetl.training import train
from edgetl_device._lib.files import atomic_path
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError

GOLDEN = Path(__file__).parents[2] / "golden" / "tiny.edgetl"
FILES = ("a.json", "plots/*.png", "deep/*/events.*", ".a.json.*.tmp/a.json")


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): b"" if path.is_dir() else path.read_bytes() for path in folder.rglob("*")
    }


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def test_what_is_whose(tmp_path: Path) -> None:
    put(tmp_path, "a.json", "plots/1.png", "deep/x/events.1", ".a.json.q1.tmp/a.json")
    (tmp_path / ".a.json.q2.tmp").mkdir()
    assert foreign(tmp_path, FILES) == []
    put(tmp_path, "b.json", "plots/1.jpg", "plots/sub/1.png", ".git/HEAD", "deep/events.1", "deep/x/y/events.1")
    (tmp_path / "plots" / "link.png").symlink_to("/etc/passwd")
    (tmp_path / "empty").mkdir()
    mine = [".git/", "b.json", "deep/events.1", "deep/x/y/", "empty/", "plots/1.jpg", "plots/link.png", "plots/sub/"]
    assert foreign(tmp_path, FILES) == mine
    remove(tmp_path, FILES)
    assert foreign(tmp_path, FILES) == mine
    assert not (tmp_path / "a.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", "b.json", "deep", "empty", "plots"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "1.png")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "plots").symlink_to(tmp_path / "elsewhere")
    assert foreign(tmp_path / "ours", FILES) == ["plots"]
    remove(tmp_path / "ours", FILES)
    assert (tmp_path / "elsewhere" / "1.png").exists()


def test_all_is_removed_where_all_is_ours(tmp_path: Path) -> None:
    put(tmp_path / "ours", "a.json", "plots/1.png", "deep/x/events.1")
    (tmp_path / "ours" / ".a.json.q2.tmp").mkdir()
    remove(tmp_path / "ours", FILES)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_its_mark(tmp_path: Path) -> None:
    kind = Kind("a thing", "a.json", "edgetl.thing/1", FILES)
    check_replaceable(tmp_path, kind)
    put(tmp_path, "a.json")
    with pytest.raises(InputError, match="is not a thing that edgetl made"):
        check_replaceable(tmp_path, kind)
    with pytest.raises(InputError, match="is a file, not a thing"):
        check_replaceable(tmp_path / "a.json", kind)


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_a_folder_is_not_written_over_something(tmp_path: Path, there: str) -> None:
    target = tmp_path / "target"
    put(tmp_path, "elsewhere/1.jpg")
    if there == "file":
        target.write_text("mine")
    elif there == "folder":
        put(target, "1.jpg")
    else:
        target.symlink_to(tmp_path / "elsewhere")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="exists already"), atomic_path(target, directory=True) as folder:
        put(folder, "new")
    assert tree(tmp_path) == before
    assert target.is_symlink() == (there == "link")


@pytest.fixture
def run(tiny_run: Run, tmp_path: Path) -> Path:
    """A copy of a run, with a bundle from elsewhere, in a folder that a test may damage."""
    folder = Path(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    with zipfile.ZipFile(GOLDEN) as archive:
        archive.extractall(folder / "bundle")
    return folder


def test_a_run_is_all_edgetls(run: Path) -> None:
    put(run, "quantize.json")
    put(run, "report.html", "int8.tflite", "float32-nchw.onnx", "run.c", "run.h", "bundle.edgetpu.json",
        "tensorboard/head/events.out.tfevents.1", "explain/layers.png")  # fmt: skip
    check_run_replaceable(run)


KILL_BETWEEN = """
import os, shutil, signal, sys
from pathlib import Path
from edgetl_device._lib import files
out = Path(sys.argv[1])
files._exchanged = lambda *_: False  # as on a file system that knows no exchange
def kill(event, _):
    if event == "os.rename" and not out.exists():
        os.kill(os.getpid(), signal.SIGKILL)
with files.atomic_path(out, directory=True, replaceable=lambda _: None) as folder:
    shutil.copytree(out, folder, dirs_exist_ok=True)
    sys.addaudithook(kill)
"""


def killed_while_replacing(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILL_BETWEEN, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not folder.exists()


def test_a_run_and_its_bundle_are_found_after_a_kill_between_two_renames(run: Path) -> None:
    before = tree(run)
    killed_while_replacing(run)
    assert Run.open(run).folder == run
    assert tree(run.parent) == {f"run/{name}": data for name, data in before.items()} | {"run": b""}
    killed_while_replacing(run / "bundle")
    assert Bundle.open(run).path == run / "bundle"
    killed_while_replacing(run / "bundle")
    check_run_replaceable(run)
    assert tree(run) == before
    killed_while_replacing(run)
    with pytest.raises(InputError, match="exists already"):
        train(Path("photos"), run, small.options())
    assert tree(run) == before


STRANGE = ["notes.txt", ".git/HEAD", "bundle/notes.txt", "bundle/evalset/mine.jpg", "plots/mine.svg", "other.c"]


@pytest.mark.parametrize("name", STRANGE)
def test_overwrite_keeps_what_was_put_into_a_run(run: Path, tiny_photos: Path, name: str) -> None:
    put(run, name)
    before = tree(run.parent)
    with pytest.raises(InputError, match=r"is not part of a run: .*\n.*only what it made\nMove it away"):
        train(tiny_photos, run, small.options(), overwrite=True)
    assert tree(run.parent) == before


def test_overwrite_of_a_folder_that_is_no_run(tiny_photos: Path, tmp_path: Path) -> None:
    put(tmp_path / "project", "main.c", ".git/HEAD")
    put(tmp_path / "other", "run.json")
    before = tree(tmp_path)
    for folder in ("project", "other"):
        said = small.refused(small.edgetl("train", tiny_photos, "--overwrite", "--out", tmp_path / folder))
        assert "is not a run" in said
    assert tree(tmp_path) == before


@pytest.mark.parametrize("inside", [("notes.txt",), ("request.json", "notes.txt"), ("lock", "photos/1.jpg")])
def test_an_unfinished_run_with_something_else_in_it(
    tiny_photos: Path, tmp_path: Path, inside: tuple[str, ...]
) -> None:
    put(tmp_path / "run.unfinished", *inside)
    before = tree(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(
            InputError, match=r"run\.unfinished: contains something that is not part of an unfinished run"
        ):
            train(tiny_photos, tmp_path / "run", small.options(), overwrite=overwrite)
    assert tree(tmp_path) == before


def test_an_unfinished_run_of_another_program(tiny_photos: Path, tmp_path: Path) -> None:
    put(tmp_path / "run.unfinished", "request.json", "split.csv")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="is not an unfinished run that edgetl made"):
        train(tiny_photos, tmp_path / "run", small.options(), overwrite=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["bundle/notes.txt", "explain/mine.png"])
def test_quantize_keeps_what_was_put_into_its_folders(run: Path, name: str) -> None:
    put(run, name)
    before = tree(run)
    with pytest.raises(InputError, match="contains something that is not part of"):
        quantize(Run.open(run), QuantizeOptions(int8=True, calibration=12, explain=True))
    assert tree(run) == before


def test_quantize_does_not_take_another_folder_for_its_bundle(run: Path) -> None:
    shutil.rmtree(run / "bundle")
    put(run, "bundle/mine.txt")
    with pytest.raises(InputError, match="is not a bundle that edgetl made"):
        quantize(Run.open(run), QuantizeOptions(int8=True, calibration=12))
    assert (run / "bundle" / "mine.txt").exists()


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (("report", "result.json"), "report.html"),
        (("demo", "--out", "."), "result.json"),
        (("demo", "--out", "."), "main.c"),
    ],
    ids=["report", "demo", "project"],
)
def test_files_that_edgetl_names_itself(tmp_path: Path, command: tuple[str, ...], file: str) -> None:
    work = tmp_path / "work"
    put(work, file)
    said = small.refused(small.edgetl(*command, cwd=work))
    assert file in said
    assert tree(work) == {file: b"{}"}


def test_the_header_beside_a_c_array(tmp_path: Path) -> None:
    (tmp_path / "model.h").write_text("#pragma once\n")
    with pytest.raises(InputError, match=r"model\.h: would be replaced, and edgetl did not write it"):
        check_target(tmp_path / "model.c")
    (tmp_path / "model.h").write_text("/* Written by edgetl 0.1.0. */\n")
    check_target(tmp_path / "model.c")
    (tmp_path / "model.h").unlink()
    check_target(tmp_path / "model.c")
