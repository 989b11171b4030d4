"""``edgetl bench``, ``classify`` and ``verify`` as processes, on the tiny bundle."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgetl_device.bench import result

GOLDEN = Path(__file__).parent.parent.parent / "golden"
TINY = GOLDEN / "tiny.edgetl"
PHOTO = GOLDEN / "photos" / "circle0.jpg"


def edgetl(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgetl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with zipfile.ZipFile(TINY) as archive:
        archive.extractall(tmp_path / "run" / "bundle")
    return tmp_path / "run" / "bundle"


def error(done: subprocess.CompletedProcess[str]) -> str:
    """Return the error message, after checking that it has at most three lines and no traceback."""
    _, found, text = done.stderr.rpartition("error: ")
    assert found, done.stderr
    assert len(text.splitlines()) <= 3
    assert "Traceback" not in done.stderr
    return text


def test_classify(folder: Path) -> None:
    done = edgetl("classify", folder.parent, PHOTO, PHOTO, "--top", 2, "--variant", "float32")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{PHOTO}: circle 0.")
    document = json.loads(edgetl("classify", TINY, PHOTO, "--json").stdout)
    assert document["photos"][0]["predictions"][0]["label"] == "circle"


def test_classify_what_comes(tmp_path: Path) -> None:
    shutil.copy(PHOTO, tmp_path / "photo.jpg")
    (tmp_path / "text.jpg").write_text("no photo")
    watch = ("classify", TINY, "--watch", tmp_path, "--existing", "--frames", 2)
    done = edgetl(*watch, "--threshold", 0.999)
    assert done.returncode == 0, done.stderr
    *lines, total = done.stdout.splitlines()
    assert sorted(line.split(": ")[0] for line in lines) == [str(tmp_path / "photo.jpg"), "not read"]
    assert any("unsure (circle 0." in line for line in lines)
    assert total.startswith("1 photo in ")
    assert total.endswith("unsure 1, not read 1")
    done = edgetl(*watch, "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"label", "error"} == {key for line in found for key in line} & {"label", "error"}
    assert "1 photo in " in done.stderr
    done = edgetl("classify", TINY, PHOTO, "--watch", tmp_path)
    assert done.returncode == 2
    assert "one of these" in error(done)


def test_verify(folder: Path) -> None:
    done = edgetl("verify", TINY)
    assert done.returncode == 0, done.stderr
    *proven, signature = done.stdout.splitlines()
    assert all(line.startswith("ok ") for line in proven)
    assert signature.split() == ["skipped", "signature", "not", "signed"]
    (folder / "evalset" / "03_circle.png").unlink()
    done = edgetl("verify", folder, "--json")
    assert done.returncode == 2
    assert "03_circle.png is missing" in error(done)
    assert json.loads(done.stdout)["ok"] is False


def test_bench_prints_a_table_and_writes_the_result(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    done = edgetl("bench", TINY, "--variants", "float32,int8", "--threads", "1,2", "--duration", 0.05, "--out", out)
    assert done.returncode == 0, done.stderr
    document = result.read(out).to_json()
    assert [(run["variant"], run["threads"]) for run in document["runs"]] == [
        ("float32", 1), ("float32", 2), ("int8", 1), ("int8", 2),
    ]  # fmt: skip
    for word in ("float32", "int8", "model p95", "speed-up", "drop, pp", "95% interval", "agreement", "2 threads"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines()[:24])) <= 80


def test_bench_prints_json_alone_on_stdout() -> None:
    done = edgetl("bench", TINY, "--variants", "int8", "--duration", 0.05, "--json")
    assert json.loads(done.stdout)["schema"] == "edgetl.result/1"


def test_bad_input_is_explained(folder: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.edgetl"
    cut.write_bytes(TINY.read_bytes()[:40_000])
    shutil.copy(__file__, tmp_path / "text.jpg")
    for arguments, said in (
        (("classify", cut, PHOTO), "cut.edgetl"),
        (("classify", TINY, PHOTO, "--variant", "int9"), "it has float32, int8"),
        (("classify", TINY, tmp_path / "text.jpg"), "not an image"),
        (("classify", TINY, tmp_path / "none.jpg"), "none.jpg"),
        (("bench", TINY, "--threads", "0"), "threads"),
        (("bench", TINY, "--variants", ""), "at least one is needed"),
        (("bench", tmp_path), "not a bundle"),
    ):
        done = edgetl(*arguments)
        assert done.returncode == 2, done.stderr
        assert said in error(done)
    (folder / "models" / "int8.tflite").write_bytes(b"edited")
    assert "int8.tflite" in error(edgetl("classify", folder, PHOTO))


def test_a_result_that_cannot_be_written_is_found_out_before_the_bench(tmp_path: Path) -> None:
    done = edgetl("bench", TINY, "--out", tmp_path / "none" / "deep" / "r.json", "--duration", "0.05")
    assert done.returncode == 0
    (tmp_path / "file").write_text("")
    done = edgetl("bench", TINY, "--out", tmp_path / "file" / "r.json", "--duration", "60")
    assert done.returncode == 2
    assert "measuring" not in done.stderr
    assert "file" in error(done)


def test_pack_gives_one_file_with_the_same_bytes_each_time(folder: Path, tmp_path: Path) -> None:
    packed = [tmp_path / "a.edgetl", tmp_path / "b.edgetl"]
    for file in packed:
        done = edgetl("pack", folder.parent, "--out", file)
        assert done.returncode == 0, done.stderr
    assert packed[0].read_bytes() == packed[1].read_bytes()
    assert edgetl("verify", packed[0]).returncode == 0
    done = edgetl("pack", tmp_path / "nothing")
    assert done.returncode == 2
    assert "nothing" in error(done)
