"""Photos that appear in a folder, with a simulated clock: each poll of the folder is a step of 1 s."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgetl_device.errors import InputError
from edgetl_device.live.watch import new_photos

Step = Callable[[], object]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def watched(folder: Path, steps: list[Step], *, existing: bool = False, settle_s: float = 1.0) -> list[str]:
    """Do one step after each poll, then poll twice more; return the names that were yielded."""
    now = 0.0

    def sleep(_seconds: float) -> None:
        nonlocal now
        now += 1.0
        if now > len(steps) + 3:
            raise StopAsyncIteration  # StopIteration would become a RuntimeError inside a generator
        if now <= len(steps):
            steps[int(now) - 1]()

    found: list[str] = []
    photos: Iterator[Path] = new_photos(folder, existing=existing, settle_s=settle_s, sleep=sleep, clock=lambda: now)
    try:
        for photo in photos:
            assert photo.parent == folder
            found.append(photo.name)
    except StopAsyncIteration:
        return found
    raise AssertionError("a watch does not end by itself")


def write(path: Path, content: bytes, at_s: float = 1000.0) -> Path:
    path.write_bytes(content)
    os.utime(path, (at_s, at_s))
    return path


def nothing() -> None: ...


def test_new_photos_come_once_and_older_ones_first(inbox: Path) -> None:
    write(inbox / "before.jpg", b"1")
    both: Step = lambda: (write(inbox / "b.JPG", b"2", 2000), write(inbox / "a.png", b"3", 3000))  # noqa: E731
    assert watched(inbox, [both, nothing, nothing]) == ["b.JPG", "a.png"]


def test_existing_ones_on_request(inbox: Path) -> None:
    write(inbox / "before.jpg", b"1")
    assert watched(inbox, [nothing], existing=True) == ["before.jpg"]
    assert watched(inbox, [nothing]) == []


def test_a_photo_waits_until_it_has_stood_still(inbox: Path) -> None:
    grow: list[Step] = [
        lambda size=size: write(inbox / "slow.jpg", b"x" * size, at_s=1000 + size) for size in range(1, 6)
    ]
    assert watched(inbox, [*grow, nothing], settle_s=1.0) == ["slow.jpg"]
    # The settling time of 3 s is longer than the time left, so nothing may be yielded.
    shutil.rmtree(inbox)
    inbox.mkdir()
    assert watched(inbox, grow, settle_s=4.0) == []


def test_what_is_still_growing_at_the_start_is_new(inbox: Path) -> None:
    write(inbox / "growing.jpg", b"x")
    assert watched(inbox, [lambda: write(inbox / "growing.jpg", b"xx")]) == ["growing.jpg"]


def test_a_photo_that_is_moved_in_is_seen_and_its_temporary_name_is_not(inbox: Path, tmp_path: Path) -> None:
    def begin() -> None:
        write(inbox / ".photo.jpg.Xy12", b"half")
        write(inbox / "photo.jpg.part", b"half")
        write(tmp_path / "outside.jpg", b"whole")

    def move() -> None:
        (inbox / "photo.jpg.part").rename(inbox / "photo.jpg")
        (tmp_path / "outside.jpg").rename(inbox / "outside.jpg")

    assert sorted(watched(inbox, [begin, nothing, nothing, move])) == ["outside.jpg", "photo.jpg"]


def test_an_overwritten_photo_is_new_and_a_renamed_one_is_not(inbox: Path) -> None:
    def replace() -> None:
        write(inbox / ".next", b"other")
        (inbox / ".next").rename(inbox / "snapshot.jpg")

    steps: list[Step] = [
        lambda: write(inbox / "snapshot.jpg", b"first"),
        nothing,
        nothing,
        replace,
        nothing,
        nothing,
        lambda: (inbox / "snapshot.jpg").rename(inbox / "kept.jpg"),
        nothing,
    ]
    assert watched(inbox, steps) == ["snapshot.jpg", "snapshot.jpg"]


def test_times_in_the_future_and_in_the_past_are_as_good_as_any(inbox: Path) -> None:
    """A camera and a board without a battery: what has changed is new, whatever its date says."""

    def dated(name: str, content: bytes, year: int) -> Step:
        def make() -> None:
            seconds = (year - 1970) * 365.25 * 24 * 3600
            os.utime(write(inbox / name, content), (seconds, seconds))

        return make

    steps = [
        dated("a.jpg", b"first", 2100), nothing, nothing,
        dated("a.jpg", b"again", 1990), nothing, nothing,
        dated("b.jpg", b"other", 1970), nothing, nothing,
    ]  # fmt: skip
    assert watched(inbox, steps) == ["a.jpg", "a.jpg", "b.jpg"]


def test_copies_and_photos_that_come_back_are_new_ones(inbox: Path, tmp_path: Path) -> None:
    original = write(tmp_path / "original.jpg", b"same")

    def copy(name: str) -> Step:
        return lambda: shutil.copy2(original, inbox / name)

    steps = [copy("a.jpg"), copy("b.jpg"), nothing, nothing, (inbox / "a.jpg").unlink, nothing, copy("a.jpg")]
    assert watched(inbox, steps) == ["a.jpg", "b.jpg", "a.jpg"]


def test_only_photos_are_looked_at(inbox: Path) -> None:
    def fill() -> None:
        write(inbox / "notes.txt", b"x")
        (inbox / "folder.jpg").mkdir()
        os.mkfifo(inbox / "pipe.jpg")
        (inbox / "dangling.jpg").symlink_to(inbox / "nothing")
        (inbox / "link.jpg").symlink_to(write(inbox / ".target.jpg", b"x"))

    assert watched(inbox, [fill, nothing]) == ["link.jpg"]


def test_one_that_changes_while_others_are_read_waits_again(inbox: Path) -> None:
    write(inbox / "a.jpg", b"1", 1)
    write(inbox / "b.jpg", b"1", 2)
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += 1.0

    photos = new_photos(inbox, existing=True, sleep=sleep, clock=lambda: now)
    assert next(photos).name == "a.jpg"
    write(inbox / "b.jpg", b"22", 3)
    before = now
    assert next(photos).name == "b.jpg"
    assert now >= before + 2


def test_slow_writers_on_a_real_clock(inbox: Path) -> None:
    """Four writers at once, in pieces or by moving files in: each photo is yielded once, and complete."""
    pieces, count = 6, 12

    def write_some(writer: int) -> None:
        for index in range(count):
            part = inbox / f"{writer}-{index}.part"
            target = part if writer % 2 else part.with_suffix(".jpg")
            with open(target, "wb", buffering=0) as out:
                for _ in range(pieces):
                    out.write(b"x" * 100)
                    time.sleep(0.01)
            if target == part:
                part.rename(part.with_suffix(".jpg"))

    writers = [threading.Thread(target=write_some, args=(number,)) for number in range(4)]
    deadline = time.monotonic() + 30
    started: list[bool] = []

    def start_once(seconds: float) -> None:
        if not started:
            started.append(True)
            for writer in writers:
                writer.start()
        time.sleep(seconds)
        if len(found) >= 4 * count or time.monotonic() > deadline:
            raise StopAsyncIteration

    photos = new_photos(inbox, poll_s=0.02, settle_s=0.5, sleep=start_once)
    found: list[str] = []
    with contextlib.suppress(StopAsyncIteration):
        for photo in photos:
            found.append(photo.name)
            assert photo.stat().st_size == 100 * pieces
    assert len(found) == len(set(found)) == 4 * count


def test_a_folder_that_is_not_there_or_goes_away(inbox: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        watched(inbox / "none", [])
    with pytest.raises(InputError, match="no such folder"):
        watched(inbox, [inbox.rmdir])
