"""Training that was ended early goes on as if nothing had happened, or says why it cannot."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from branches import UNMEASURED

from edgetl.runs.directory import Run
from edgetl.training import TrainOptions, resume, train
from edgetl_device.errors import InputError

pytestmark = pytest.mark.no_cover

FLAGS = ("--size", 32, "--views", 1, "--epochs", 12, "--patience", 12, "--batch-size", 4,
         "--truncate", 6, "--trainable-blocks", 2)  # fmt: skip
RANDOM_KILLS = 20


def unfinished(out: Path) -> Path:
    return out.with_name(out.name + ".unfinished")


def start(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edgetl", "train", *map(str, arguments)]
    environment = os.environ | UNMEASURED
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def wait_for(process: subprocess.Popen[bytes], what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)


def kill_after_a_checkpoint(process: subprocess.Popen[bytes], out: Path, *, delay_s: float) -> None:
    """Kill a process so long after it has written a checkpoint of its own."""
    file = unfinished(out) / "checkpoint.npz"
    before = file.stat().st_mtime_ns if file.exists() else 0
    wait_for(process, lambda: file.exists() and file.stat().st_mtime_ns != before)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait(60)


def history(run: Run) -> list[dict[str, str]]:
    with open(run.folder / "history.csv", encoding="utf-8") as stream:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]


def assert_equal_runs(run: Run, expected: Run) -> None:
    for array, other in zip(run.load_model().get_weights(), expected.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(array, other)
    assert history(run) == history(expected)
    assert run.samples == expected.samples
    assert run.document.metrics == expected.document.metrics
    assert run.document.model.best_epoch == expected.document.model.best_epoch


@pytest.fixture(scope="module")
def unbroken(tiny_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of ``FLAGS`` that nobody kills."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    done = small.edgetl("train", tiny_photos, "--out", out, *FLAGS)
    assert done.returncode == 0, done.stderr
    assert not unfinished(out).exists()
    return Run.open(out)


@pytest.fixture(scope="module")
def killed(tiny_photos: Path, unbroken: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in the middle of an epoch, to be copied: the path that was to appear."""
    out = tmp_path_factory.mktemp("killed") / "run"
    kill_after_a_checkpoint(start(tiny_photos, "--out", out, *FLAGS), out, delay_s=0.02)
    assert not out.exists()
    return out


def copy_of(killed: Path, folder: Path) -> Path:
    shutil.copytree(unfinished(killed), unfinished(folder / "run"))
    return folder / "run"


@pytest.mark.slow
def test_killed_again_and_again_it_ends_in_the_same_run(unbroken: Run, killed: Path, tmp_path: Path) -> None:
    out = copy_of(killed, tmp_path)
    kill_after_a_checkpoint(start("--resume", out), out, delay_s=0.0)
    done = small.edgetl("train", "--resume", out)
    assert done.returncode == 0, done.stderr
    assert "resumed after epoch" in done.stderr
    run = Run.open(out)
    assert_equal_runs(run, unbroken)
    assert 0 < run.document.resumed.epoch <= 12
    assert not unfinished(out).exists()
    assert small.left_over(tmp_path) == []


def test_a_killed_run_is_said_and_is_no_run(tiny_photos: Path, killed: Path, tmp_path: Path) -> None:
    out = copy_of(killed, tmp_path)
    with pytest.raises(InputError, match="there is an unfinished run") as caught:
        train(tiny_photos, out, small.options())
    assert "--resume" in str(caught.value)
    assert "--overwrite" in str(caught.value)
    for folder in (out, unfinished(out)):
        with pytest.raises(InputError):
            Run.open(folder)
    run = train(tiny_photos, out, small.options(size=32, epochs=0), overwrite=True)
    assert run.document.config.others["epochs"] == 0
    assert not unfinished(out).exists()


def test_other_settings_photos_and_networks_are_refused_and_nothing_is_lost(
    tiny_photos: Path, killed: Path, tmp_path: Path
) -> None:
    out = copy_of(killed, tmp_path)
    before = (unfinished(out) / "checkpoint.npz").read_bytes()

    with pytest.raises(InputError, match=r"epochs=7: the unfinished run has 12"):
        resume(out, given={"epochs": 7})
    for flags, said in ((("--lr", 0.1), "--lr 0.1"), (("--out", tmp_path / "other"), "in its own directory")):
        assert said in small.refused(small.edgetl("train", "--resume", out, *flags))

    photos = Path(shutil.copytree(tiny_photos, tmp_path / "photos"))
    next((photos / "bolt").iterdir()).unlink()
    with pytest.raises(InputError, match="the photos have changed") as caught:
        resume(out, root=photos)
    assert "1 of them are gone or different" in str(caught.value)

    request = unfinished(out) / "request.json"
    text = request.read_text()
    request.write_text(text.replace('"trainable_blocks": 2', '"trainable_blocks": 3'))
    with pytest.raises(InputError, match="belongs to another run") as caught:
        resume(out)
    assert "changed since it was saved: settings (trainable_blocks 2 / 3)" in str(caught.value)
    request.write_text(text)

    assert (unfinished(out) / "checkpoint.npz").read_bytes() == before
    assert not out.exists()


def edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what a checkpoint says of itself."""
    with np.load(file, allow_pickle=False) as archive:
        arrays = dict(archive)
    document = json.loads(arrays.pop("document").tobytes())
    change(document)
    np.savez(file, allow_pickle=False, document=np.frombuffer(json.dumps(document).encode(), np.uint8), **arrays)


def test_other_libraries_would_give_other_bits(killed: Path, tmp_path: Path) -> None:
    out = copy_of(killed, tmp_path)
    file = unfinished(out) / "checkpoint.npz"
    edit(file, lambda document: document["identity"]["libraries"].update(keras="3.0.0"))
    with pytest.raises(InputError, match="belongs to another run") as caught:
        resume(out)
    assert f"libraries (keras 3.0.0 / {version('keras')})" in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert file.exists()


@pytest.mark.slow
def test_other_hardware_is_said(killed: Path, tmp_path: Path) -> None:
    out = copy_of(killed, tmp_path)
    edit(unfinished(out) / "checkpoint.npz", lambda document: document.update(hardware=["CPU:0 (another)"]))
    done = small.edgetl("train", "--resume", out)
    assert done.returncode == 0, done.stderr
    assert "warning: started on CPU:0 (another), continues on CPU:0 (" in done.stderr
    assert Run.open(out).document.resumed.moved_from == ("CPU:0 (another)",)


def test_a_damaged_checkpoint_is_refused(killed: Path, tmp_path: Path) -> None:
    out = copy_of(killed, tmp_path)
    file = unfinished(out) / "checkpoint.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(InputError, match="is damaged") as caught:
        resume(out)
    assert "--overwrite" in str(caught.value)
    assert file.read_bytes() == data


def test_photos_that_moved_are_the_same_photos(tiny_photos: Path, unbroken: Run, killed: Path, tmp_path: Path) -> None:
    out = copy_of(killed, tmp_path)
    run = resume(out, root=Path(shutil.copytree(tiny_photos, tmp_path / "moved")), given={"epochs": 12})
    assert_equal_runs(run, unbroken)
    assert run.data_root == tmp_path / "moved"


def test_nothing_to_resume(tiny_run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no unfinished run"):
        resume(tmp_path / "run")
    with pytest.raises(InputError, match="is finished, nothing to resume"):
        resume(tiny_run.folder)


def test_two_processes_do_not_train_one_run(tiny_photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(tiny_photos, "--out", out, *FLAGS)
    try:
        wait_for(process, lambda: (unfinished(out) / "request.json").exists())
        with pytest.raises(InputError, match=rf"is being trained by process {process.pid} on "):
            train(tiny_photos, out, TrainOptions(size=32), overwrite=True)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_run_that_ctrl_c_ended_can_go_on(tiny_photos: Path, unbroken: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(tiny_photos, "--out", out, *FLAGS)
    wait_for(process, lambda: (unfinished(out) / "checkpoint.npz").exists())
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert Run.open(out).document.interrupted is True
    (out / "bundle").mkdir()
    with pytest.raises(InputError, match="contains a bundle"):
        resume(out)
    (out / "bundle").rmdir()
    run = resume(out)
    assert run.document.interrupted is False
    assert_equal_runs(run, unbroken)
    assert not unfinished(out).exists()


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(RANDOM_KILLS))
def test_killed_at_a_random_moment(tiny_photos: Path, unbroken: Run, tmp_path: Path, moment: int) -> None:
    out = tmp_path / "run"
    share = random.Random(moment).random()
    process = start(tiny_photos, "--out", out, *FLAGS)
    if moment % 2:
        # Among the epochs: a whole process is mostly start.
        delay_s = share * float(os.environ.get("EDGETL_KILL_EPOCHS_WITHIN_S", "1.5"))
        kill_after_a_checkpoint(process, out, delay_s=delay_s)
    else:
        delay_s = share * float(os.environ.get("EDGETL_KILL_WITHIN_S", "12"))
        time.sleep(delay_s)
        process.kill()
        process.wait()
    state = "finished" if out.exists() else "unfinished" if unfinished(out).exists() else "nothing"
    done = small.edgetl("train", "--resume", out)
    if done.returncode == 2 and not out.exists():
        # Killed before it had said what it was asked for.
        assert state == "nothing" or not (unfinished(out) / "request.json").exists()
        done = small.edgetl("train", tiny_photos, "--out", out, *FLAGS)
    assert done.returncode == 0 or state == "finished", done.stderr
    run = Run.open(out)
    assert_equal_runs(run, unbroken)
    assert not unfinished(out).exists()
    since = "the first epoch" if moment % 2 else "its start"
    print(f"killed {delay_s:.2f} s after {since}: {state}, went on from {run.document.resumed or 'the start'}")
