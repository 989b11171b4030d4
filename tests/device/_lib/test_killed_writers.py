"""Atomic writes when the process is killed at every step."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgetl_device._lib import files
from edgetl_device._lib.files import (
    atomic_path,
    check_folder,
    check_writable,
    heal,
    new_files,
    sweep,
    write_link,
    write_text,
)
from edgetl_device.errors import InputError

OLD, NEW = {"a": "old", "sub/b": "old"}, {"a": "new", "sub/c": "new"}
PAIR = {"k.pub": "public", "k.key": "private"}
STEPS = (
    "open",
    "os.mkdir",
    "os.rename",
    "os.link",
    "os.symlink",
    "os.remove",
    "os.rmdir",
    "os.truncate",
    "ctypes.dlopen",
    "os.scandir",
)


def put(folder: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def tree(folder: Path) -> dict[str, str]:
    return {one.relative_to(folder).as_posix(): one.read_text() for one in folder.rglob("*") if one.is_file()}


def replace_run(parent: Path) -> None:
    with atomic_path(parent / "run", directory=True, replaceable=lambda _: None) as folder:
        put(folder, NEW)


def make_pair(parent: Path, meanwhile: Callable[[], object] = lambda: None) -> None:
    with new_files(parent / "k.pub", parent / "k.key") as (public, private):
        public.write_text("public")
        private.write_text("private")
        meanwhile()


def rewrite(parent: Path) -> None:
    write_text(parent / "run", "new")


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


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
def test_a_folder_is_replaced_or_not_at_whichever_step_the_process_is_killed(
    tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    seen, step, missing = set(), 0, 0
    while True:
        shutil.rmtree(tmp_path)
        put(tmp_path / "run", OLD)
        if not killed_at(step, lambda: replace_run(tmp_path)):
            break
        missing += not (tmp_path / "run").exists()
        heal(tmp_path / "run")
        found = tree(tmp_path / "run")
        assert found in (OLD, NEW), step
        seen.add(found["a"])
        sweep(tmp_path)
        assert tree(tmp_path / "run") == found
        assert [one.name for one in tmp_path.iterdir()] == ["run"], step
        step += 1
    assert seen == {"old", "new"}
    assert tree(tmp_path) == {f"run/{name}": text for name, text in NEW.items()}
    # Between two renames the target is missing for a moment; an exchange avoids that.
    assert (missing > 0) == (not exchange)


def test_a_file_is_replaced_or_not(tmp_path: Path) -> None:
    step, seen = 0, set()
    while True:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        (tmp_path / "run").write_text("old")
        if not killed_at(step, lambda: rewrite(tmp_path)):
            break
        seen.add((tmp_path / "run").read_text())
        sweep(tmp_path)
        assert [one.name for one in tmp_path.iterdir()] == ["run"], step
        step += 1
    assert seen == {"old", "new"}
    assert [one.name for one in tmp_path.iterdir()] == ["run"]


def test_two_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    step, halves, seen = 0, 0, set()
    while True:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        if not killed_at(step, lambda: make_pair(tmp_path)):
            break
        public, private = ((tmp_path / name).exists() for name in ("k.pub", "k.key"))
        assert public or not private, step
        halves += public != private
        sweep(tmp_path)
        assert tree(tmp_path) == (PAIR if private else {}), step
        assert [one for one in tmp_path.iterdir() if one.is_dir()] == [], step
        seen.add(private)
        step += 1
    assert halves > 0
    assert seen == {True, False}
    assert tree(tmp_path) == PAIR


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("taken", ["k.pub", "k.key"])
def test_files_that_appear_while_others_are_made_are_not_replaced(
    tmp_path: Path, taken: str, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise OSError(1, "Operation not permitted")  # as a FAT file system does

        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(FileExistsError, match=taken):
        make_pair(tmp_path, meanwhile=lambda: (tmp_path / taken).write_text("another's"))
    assert tree(tmp_path) == {taken: "another's"}
    (tmp_path / taken).unlink()
    make_pair(tmp_path)
    assert tree(tmp_path) == PAIR


def test_the_half_of_a_pair_is_removed_only_if_it_is_that_half(tmp_path: Path) -> None:
    """A public key whose private one is kept elsewhere stays, whatever a mark says."""
    for step in range(1 << 20):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        assert killed_at(step, lambda: make_pair(tmp_path))
        if (tmp_path / "k.pub").exists():
            break
    assert not (tmp_path / "k.key").exists()
    (tmp_path / "k.pub").unlink()
    (tmp_path / "k.pub").write_text("another's")
    sweep(tmp_path)
    assert tree(tmp_path) == {"k.pub": "another's"}
    (tmp_path / "up.txt").write_text("mine")
    strange = tmp_path / "sub" / ".k.abcdefgh.tmp"
    put(strange, {"k.mark": files._MARK_TEXT.decode() + "../up.txt\0", "k": ""})
    sweep(tmp_path / "sub")
    assert (tmp_path / "up.txt").exists()


def test_a_link_is_replaced_or_not(tmp_path: Path) -> None:
    step, seen = 0, set()
    while True:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        (tmp_path / "now").symlink_to("old")
        (tmp_path / ".now.new").write_text("mine")
        if not killed_at(step, lambda: write_link(tmp_path / "now", "new")):
            break
        seen.add(str((tmp_path / "now").readlink()))
        sweep(tmp_path)
        assert sorted(one.name for one in tmp_path.iterdir()) == [".now.new", "now"], step
        step += 1
    assert seen == {"old", "new"}
    assert (tmp_path / ".now.new").read_text() == "mine"


def test_the_temporary_folder_of_a_living_process_stays(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "run", directory=True) as folder:
        put(folder, NEW)
        child = os.fork()
        if not child:
            # Open it again: a lock belongs to the open file description.
            sweep(tmp_path)
            os._exit(0)
        os.waitpid(child, 0)
        sweep(tmp_path)
    assert tree(tmp_path / "run") == NEW


def test_a_folder_that_is_swept_before_it_is_marked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process cannot tell it from one whose process was killed just then."""
    swept = []
    opened = os.open

    def slow(path: object, *flags: int, **more: int) -> int:
        if str(path).endswith(".mark.new") and len(swept) < 3:
            swept.append(path)
            sweep(tmp_path)
        return opened(path, *flags, **more)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(os, "open", slow)
    rewrite(tmp_path)
    assert len(set(swept)) == 3
    assert (tmp_path / "run").read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["run"]


def test_a_mark_that_is_not_finished_is_swept_only_where_nobody_writes_it(tmp_path: Path) -> None:
    unfinished = tmp_path / ".run.abcdefgh.tmp" / "run.mark.new"
    unfinished.parent.mkdir(0o1700)
    put(unfinished.parent, {unfinished.name: "A temporary fol"})
    with open(unfinished, "rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        sweep(tmp_path)
        assert unfinished.exists()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
    unfinished.parent.mkdir(0o1700)
    put(unfinished.parent, {unfinished.name: "mine"})
    sweep(tmp_path)
    assert unfinished.read_text() == "mine"


def test_what_edgetl_did_not_mark_stays(tmp_path: Path) -> None:
    """A name alone proves nothing, and a folder with foreign files is left alone."""
    killed_at(10, lambda: replace_run(tmp_path))
    (holder,) = tmp_path.glob(".run.*.tmp")
    assert (holder / "run.mark").exists()
    put(holder, {"mine.txt": "mine"})
    put(tmp_path / ".run.abcdefgh.tmp", OLD)
    put(tmp_path / ".run.abcdefgi.tmp", {"run.mark": "another program's", "run": "its"})
    (tmp_path / ".run.abcdefgj.tmp").mkdir()
    put(tmp_path / ".run.abcdefgk.tmp", {"run.mark.new": ""})
    before = set(tmp_path.rglob("*"))
    sweep(tmp_path)
    assert set(tmp_path.rglob("*")) == before


def test_two_folders_that_cannot_be_moved_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_exchanged", lambda *_: False)
    put(tmp_path / "run", OLD)
    rename = Path.rename

    def once(self: Path, target: Path) -> Path:
        if target == tmp_path / "run":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", once)
    with pytest.raises(OSError, match="Input/output error"):
        replace_run(tmp_path)
    monkeypatch.undo()
    heal(tmp_path / "run")
    assert tree(tmp_path / "run") in (OLD, NEW)


def test_a_place_is_tried_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "result.json")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "result.json").write_text("kept")
    check_writable(tmp_path / "result.json")
    assert (tmp_path / "result.json").read_text() == "kept"
    with pytest.raises(InputError, match="is not a file"):
        check_writable(tmp_path / "new")
    with pytest.raises(InputError, match="is not a file"):
        check_writable("/dev/null")
    with pytest.raises(OSError, match=r"proc/result\.json"):
        check_writable("/proc/result.json")


def test_a_folder_is_tried_before_the_work(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "inner")
    check_folder(tmp_path / "new")
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "inner"]
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for name in ("file", "link"):
        with pytest.raises(InputError, match=f"{name}: exists and is not a folder"):
            check_folder(tmp_path / name)
    with pytest.raises(OSError, match="'/proc'"):
        check_folder("/proc")
