"""Machines that lack memory, descriptors or disk: the right exit code, a message, and nothing damaged."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import small

from edgetl.runs.directory import Run
from edgetl_device._lib.files import sha256_file
from edgetl_device.bundle import Bundle
from edgetl_device.verify import verify

pytestmark = pytest.mark.no_cover


def limited(which: int, limit: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(which, (limit, limit))


@pytest.fixture
def copy(short_run: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(short_run.folder, tmp_path / "run"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 100 kB, for the file of the smallest model too small."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in folder.rglob("*") if path.is_file()}


def test_descriptors_run_out(copy: Path, tmp_path: Path) -> None:
    before = tree(copy)
    for words in (("export", copy, "--out", tmp_path / "model.tflite"), ("quantize", copy)):
        text = small.refused(small.edgetl(*words, before=limited(resource.RLIMIT_NOFILE, 6)), 4)
        # tempfile does not say why it can make no file.
        assert "Too many open files" in text or "no folder for temporary files" in text
        assert "(ulimit -a)" in text
    assert tree(copy) == before
    assert not (tmp_path / "model.tflite").exists()


def test_memory_is_too_small_for_tensorflow(copy: Path, tmp_path: Path) -> None:
    before = tree(copy)
    done = small.edgetl(
        "export", copy, "--out", tmp_path / "model.tflite", before=limited(resource.RLIMIT_AS, 700 << 20)
    )
    assert "not enough memory" in small.refused(done, 4)
    assert tree(copy) == before
    assert not (tmp_path / "model.tflite").exists()


@pytest.mark.faults
@pytest.mark.parametrize("megabytes", [900, 1300, 1700, 2100, 2500, 2900, 3300])
def test_memory_runs_out_somewhere(copy: Path, tmp_path: Path, megabytes: int) -> None:
    """TensorFlow aborts the process when it gets none; then nobody can say why, but nothing is damaged either."""
    before = tree(copy)
    done = small.edgetl("quantize", copy, before=limited(resource.RLIMIT_AS, megabytes << 20))
    assert done.returncode in (0, 4, -signal.SIGABRT), done.stderr
    if done.returncode == 0:
        assert verify(Bundle.open(copy)).ok
        return
    if done.returncode == 4:
        assert "memory" in small.refused(done, 4)
    # What is left of the bundle, the next start removes.
    small.edgetl("quantize", copy)
    assert verify(Bundle.open(copy)).ok
    assert set(before) <= set(tree(copy))
    assert small.left_over(copy) == []


@pytest.mark.faults
@pytest.mark.parametrize("place", ["out", "TMPDIR", "cache"])
def test_a_small_disk_when_a_model_is_exported(copy: Path, disk: Path, tmp_path: Path, place: str) -> None:
    before = tree(copy)
    out = (disk if place == "out" else tmp_path) / "int8.onnx"
    variant = "float32" if place == "out" else "int8-onnx"
    env = {"TMPDIR": {"TMPDIR": str(disk)}, "cache": {"EDGETL_CACHE": str(disk / "cache")}}.get(place, {})
    done = small.edgetl("export", copy, "--variant", variant, "--out", out, env=env)
    text = small.refused(done, 4)
    assert "could not be written: No space left on device" in text
    # It says which disk.
    assert str(disk) in text
    assert not out.exists()
    assert small.left_over(tmp_path) == small.left_over(disk) == []
    assert tree(copy) == before


@pytest.mark.faults
def test_a_disk_that_is_full_when_a_bundle_is_replaced(copy: Path, tmp_path: Path) -> None:
    """The bundle before it stays as it was, bit for bit."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        run = Path(shutil.copytree(copy, disk / "run"))
        assert small.edgetl("quantize", run).returncode == 0
        before = tree(run)
        # Unbuffered: what a buffer still holds would be written, and refused, when the file is closed.
        with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(os.urandom(1 << 12))
        text = small.refused(small.edgetl("quantize", run), 4)
        assert "No space left on device" in text
        assert tree(run / "bundle") == {
            name.removeprefix("bundle/"): sha for name, sha in before.items() if name.startswith("bundle/")
        }
        assert small.left_over(run) == []
        (disk / "filler").unlink()
        assert small.edgetl("quantize", run).returncode == 0
        assert verify(Bundle.open(run)).ok
    finally:
        subprocess.run(["umount", disk], check=True)
