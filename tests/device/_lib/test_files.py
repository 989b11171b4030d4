"""Atomic writes of files and folders."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edgetl_device._lib.files import atomic_path, naming, sha256_bytes, sha256_file, write_text
from edgetl_device.errors import InputError


def tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_file_takes_the_place_of_another_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    for text in ("Größe\n", "second\n"):
        write_text(target, text)
        assert target.read_bytes() == text.encode()
    assert list(tmp_path.rglob("*")) == [target.parent, target]
    # Who reads the old one reads it to the end.
    with open(target) as reader:
        write_text(target, "third\n")
        assert reader.read() == "second\n"


def half_way(file: Path) -> None:
    file.write_text("half")
    (file.parent / "absent").read_bytes()


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "before")
    (tmp_path / "folder").mkdir()
    for name, directory in (("a.txt", False), ("folder", True), ("absent", True)):
        with pytest.raises(FileNotFoundError), atomic_path(tmp_path / name, directory=directory) as place:
            half_way(place / "part" if directory else place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "folder"]
    assert tree(tmp_path) == {"a.txt": "before"}


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_appears_whole(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "out"
    if there:
        target.mkdir()
    with atomic_path(target, directory=True) as place:
        (place / "a").write_text("1")
        assert not (target / "a").exists()
    assert tree(tmp_path) == {"out/a": "1"}


def in_the_way(target: Path) -> None:
    target.mkdir()
    (target / "mine").write_text("1")


@pytest.mark.parametrize("make", [in_the_way, Path.touch, lambda target: target.symlink_to("nowhere")])
def test_a_folder_takes_the_place_of_nothing_else(tmp_path: Path, make: Callable[[Path], None]) -> None:
    target = tmp_path / "out"
    make(target)
    before = tree(tmp_path)
    with pytest.raises(InputError, match="out: exists already"), atomic_path(target, directory=True):
        pass
    assert tree(tmp_path) == before
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_may_be_replaced_is_and_is_back_when_that_fails(tmp_path: Path) -> None:
    target = tmp_path / "out"
    in_the_way(target)
    asked: list[Path] = []
    with pytest.raises(FileNotFoundError), atomic_path(target, directory=True, replaceable=asked.append) as place:
        place.rmdir()
    assert tree(tmp_path) == {"out/mine": "1"}
    with atomic_path(target, directory=True, replaceable=asked.append) as place:
        (place / "new").write_text("2")
    assert tree(tmp_path) == {"out/new": "2"}
    assert asked == [target, target]
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_of_the_system_says_which_file_it_is_about(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"a\.txt") as caught,
        naming(tmp_path / "a.txt"),
        open("/dev/full", "wb", 0) as full,
    ):
        full.write(b"x")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "a.txt"))
    # Errors that already name a file, and errors that are not the system's, stay unchanged.
    with pytest.raises(FileNotFoundError) as named, naming(tmp_path / "a.txt"):
        (tmp_path / "b.txt").read_bytes()
    assert named.value.filename == str(tmp_path / "b.txt")
    with pytest.raises(OSError, match=r"^by a library$"), naming(tmp_path / "a.txt"):
        raise OSError("by a library")


def test_hashes_are_those_of_hashlib(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert sha256_file(tmp_path / "a") == sha256_bytes(data) == hashlib.sha256(data).hexdigest()
