"""Listing folders that are nested deeply, or contain themselves."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgetl_device._lib.folders import files_below, photos_below
from edgetl_device.errors import InputError


@pytest.fixture
def nest(tmp_path: Path) -> Iterator[Callable[[int, str], Path]]:
    """Return a function that makes so many folders, each in the one before, and a file in the last."""

    def make(depth: int, name: str) -> Path:
        above = os.open(".", os.O_RDONLY)
        os.chdir(tmp_path)
        try:
            for _ in range(depth):
                Path(name).mkdir()
                os.chdir(name)
            Path("a.jpg").write_bytes(b"")
        finally:
            os.fchdir(above)
            os.close(above)
        return tmp_path

    yield make
    subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)  # Python's rmtree is recursive


def test_deep_folders_are_listed(nest: Callable[[int, str], Path]) -> None:
    place = nest(1050, "d")
    (found,) = files_below(place)
    assert len(found.relative_to(place).parts) == 1051


def test_folders_that_no_path_leads_to_are_named(nest: Callable[[int, str], Path]) -> None:
    place = nest(50, "d" * 100)
    with pytest.raises(InputError, match="nested too deeply") as caught:
        list(files_below(place))
    assert str(place) in caught.value.what


def test_the_order_is_that_of_a_listing_and_links_to_parents_are_left_out(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "b/c/3.jpg", "1.jpg", "d/4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b/c/again").symlink_to(tmp_path)
    (tmp_path / "d/other").symlink_to(tmp_path / "b")
    found = [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)]
    assert found == ["1.jpg", "b/2.jpg", "b/c/3.jpg", "d/4.jpg", "d/other/2.jpg", "d/other/c/3.jpg"]


def test_photos_are_known_by_their_names(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "a.txt", "c.heic", ".hidden.png", "b/thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert list(photos_below(tmp_path)) == [tmp_path / "c.heic", tmp_path / "b/2.JPG"]
