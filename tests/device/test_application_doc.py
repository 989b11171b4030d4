"""The code in docs/guides/application.md runs as printed."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parent.parent.parent / "docs" / "guides" / "application.md"
GOLDEN = Path(__file__).parent.parent / "golden"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")


def block(language: str, holding: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```\n", PAGE.read_text(), re.DOTALL)
    (only,) = [one for one in found if holding in one]
    return only


@pytest.fixture
def place(tmp_path: Path) -> Path:
    shutil.copy(GOLDEN / "tiny.edgetl", tmp_path / "parts.edgetl")
    shutil.copy(GOLDEN / "photos" / "circle0.jpg", tmp_path / "photo.jpg")
    (tmp_path / "notes.txt").write_text("no photo")
    return tmp_path


def run(code: str, place: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_library_example(place: Path) -> None:
    first, photo, notes = run(block("python", "best, second"), place)
    assert first == "classes: circle, square, triangle"
    assert photo.startswith("photo.jpg: circle 0.9")
    assert notes.startswith("notes.txt: not classified: notes.txt: is not an image")


@pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed here")
def test_the_camera_example_on_a_video(place: Path) -> None:
    import cv2

    writer = cv2.VideoWriter(str(place / "two.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (96, 64))
    for name in ("circle0.jpg", "square0.jpg"):
        frame = np.asarray(Image.open(GOLDEN / "photos" / name).convert("RGB").resize((96, 64)))
        for _ in range(15):
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    code = block("python", "closing(open_camera").replace("open_camera", "open_video").replace('"0"', '"two.avi"')
    description, *changes = run(code, place)
    assert description.startswith("two.avi with OpenCV")
    assert [re.sub(r"^[\d.]+ s: ", "", line) for line in changes] == ["circle", "square"]


@pytest.fixture
def service(place: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    (place / "service.py").write_text(block("python", "ThreadingHTTPServer"))
    command = [sys.executable, "service.py", "parts.edgetl", "0"]
    process = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        while not (found := re.search(r"listening on port (\d+)", process.stderr.readline())):
            assert process.poll() is None
        yield f"http://127.0.0.1:{found[1]}", process
    finally:
        process.kill()
        process.wait()


def ask(url: str, data: bytes | None = None) -> tuple[int, dict]:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, data, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_service(service: tuple[str, subprocess.Popen[str]], place: Path) -> None:
    url, process = service
    status, document = ask(f"{url}/classify", (place / "photo.jpg").read_bytes())
    assert status == 200
    assert document["predictions"][0]["label"] == "circle"
    # The output that the page shows.
    shown = re.search(r'^\{"unknown".*$', PAGE.read_text(), re.MULTILINE)
    assert shown is not None
    assert document["unknown"] is json.loads(shown[0])["unknown"] is None
    assert [row["label"] for row in json.loads(shown[0])["predictions"]] == [
        row["label"] for row in document["predictions"]
    ]
    assert ask(f"{url}/classify", b"no photo")[0] == 400
    assert ask(f"{url}/elsewhere", b"")[0] == ask(f"{url}/elsewhere")[0] == 404
    status, document = ask(f"{url}/health")
    assert (status, document["variant"]) == (200, "int8")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


@pytest.mark.needs_program("systemd-analyze")
@pytest.mark.parametrize("name", ["classify", "classify-inbox"])
def test_the_units_pass_systemds_own_check(name: str, tmp_path: Path) -> None:
    text = block("ini", "service.py" if name == "classify" else "--watch")
    unit = tmp_path / f"{name}.service"
    # The interpreter named in it must exist.
    unit.write_text(text.replace("/opt/classify/venv/bin/python", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    told = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, told) == (0, []), done.stderr
