"""The command line of the device package, as processes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from branches import UNMEASURED
from PIL import Image

from edgetl_device.__main__ import main
from edgetl_device._lib.files import sha256_bytes

Device = Callable[..., subprocess.CompletedProcess[str]]
Refuses = Callable[..., None]
Reseal = Callable[[Callable[[dict[str, Any]], None]], Path]

HEAVY = (
    "tensorflow", "keras", "typer", "rich", "edgetl", "sklearn", "onnx", "matplotlib", "scipy", "pandas", "cv2",
    "picamera2",
)  # fmt: skip


def test_classify_prints_json(device: Device, tiny_file: Path, photo_file: Path) -> None:
    done = device("classify", tiny_file, photo_file, photo_file, "--top", "2", "--variant", "float32")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["variant"] == "float32"
    assert [row["photo"] for row in document["photos"]] == [str(photo_file)] * 2
    assert [len(row["predictions"]) for row in document["photos"]] == [2, 2]
    assert document["photos"][0]["predictions"][0]["label"] == "circle"


def test_verify_prints_json(device: Device, tiny_file: Path) -> None:
    done = device("verify", tiny_file)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True


def test_bench_prints_json(device: Device, folder: Path) -> None:
    done = device("bench", folder, "--variants", "int8,float32", "--duration", "0.05")
    assert done.returncode == 0, done.stderr
    assert [run["variant"] for run in json.loads(done.stdout)["runs"]] == ["int8", "float32"]


def test_verify_of_a_damaged_bundle_reports_and_exits_2(device: Device, refuses: Refuses, folder: Path) -> None:
    (folder / "evalset" / "03_circle.png").unlink()
    done = device("verify", folder)
    refuses(done, 2, "03_circle.png")
    assert json.loads(done.stdout)["ok"] is False
    refuses(device("bench", folder, "--duration", "0.05"), 2, "03_circle.png")


def test_truncated_zip(device: Device, refuses: Refuses, tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.edgetl").write_bytes(tiny_file.read_bytes()[:50_000])
    refuses(device("verify", tmp_path / "cut.edgetl"), 2, "cut.edgetl", "Copy it again")


def test_edited_manifest_and_model(device: Device, refuses: Refuses, folder: Path, photo_file: Path) -> None:
    model = bytearray((folder / "models" / "int8.tflite").read_bytes())
    model[5000] ^= 1
    (folder / "models" / "int8.tflite").write_bytes(model)
    refuses(device("classify", folder, photo_file), 2, "models/int8.tflite", "SHA-256")
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.replace('"circle"', '"wheel"', 1))
    refuses(device("classify", folder, photo_file), 2, "bundle.json", "digest")


def test_newer_schema(device: Device, refuses: Refuses, reseal: Reseal, photo_file: Path) -> None:
    folder = reseal(lambda document: document.update(schema="edgetl.bundle/7"))
    refuses(device("classify", folder, photo_file), 2, "edgetl.bundle/7", "Update edgetl")


def test_path_escape_and_link(device: Device, refuses: Refuses, reseal: Reseal, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes((folder / "models" / "int8.tflite").read_bytes())
    (folder / "models" / "int8.tflite").unlink()
    (folder / "models" / "int8.tflite").symlink_to(tmp_path / "model.tflite")
    refuses(device("classify", folder, __file__), 2, "stay inside")

    def escape(document: dict[str, Any]) -> None:
        row = document["variants"][1]
        row["file"] = "../model.tflite"
        document["files"]["../model.tflite"] = {"sha256": row["sha256"], "bytes": row["bytes"]}

    refuses(device("classify", reseal(escape), __file__), 2, "../model.tflite", "stay inside")


def test_text_files_as_model_and_as_photo(
    device: Device, refuses: Refuses, reseal: Reseal, folder: Path, photo_file: Path
) -> None:
    refuses(device("classify", folder, __file__), 2, "test_main.py", "not an image")
    text = b"This is a text file.\n" * 10
    (folder / "models" / "int8.tflite").write_bytes(text)
    entry = {"sha256": sha256_bytes(text), "bytes": len(text)}

    def edit(document: dict[str, Any]) -> None:
        document["files"]["models/int8.tflite"] = entry
        document["variants"][1] |= entry

    refuses(device("classify", reseal(edit), photo_file), 2, "int8.tflite", "not a model")


def test_wrong_requests(device: Device, refuses: Refuses, tiny_file: Path, photo_file: Path, tmp_path: Path) -> None:
    refuses(device("classify", tiny_file, photo_file, "--variant", "int4"), 2, "int4", "float32, int8")
    refuses(device("classify", tiny_file, photo_file, "--threads", "0"), 2, "threads")
    refuses(device("classify", tiny_file, tmp_path / "none.jpg"), 2, "none.jpg")
    refuses(device("classify", tmp_path / "none.edgetl", photo_file), 2, "none.edgetl")
    refuses(device("bench", tiny_file, "--threads", "1,x"), 2, "1,x")
    refuses(device("bench", tiny_file, "--duration", "ten"), 2, "ten")
    refuses(device("fly"), 2, "fly")
    refuses(device(), 2)


def test_no_heavy_package_is_ever_imported(tiny_file: Path, photo_file: Path) -> None:
    script = f"""
import sys
import edgetl_device
assert "numpy" not in sys.modules, "importing edgetl_device must import nothing else"
from edgetl_device.__main__ import main
import io, contextlib
with contextlib.redirect_stdout(io.StringIO()):
    assert main(["classify", {str(tiny_file)!r}, {str(photo_file)!r}]) == 0
    assert main(["verify", {str(tiny_file)!r}]) == 0
    assert main(["bench", {str(tiny_file)!r}, "--duration", "0.05"]) == 0
heavy = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_closed_pipe_is_quiet(tiny_file: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "edgetl_device", "verify", str(tiny_file)]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(write_end)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_one_photo_stays_under_120_mb(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgetl_device.bench import memory

    for name, value in UNMEASURED.items():
        monkeypatch.setenv(name, value)
    found = memory.peak_rss_bytes(tiny.path, "int8", 1)
    assert isinstance(found, int)
    assert found < 120e6


def test_a_photo_that_cannot_be_read_does_not_lose_the_others(
    device: Device, refuses: Refuses, tiny_file: Path, photo_file: Path, tmp_path: Path
) -> None:
    cut, empty = tmp_path / "truncated.jpg", tmp_path / "empty"
    cut.write_bytes(photo_file.read_bytes()[:-200])
    empty.mkdir()
    done = device("classify", tiny_file, photo_file, cut, tmp_path / "none.jpg", empty, photo_file)
    refuses(done, 2, "3 of 5 photos could not be classified", "truncated.jpg")
    rows = json.loads(done.stdout)["photos"]
    assert [Path(row["photo"]).name for row in rows] == [
        photo_file.name,
        cut.name,
        "none.jpg",
        "empty",
        photo_file.name,
    ]
    assert rows[0] == rows[4]
    assert rows[0]["predictions"][0]["label"] == "circle"
    assert "error" not in rows[0]
    assert rows[1]["predictions"] == []
    assert "cannot be decoded" in rows[1]["error"]
    assert "no such file" in rows[2]["error"]


def test_a_model_that_answers_nan(
    device: Device, refuses: Refuses, nan_bundle: Path, photo_file: Path, tmp_path: Path
) -> None:
    done = device("classify", nan_bundle, photo_file, "--variant", "float32")
    refuses(done, 2, "1 of 1 photos", "the model outputs NaN", "models/float32.tflite")
    assert json.loads(done.stdout)["photos"][0]["predictions"] == []
    done = device("verify", nan_bundle)
    refuses(done, 2, "reference, float32", "the model outputs NaN")
    assert [check["status"] for check in json.loads(done.stdout)["checks"]][:4] == ["ok", "ok", "ok", "failed"]
    refuses(device("bench", nan_bundle, "--quick", "--variants", "float32"), 2, "the model outputs NaN")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "photo.jpg").write_bytes(photo_file.read_bytes())
    done = device(
        "classify", nan_bundle, "--variant", "float32", "--watch", tmp_path / "in", "--existing", "--frames", "1"
    )
    assert done.returncode == 0, done.stderr
    assert "the model outputs NaN" in json.loads(done.stdout)["error"]


def test_a_disk_without_space_is_the_machines_affair(tiny_file: Path) -> None:
    command = [sys.executable, "-m", "edgetl_device", "verify", str(tiny_file)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-2] == "error: could not be written: No space left on device"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 4, "error: this machine has not enough memory left for it"),
        (OSError(errno.EIO, "Input/output error", "a.edgetl"), 4, "error: a.edgetl: Input/output error"),
        (OSError(errno.EBADF, "Bad file descriptor"), 1, "Traceback"),
        (RuntimeError("odd"), 1, "Traceback"),
    ],
)
def test_what_goes_wrong_has_a_code_and_a_defect_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int, said: str
) -> None:
    def fail(path: object) -> None:
        raise error

    monkeypatch.setattr("edgetl_device.bundle.Bundle.open", fail)
    assert main(["verify", "a.edgetl"]) == code
    found = capsys.readouterr().err
    assert found.startswith(said)
    # Ask to report a defect, but not something that the machine lacks.
    assert ("This is a defect in edgetl" in found) == (code == 1)


def test_pillow_does_not_warn_between_the_lines(
    device: Callable[..., subprocess.CompletedProcess[str]], tiny_file: Path, tmp_path: Path
) -> None:
    palette = Image.new("P", (40, 40))
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.save(tmp_path / "palette.png", transparency=b"\x00\xff")
    Image.new("RGB", (12_000, 8_000)).save(tmp_path / "large.png")  # beyond Pillow's own limit of pixels
    done = device("classify", tiny_file, tmp_path / "palette.png", tmp_path / "large.png")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.parametrize("form", ["edgetl_device", "edgetl_device --json"])
def test_closed_standard_streams(tiny_file: Path, photo_file: Path, form: str) -> None:
    """As GNU programs do: no file gets their descriptors, and nothing that is asked for is lost without a word."""

    def run(closed: str, *photos: object) -> subprocess.CompletedProcess[str]:
        main = "console" if form == "edgetl_device" else "main"
        script = f"import sys; from edgetl_device.__main__ import {main}; sys.exit({main}())"
        command = [sys.executable, "-c", script, "classify", tiny_file, *photos]
        words = ["sh", "-c", f'exec "$@" {closed}', "sh", *map(str, command)]
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)

    done = run("<&-", photo_file)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "circle" in done.stdout
    done = run("<&-", "-")
    assert done.returncode == 2
    assert "standard input is closed" in done.stdout + done.stderr
    done = run(">&-", photo_file)
    assert done.returncode == 4
    assert done.stderr.startswith("error: standard output is closed")
    done = run("2>&-", photo_file, "missing.jpg")
    assert (done.returncode, done.stderr) == (2, "")
    assert "circle" in done.stdout
    done = run("<&- >&- 2>&-", photo_file)
    assert (done.returncode, done.stdout, done.stderr) == (4, "", "")
    for way in (">&-", "2>&-", "<&- 2>&-"):
        assert "Traceback" not in run(way, "-").stderr
