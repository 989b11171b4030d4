"""Nothing leaves the machine unasked: no connection, no name lookup, no file in the user's home except the cache.

Most commands run in one process, which imports TensorFlow once, and then waits: telemetry is sent after a while, from
its own threads.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from network_watch import build, watched

pytestmark = pytest.mark.no_cover

# The cache of pixels and features, and the record of models that passed a trial run.
CACHES = (".cache/edgetl/cache/", ".cache/edgetl/models/")
SCRIPT = """
import sys, time
from edgetl.cli import main

commands = [
    "data check photos",
    "train photos --out run --size 48 --views 1 --epochs 1 --batch-size 8 --truncate 6 --trainable-blocks 1",
    "quantize run --calibration 12 --int8 --no-repair",
    "evaluate run photos --variant int8-onnx",
    "verify run/bundle",
    "bench run/bundle --variants float32-onnx,int8-onnx,int8 --quick --duration 0.2 --out result.json",
    "classify run/bundle --variant int8-onnx photos/bolt/000.jpg",
    "export run",
    "inspect run/bundle",
    "report run",
    "report result.json",
    "compare result.json result.json",
    "advise photos --size 48 --plot advice.png",
    "models",
    "pack run",
    "doctor",
]
failed = []
for command in commands:
    sys.argv = ["edgetl", *command.split()]
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            failed.append(f"{command}: {stop.code}")
from keras.src.backend.config import keras_home
print("Keras downloads to", keras_home())
time.sleep(2)
sys.exit("; ".join(failed) or 0)
"""
# ONNX Runtime loaded by a program without edgetl, and by edgetl_device.
ALONE = """
import onnxruntime, time
from pathlib import Path
# From a thread of its own, when it gets to it.
for _ in range(200):
    if any(path.is_file() for path in Path.home().rglob("*")):
        break
    time.sleep(0.1)
"""
DEVICE = "from edgetl_device.runtime import load_library; import time; load_library('onnx'); time.sleep(3)"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("watch"))


def test_no_command_talks_or_leaves_anything(tiny_photos: Path, library: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").symlink_to(tiny_photos)
    done = watched([sys.executable, "-c", SCRIPT], library, tmp_path)
    assert done.code == 0, done.said
    assert done.network == []
    # The folder where a user's program expects Keras' downloads, although Keras created nothing there.
    assert f"Keras downloads to {tmp_path / 'home' / '.keras'}" in done.said
    assert [file for file in done.home if not file.startswith(CACHES)] == []
    assert any(file.endswith("pixels.npy") for file in done.home)


def test_the_watch_sees_what_it_must(library: Path, tmp_path: Path) -> None:
    script = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.sendto(b"x", ("127.0.0.1", 9))
    one.connect(("127.0.0.1", 9))
socket.getaddrinfo("localhost", 80)
"""
    seen = watched([sys.executable, "-c", script], library, tmp_path).network
    assert seen == ["sendto IPv4", "connect IPv4", "getaddrinfo localhost"]


def test_the_device_package_keeps_onnx_runtime_from_leaving_an_id(library: Path, tmp_path: Path) -> None:
    assert watched([sys.executable, "-c", DEVICE], library, tmp_path).home == []


def test_onnx_runtime_alone_leaves_one(library: Path, tmp_path: Path) -> None:
    import onnxruntime

    # Otherwise the test above would prove nothing.
    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 32):
        assert watched([sys.executable, "-c", ALONE], library, tmp_path).home
