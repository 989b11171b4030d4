"""The cache: entries appear atomically, are made once, made again when damaged, and evicted when space runs out.

Nothing that edgetl did not make is ever removed, wherever EDGETL_CACHE points.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import small
from branches import UNMEASURED

from edgetl._lib import cache
from edgetl_device.errors import InputError

DAYS_S = 3 * 24 * 3600


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
    assert cache.cache_dir() == tmp_path / "xdg" / "edgetl" / "cache"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_dir() == tmp_path / "home" / ".cache" / "edgetl" / "cache"


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


def flip(file: Path, place: int) -> None:
    """Flip one bit without changing size or time, as a failing disk does."""
    status = file.stat()
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("place", [0, 20 << 20, -1], ids=["first", "second block", "last"])
def test_a_flipped_bit_is_found_by_the_next_process(
    fresh_cache: Path, place: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def large(folder: Path) -> None:
        (folder / "content").write_bytes(bytes(33 << 20))
        (folder / "sub").mkdir()
        (folder / "sub" / "empty").touch()

    file = cache.entry("kind", "key", large) / "content"
    monkeypatch.setattr(cache, "_compared", {})  # as in another process
    cache.entry("kind", "key", never)
    flip(file, place)
    monkeypatch.setattr(cache, "_compared", {})
    cache.entry("kind", "key", large)
    assert "damaged cache entry, recomputed" in capsys.readouterr().err
    assert not any(file.read_bytes())


def entries(folder: Path) -> set[str]:
    return {path.name for path in (folder / "kind").iterdir()}


def in_a_process(*names: str, size: int = 4000, gigabytes: float = 20) -> None:
    """Make entries in another process, which ends, because entries in use are not evicted."""
    script = f"""
from edgetl._lib import cache
for name in {names!r}:
    cache.entry("kind", name, lambda folder: (folder / "content").write_text("x" * {size}))
"""
    done = small.python(script, env={"EDGETL_CACHE_GB": str(gigabytes)})
    assert done.returncode == 0, done.stderr


def age(folder: Path, seconds: float) -> None:
    os.utime(folder, (time.time() - seconds,) * 2)


def test_what_was_unused_for_longest_goes_first(fresh_cache: Path) -> None:
    in_a_process("new", "middle", "old")
    for seconds, name in ((100, "new"), (200, "middle"), (300, "old")):
        age(fresh_cache / "kind" / name, seconds)
    in_a_process("old")  # use refreshes its age
    in_a_process("more", gigabytes=0.000014)
    assert entries(fresh_cache) == {"more", "new", "old"}


def test_an_entry_is_kept_while_a_process_uses_it(fresh_cache: Path) -> None:
    folder = cache.entry("kind", "mine", write("x"))
    in_a_process("first")
    in_a_process("second", gigabytes=0)
    assert entries(fresh_cache) == {"mine", "second"}
    assert (folder / "content").read_text() == "x"


def test_leftovers_of_killed_processes_go_and_those_of_living_ones_stay(fresh_cache: Path) -> None:
    script = """
from edgetl._lib import cache
def make(folder):
    (folder / "half").write_text("written")
    print("making", flush=True)
    input()
cache.entry("kind", "long", make)
"""
    command, environment = [sys.executable, "-c", script], os.environ | UNMEASURED
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) for _ in range(2)]
    try:
        for process in both:
            assert process.stdout is not None
            assert process.stdout.readline() == b"making\n"
        both[0].send_signal(signal.SIGKILL)
        both[0].wait()
        assert len(entries(fresh_cache)) == 2
        in_a_process("key")
        (unfinished,) = entries(fresh_cache) - {"key"}
        both[1].communicate(b"\n", timeout=30)
        assert both[1].returncode == 0
        assert unfinished.startswith(".long.")
        assert entries(fresh_cache) == {"key", "long"}
    finally:
        for process in both:
            process.kill()
            process.communicate()


def test_without_locks_nothing_of_a_running_process_is_removed(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems have no locks: whether a process still runs cannot be told there."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setenv("EDGETL_CACHE_GB", "0")
    first = cache.entry("kind", "first", write("a"))
    meanwhile = iter(range(1))
    seal = cache._seal

    def slow(folder: Path, files: object) -> None:
        """Another process makes an entry in the moment before this one's folder is sealed."""
        for number in meanwhile:
            cache.entry("kind", f"other {number}", write("b"))
            assert folder.is_dir()
        seal(folder, files)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "_seal", slow)
    assert (cache.entry("kind", "second", write("c")) / "content").read_text() == "c"
    assert (first / "content").read_text() == "a"
    assert sorted(one.name for one in (fresh_cache / "kind").iterdir()) == ["first", "other 0", "second"]


def test_without_locks_two_at_once_both_get_a_whole_entry(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    seal, meanwhile = cache._seal, iter(range(1))

    def slow(folder: Path, files: object) -> None:
        seal(folder, files)  # type: ignore[arg-type]
        if files is not None:
            for _ in meanwhile:
                cache.entry("kind", "key", write("same"))

    monkeypatch.setattr(cache, "_seal", slow)
    assert (cache.entry("kind", "key", write("same")) / "content").read_text() == "same"
    assert [one.name for one in (fresh_cache / "kind").iterdir()] == ["key"]


def test_dates_in_the_future_and_in_the_past_damage_nothing(fresh_cache: Path) -> None:
    """A clock that was wrong, or is set back: what is there is found, and goes in another order at worst."""
    in_a_process("early", "late", "kept")
    for name, year in (("early", 1971), ("late", 2100)):
        os.utime(fresh_cache / "kind" / name, ((year - 1970) * 31_557_600,) * 2)
    in_a_process("now", gigabytes=0.000013)
    assert entries(fresh_cache) == {"now", "late", "kept"}
    kept = cache.entry("kind", "kept", never)
    assert (kept / "content").read_text() == "x" * 4000
    in_a_process("more", gigabytes=0)
    assert entries(fresh_cache) == {"more", "kept"}


STEPS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime")


def killed_at(step: int) -> bool:
    """Make an entry in another process that kills itself at such a step; whether it came so far."""
    child = os.fork()
    if not child:
        steps = iter(range(1 << 20))

        def kill(event: str, _: object) -> None:
            if event in STEPS and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        cache.entry("kind", "key", write("a"))
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_an_entry_is_whole_or_absent_at_whichever_step_the_process_is_killed(fresh_cache: Path) -> None:
    step, seen = 0, []
    while killed_at(step):
        folder = fresh_cache / "kind" / "key"
        seen.append(folder.exists())
        # The next process uses it, or makes it, and removes what is left of the first.
        found = cache.entry("kind", "key", never if seen[-1] else write("a"))
        assert (found / "content").read_text() == "a", step
        cache.entry("kind", "other", write("b"))
        assert entries(fresh_cache) == {"key", "other"}, step
        shutil.rmtree(fresh_cache)
        step += 1
    assert step > 10
    assert seen == sorted(seen)
    assert set(seen) == {False, True}


def test_many_processes_on_one_full_cache(fresh_cache: Path) -> None:
    """All make, damage, use and evict the same entries; none fails, and each can read the entries it was given."""
    script = """
import os, random, sys
from edgetl._lib import cache
order = random.Random(int(sys.argv[1]))
for _ in range(60):
    name = str(order.randrange(6))
    def make(folder):
        (folder / "deep").mkdir()
        for part in range(5):
            (folder / "deep" / str(part)).write_text(name * 1000)
    folder = cache.entry(order.choice(("one", "two")), name, make)
    for part in range(5):
        text = (folder / "deep" / str(part)).read_text()
        assert text == name * 1000, (folder, part)
    if order.random() < 0.5:  # as a process that ends
        for descriptor in cache._held.values():
            os.close(descriptor)
        cache._held.clear()
"""
    environment = os.environ | {"EDGETL_CACHE_GB": "0.00001"}
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(seed)], stderr=subprocess.PIPE, text=True, env=environment)
        for seed in range(4)
    ]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert said == ""
    assert not [path for path in fresh_cache.rglob(".*") if not path.name.startswith(".CACHEDIR")]


def project(folder: Path) -> set[Path]:
    """Make a user's project with old files; return all paths in it."""
    for name in (".git/HEAD", ".venv/pyvenv.cfg", "photos/1.jpg"):
        file = folder / "proj" / name
        file.parent.mkdir(parents=True)
        file.write_text("mine")
        age(file.parent, DAYS_S)
    return set(folder.rglob("*"))


@pytest.mark.parametrize("gigabytes", ["20", "0"])
def test_a_folder_of_somebody_else_is_refused(tiny_photos: Path, tmp_path: Path, gigabytes: str) -> None:
    before = project(tmp_path / "work")
    environment = {"EDGETL_CACHE": str(tmp_path / "work"), "EDGETL_CACHE_GB": gigabytes}
    said = small.refused(small.edgetl("data", "check", tiny_photos, env=environment))
    assert "is not a cache that edgetl made: proj" in said
    assert "Set EDGETL_CACHE to a new or empty folder" in said
    assert set((tmp_path / "work").rglob("*")) == before


def test_a_tag_of_another_program_is_not_edgetls(fresh_cache: Path) -> None:
    fresh_cache.mkdir()
    (fresh_cache / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n# By cargo\n")
    with pytest.raises(InputError, match="is not a cache that edgetl made"):
        cache.entry("kind", "key", write("a"))


def test_what_is_put_into_the_cache_stays_there(fresh_cache: Path, tmp_path: Path) -> None:
    in_a_process("key", "kept")
    (fresh_cache / "kind" / "kept" / "notes.txt").write_text("mine")
    before = project(fresh_cache) | project(tmp_path / "elsewhere") | set((fresh_cache / "kind" / "kept").iterdir())
    (fresh_cache / "link").symlink_to(tmp_path / "elsewhere" / "proj")
    (fresh_cache / "proj" / ".day.tmp").mkdir()
    age(fresh_cache / "proj" / ".day.tmp", DAYS_S)
    before |= {fresh_cache / "proj" / ".day.tmp", fresh_cache / "link"}
    in_a_process("more", gigabytes=0)
    left = set(fresh_cache.rglob("*")) | set((tmp_path / "elsewhere").rglob("*"))
    assert not {path for path in before if path not in left and "key" not in path.parts}
    assert entries(fresh_cache) == {"kept", "more"}


def test_a_damaged_entry_with_somebodys_file_is_refused(fresh_cache: Path) -> None:
    in_a_process("key")
    (fresh_cache / "kind" / "key" / "content").write_text("cut")
    (fresh_cache / "kind" / "key" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="contains files that are not edgetl's"):
        cache.entry("kind", "key", write("a"))
    assert (fresh_cache / "kind" / "key" / "notes.txt").read_text() == "mine"


def test_an_earlier_cache_and_the_boards_folder_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("EDGETL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("EDGETL_CACHE_GB", "0")
    old = tmp_path / "edgetl" / "pixels" / "0123" / "pixels.npy"
    board = tmp_path / "edgetl" / "remote" / "venvs" / "0123" / "ready"
    for file in (old, board):
        file.parent.mkdir(parents=True)
        file.write_text("x" * 1000)
        age(file.parent, DAYS_S)
    for name in ("a", "b"):
        cache.entry("kind", name, write("x"))
    assert old.exists()
    assert board.exists()
    assert capsys.readouterr().err.count("an earlier edgetl cached here (pixels)") == 1


def test_a_limit_that_is_no_number_is_refused(fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETL_CACHE_GB", "much")
    with pytest.raises(InputError, match="EDGETL_CACHE_GB"):
        cache.entry("kind", "key", write("a"))


def give_up_root() -> None:
    """Run in a child before it starts: root without CAP_DAC_OVERRIDE (1), CAP_DAC_READ_SEARCH (2) and CAP_FOWNER (3)
    obeys modes."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2, 3):
        libc.prctl(24, capability, 0, 0, 0)


_MAKE = """
import sys
from edgetl._lib.cache import entry, marked_root
def make(folder):
    print("made")
    (folder / "x").write_text(sys.argv[1])
print(entry("pixels", sys.argv[1], make) / "x")
print(marked_root("matplotlib"))
"""


def made_by_another(root: Path, key: str, **environment: str) -> tuple[list[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", _MAKE, key],
        capture_output=True, text=True, check=False, timeout=60, preexec_fn=give_up_root,
        env=os.environ | UNMEASURED | {"EDGETL_CACHE": str(root)} | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize("closed", ["root", "kind"])
def test_a_cache_of_another_user_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    root = tmp_path / "cache"
    monkeypatch.setenv("EDGETL_CACHE", str(root))
    there = cache.entry("pixels", "there", lambda folder: (folder / "x").write_text("there"))
    folders = [path for path in (root, *root.rglob("*")) if path.is_dir()] if closed == "root" else [root / "pixels"]
    for path in folders:
        path.chmod(0o555)
    if closed == "root":
        (root / "CACHEDIR.TAG").chmod(0o444)
    try:
        if subprocess.run(["touch", root / "pixels/new"], capture_output=True, preexec_fn=give_up_root).returncode == 0:
            pytest.skip("root's rights cannot be given up here")
        (path, *_), said = made_by_another(root, "there")
        assert path == str(there / "x")
        (made, path, _), said = made_by_another(root, "other")
        assert made == "made"
        assert not path.startswith(str(root))
        assert not Path(path).exists()  # removed with its process
        assert said.count(f"{root}: not writable") == 1
        assert "set EDGETL_CACHE" in said
        # A damaged entry is not used; its owner will make it again.
        (there / "x").chmod(0o644)
        (there / "x").write_text("thexe")
        (made, path, _), said = made_by_another(root, "there")
        assert made == "made"
        assert not path.startswith(str(root))
    finally:
        for path in folders:
            path.chmod(0o755)


def test_without_a_home(tmp_path: Path) -> None:
    closed = tmp_path / "home"
    closed.mkdir(mode=0o555)
    lines, said = made_by_another(Path(), "new", EDGETL_CACHE="", XDG_CACHE_HOME="", HOME=str(closed))
    assert lines[0] == "made"
    assert f"{closed}/.cache/edgetl/cache: not writable" in said
    assert not list(closed.iterdir())
