"""``edgetl train`` and ``quantize`` as processes: output, Ctrl-C, kill, full disk, missing extra, no permission."""

from __future__ import annotations

import ctypes
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import small
from branches import UNMEASURED

from edgetl.runs.directory import Run

pytestmark = pytest.mark.no_cover

PR_CAPBSET_DROP = 24


def start(*arguments: object, stderr: object, killed: bool = False) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edgetl", *map(str, arguments)]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "140"} | (UNMEASURED if killed else {})
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, env=environment)  # type: ignore[call-overload]


def read_until(stream: int, process: subprocess.Popen[bytes], pattern: str) -> str:
    """Read a process's terminal output until a pattern appears."""
    seen, deadline = "", time.monotonic() + 120
    while not re.search(pattern, seen):
        assert process.poll() is None, seen
        assert time.monotonic() < deadline, seen
        if select.select([stream], [], [], 1)[0]:
            seen += os.read(stream, 65536).decode(errors="replace")
    return seen


def test_a_run_and_its_summary(
    tiny_photos: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Start with an empty cache, so that every stage runs.
    monkeypatch.setenv("EDGETL_CACHE", str(tmp_path_factory.mktemp("cold")))
    out = tmp_path / "deep" / "er" / "run"
    done = small.edgetl("train", tiny_photos, "--out", out, *small.FLAGS, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    for word in (*small.LABELS, "photos right", "weights: embedded", "model.keras", f"edgetl quantize {out}"):
        assert word in done.stdout.replace("\n", " ") or word in done.stdout
    for stage in ("Decoding photos", "Frozen base, photos", "Head on pooled features", "Training the last 2 blocks"):
        assert re.search(rf"{stage}.*/s\)|{stage}.* s$", done.stderr, re.MULTILINE), done.stderr
    # Where stderr is no terminal, a line for each epoch, and why training ended.
    figures = (f"{name} [\\d.]+ \\(val [\\d.]+\\)" for name in ("loss", "accuracy"))
    shown = f"epoch 1/1: {', '.join(figures)}, [\\d,]+ images/s$"
    assert len(re.findall(shown, done.stderr, re.MULTILINE)) == 1, done.stderr
    assert re.search(r"^trained for 1 epoch; epoch [01] is kept", done.stderr, re.MULTILINE), done.stderr
    assert len(done.stdout.splitlines()) <= 40
    assert Run.open(out).labels == small.LABELS
    # Native libraries are silenced: every line is edgetl's own.
    assert "oneDNN" not in done.stderr
    assert "WARNING" not in done.stderr

    again = small.edgetl("train", tiny_photos, "--out", out, *small.FLAGS)
    assert "--overwrite" in small.refused(again)


def test_json_and_the_default_place(tiny_photos: Path, tmp_path: Path) -> None:
    done = small.edgetl("train", tiny_photos, *small.FLAGS, "--epochs", 0, "--seed", 5, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "runs" / "photos" / "run.json").read_text())
    assert (document["config"]["seed"], document["config"]["size"], document["config"]["epochs"]) == (5, small.SIZE, 0)


def test_ctrl_c_while_blocks_are_trained_keeps_the_best_weights(tiny_photos: Path, tmp_path: Path) -> None:
    master, terminal = pty.openpty()
    flags = (*small.FLAGS, "--epochs", 100_000, "--patience", 100_000)
    process = start("train", tiny_photos, "--out", tmp_path / "run", *flags, stderr=terminal)
    # Once the second stage's bar has moved, some steps are done.
    seen = read_until(master, process, r"Training the last 2 blocks[^\n\r]*?[1-9]\d*/\d+.*?images/s")
    assert re.search(r"\d:\d\d:\d\d", seen), "no time left is shown"
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    while process.poll() is None:
        if select.select([master], [], [], 0.2)[0]:
            seen += os.read(master, 65536).decode(errors="replace")
    assert process.returncode == 130, seen
    assert "Traceback" not in seen
    run = Run.open(tmp_path / "run")
    assert run.document.interrupted is True
    assert run.load_model().get_layer("logits").get_weights()[0].any()
    assert set(run.document.metrics) == {"val", "test"}
    assert small.left_over(tmp_path) == []


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_ended_before_there_is_a_model_it_leaves_no_run(
    tiny_photos: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    kill: signal.Signals,
) -> None:
    # Start with an empty cache, so that the frozen base runs and its output appears.
    monkeypatch.setenv("EDGETL_CACHE", str(tmp_path_factory.mktemp("cold")))
    with open(tmp_path / "said", "wb") as said:
        arguments = ("train", tiny_photos, "--out", tmp_path / "run", *small.FLAGS, "--views", 900)
        process = start(*arguments, stderr=said, killed=kill == signal.SIGKILL)
        deadline = time.monotonic() + 120
        while b"Frozen base, photos" not in (tmp_path / "said").read_bytes():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(kill)
        code = process.wait(60)
    text = (tmp_path / "said").read_text()
    assert code == (130 if kill == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in text
    # A killed process cannot clean up: the resume state stays, for --resume, and there is no run.
    left = {"said"} if kill == signal.SIGINT else {"said", "run.unfinished"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_killed_while_it_writes_the_run_can_be_started_again(tiny_photos: Path, tmp_path: Path) -> None:
    arguments = ("train", tiny_photos, "--out", tmp_path / "run", *small.FLAGS, "--epochs", 0)
    process = start(*arguments, stderr=subprocess.DEVNULL, killed=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".run.*.tmp/run/model.keras")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert not (tmp_path / "run").exists()
    done = small.edgetl(*arguments)
    assert done.returncode == 0, done.stderr
    Run.open(tmp_path / "run").load_model()


def without(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run edgetl where a module cannot be imported."""
    words = ["edgetl", *map(str, arguments)]
    return small.python(
        f"import sys; sys.modules[{module!r}] = None; sys.argv = {words!r}; from edgetl.cli import main; main()"
    )


def test_an_absent_extra_names_the_command_that_installs_it(tiny_photos: Path, tiny_run: Run, tmp_path: Path) -> None:
    for arguments in (
        ("train", tiny_photos, "--out", tmp_path / "run"),
        ("quantize", tiny_run.folder),
        ("export", tiny_run.folder),
        ("evaluate", tiny_run.folder, tiny_photos),
    ):
        done = without("tensorflow", *arguments)
        text = small.refused(done, 4)
        assert "needs tensorflow" in text
        assert "pip install ./device '.[train]'" in text
    # The error comes before any other work.
    assert without("tensorflow", "train", tiny_photos, "--out", tmp_path / "run").stderr.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "file", [pytest.param(name, marks=pytest.mark.slow) for name in ("pixels", "model")] + ["base"]
)
def test_a_full_disk_during_training(tiny_photos: Path, tmp_path: Path, file: str) -> None:
    """A file size limit stops training at the first larger file: pixel cache, frozen base, model.keras."""
    cache = tmp_path / "cache"
    environment = {"EDGETL_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    out, flags = tmp_path / "out", small.WHOLE
    if file == "model":
        # Cached files are not written again, so only the model is left to write.
        flags = (*small.FLAGS, "--epochs", 0)
        warm = small.edgetl("train", tiny_photos, "--out", tmp_path / "warm", *flags, env=environment)
        assert warm.returncode == 0, warm.stderr
        limit = (tmp_path / "warm" / "model.keras").stat().st_size - 1
        shutil.rmtree(tmp_path / "warm")
    else:
        limit = {"pixels": 100_000, "base": 2_000_000}[file]

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = small.edgetl("train", tiny_photos, "--out", out / "run", *flags, env=environment, before=full)
    text = small.refused(done, 4)
    assert "Free some space" in text
    assert str(tmp_path) in text
    assert not out.exists() or list(out.iterdir()) == []
    for folder in filter(Path.is_dir, cache.iterdir()):
        assert small.left_over(folder) == []


@pytest.mark.slow
def test_a_full_disk_during_quantizing(short_run: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(short_run.folder, tmp_path / "run"))

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    before = sorted(path.name for path in folder.iterdir())
    done = small.edgetl("quantize", folder, env={"PYTHONDONTWRITEBYTECODE": "1"}, before=full)
    text = small.refused(done, 4)
    assert "Free some space" in text
    assert sorted(path.name for path in folder.iterdir()) in (before, sorted([*before, "quantize.json"]))


def give_up_root() -> None:
    """Run in a child before it starts: root without CAP_DAC_OVERRIDE (1) and CAP_DAC_READ_SEARCH (2) obeys modes."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def needs_modes(folder: Path) -> None:
    if subprocess.run(["touch", folder / "x"], capture_output=True, preexec_fn=give_up_root).returncode == 0:
        pytest.skip("root's rights cannot be given up here")


def test_no_permission_is_said_before_training(tiny_photos: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    needs_modes(closed)
    for out in (closed / "run", closed / "deep" / "run"):
        done = small.edgetl("train", tiny_photos, "--out", out, *small.FLAGS, before=give_up_root)
        text = small.refused(done)
        assert str(closed) in text
        assert "--out" in text
        assert "Decoding" not in done.stderr
    assert list(closed.iterdir()) == []
    (tmp_path / "file").write_text("x")
    assert "file" in small.refused(small.edgetl("train", tiny_photos, "--out", tmp_path / "file" / "run"))


def test_no_permission_for_the_bundle(tiny_run: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_run.folder, tmp_path / "run"))
    folder.chmod(0o500)
    try:
        needs_modes(folder)
        text = small.refused(small.edgetl("quantize", folder, before=give_up_root))
        assert "Permission denied" in text
        assert not (folder / "bundle").exists()
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: None, "no such folder"),
        (lambda folder: folder.mkdir(), "it is empty"),
        (lambda folder: (folder / "only").mkdir(parents=True), "photos"),
    ],
    ids=["missing", "empty", "no photos"],
)
def test_folders_that_are_no_data_set(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    make(tmp_path / "photos")
    done = small.edgetl("train", tmp_path / "photos", "--out", tmp_path / "run")
    assert said in small.refused(done)
    assert not (tmp_path / "run").exists()


def test_one_class_and_wrong_flags(tiny_photos: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_photos / "gear", tmp_path / "photos" / "gear")
    assert "only one class" in small.refused(small.edgetl("train", tmp_path / "photos", "--out", tmp_path / "run"))
    for flags in (("--lr", "5"), ("--trainable-blocks", "99"), ("--backbone", "vgg"), ("--weights", "none.h5")):
        done = small.edgetl("train", tiny_photos, "--out", tmp_path / "run", *flags)
        assert flags[1] in small.refused(done)
    assert not (tmp_path / "run").exists()
