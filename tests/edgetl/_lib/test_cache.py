"""The cache: an entry is whole or not there, made once, made again when damaged, and goes when there is no room."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from edgetl._lib import cache
from edgetl_device.errors import InputError


def write(text: str):
    def make(folder: Path) -> None:
        (folder / "content").write_text(text)

    return make


def never(folder: Path) -> None:
    raise AssertionError("made again")


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGETL_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir() == tmp_path / "own"
    monkeypatch.delenv("EDGETL_CACHE")
    assert cache.cache_dir() == tmp_path / "xdg" / "edgetl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_dir() == tmp_path / "home" / ".cache" / "edgetl"


def test_an_entry_is_made_once(fresh_cache: Path) -> None:
    first = cache.entry("kind", "key", write("a"))
    assert (first / "content").read_text() == "a"
    assert cache.entry("kind", "key", never) == first
    assert cache.entry("kind", "other", write("b")) != first
    assert cache.entry("other", "key", write("c")) != first


def test_keys_follow_every_part_and_no_order() -> None:
    assert cache.key_of(a=1, b=[2, 3]) == cache.key_of(b=[2, 3], a=1)
    keys = {cache.key_of(a=1, b=2), cache.key_of(a=2, b=1), cache.key_of(a=1), cache.key_of(a="1"), cache.key_of(b=1)}
    assert len(keys) == 5


def test_what_fails_leaves_nothing(fresh_cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("written")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        cache.entry("kind", "key", fail)
    assert list((fresh_cache / "kind").iterdir()) == []
    cache.entry("kind", "key", write("a"))


def test_two_at_once_both_get_a_whole_entry(fresh_cache: Path) -> None:
    together = threading.Barrier(2)
    found = []

    def work() -> None:
        def make(folder: Path) -> None:
            together.wait(10)
            (folder / "content").write_text("same")

        found.append((cache.entry("kind", "key", make) / "content").read_text())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["same", "same"]
    assert [path.name for path in (fresh_cache / "kind").iterdir()] == ["key"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "content").write_text("cut"),
        lambda folder: (folder / "content").unlink(),
        lambda folder: [path.unlink() for path in folder.iterdir()],
    ],
    ids=["cut", "lost", "emptied"],
)
def test_a_damaged_entry_is_made_again_and_said(fresh_cache: Path, damage, capsys: pytest.CaptureFixture[str]) -> None:
    damage(cache.entry("kind", "key", write("the whole content")))
    assert (cache.entry("kind", "key", write("the whole content")) / "content").read_text() == "the whole content"
    assert "damaged" in capsys.readouterr().err
    cache.entry("kind", "key", never)


def entries(folder: Path) -> set[str]:
    return {path.name for path in (folder / "kind").iterdir()}


def test_what_was_unused_for_longest_goes_first(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, name in enumerate(("new", "middle", "old")):
        folder = cache.entry("kind", name, write("x" * 4000))
        then = time.time() - 100 * (age + 1)
        os.utime(folder, (then, then))
    cache.entry("kind", "old", never)  # use makes it young again
    monkeypatch.setenv("EDGETL_CACHE_GB", "0.000014")
    cache.entry("kind", "more", write("x" * 4000))
    assert entries(fresh_cache) == {"more", "new", "old"}


def test_an_entry_over_the_limit_is_kept_while_it_is_needed(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETL_CACHE_GB", "0")
    folder = cache.entry("kind", "key", write("x" * 4000))
    assert folder.is_dir()
    cache.entry("kind", "next", write("y"))
    assert entries(fresh_cache) == {"next"}


def test_leftovers_of_killed_processes_go_after_a_day(fresh_cache: Path) -> None:
    for name, hours in ((".young.tmp", 1), (".day.tmp", 25)):
        folder = fresh_cache / "kind" / name
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - hours * 3600,) * 2)
    cache.entry("kind", "key", write("a"))
    assert entries(fresh_cache) == {"key", ".young.tmp"}


def test_a_limit_that_is_no_number_is_refused(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETL_CACHE_GB", "much")
    with pytest.raises(InputError, match="EDGETL_CACHE_GB"):
        cache.entry("kind", "key", write("a"))
