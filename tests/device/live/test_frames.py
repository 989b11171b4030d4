"""Videos and cameras: real videos if OpenCV is installed, a stand-in for picamera2, and neither library."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetl_device import Bundle, Classifier
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.frames import open_camera, open_video
from edgetl_device.stream import Unread, classify_frames

GOLDEN = Path(__file__).parent.parent.parent / "golden"
Device = Callable[..., subprocess.CompletedProcess[str]]
Refuses = Callable[..., None]

needs_opencv = pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed here")


def pixels(name: str) -> np.ndarray:
    return np.asarray(Image.open(GOLDEN / "photos" / name).convert("RGB").resize((96, 64)))


CIRCLE, SQUARE = pixels("circle0.jpg"), pixels("square0.jpg")


@pytest.fixture(scope="module")
def classifier(tiny: Bundle) -> Iterator[Classifier]:
    with Classifier(tiny) as opened:
        yield opened


def write_video(path: Path, frames: Sequence[np.ndarray], codec: str = "MJPG") -> Path:
    import cv2

    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10.0, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@needs_opencv
@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.mp4", "mp4v")])
def test_red_stays_red_and_blue_stays_blue(name: str, codec: str, tmp_path: Path) -> None:
    colours = [(230, 20, 20), (20, 20, 230)]
    path = write_video(tmp_path / name, [np.full((64, 96, 3), colour, np.uint8) for colour in colours], codec)
    source = open_video(str(path))
    assert all(part in source.description for part in (name, "OpenCV", "96 x 64"))
    for number, colour in enumerate(colours):
        assert source.grab() == pytest.approx(number / 10)
        frame = source.pixels()
        assert (frame.shape, frame.dtype, frame.flags.c_contiguous) == ((64, 96, 3), np.uint8, True)
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), colour, atol=15)
    assert source.grab() is None
    source.close()
    source.close()


@needs_opencv
def test_a_video_from_the_command_line(device: Device, tiny_file: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "two.avi", [CIRCLE] * 10 + [SQUARE] * 10)
    done = device("classify", tiny_file, "--video", path, "--every", "0.2", "--smooth", "0")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == list(range(0, 20, 2))
    assert [line["label"] for line in lines] == ["circle"] * 5 + ["square"] * 5
    assert all(line["smoothed"]["probability"] == line["probability"] for line in lines)
    assert "two.avi with OpenCV" in done.stderr
    assert "10 frames in" in done.stderr
    assert "circle 5, square 5" in done.stderr


@needs_opencv
def test_a_camera_that_falls_silent_is_an_error(tmp_path: Path, classifier: Classifier) -> None:
    # OpenCV opens a file in place of a device: the camera code sees real frames, then an unplugged camera.
    source = open_camera(str(write_video(tmp_path / "a.avi", [CIRCLE] * 4)))
    found = classify_frames(classifier, source, smooth_s=0.3)
    assert [next(found).prediction.label for _ in range(4)] == ["circle"] * 4
    unread = []
    with pytest.raises(Unavailable, match="gives no frames"):
        unread += found
    assert all(isinstance(line, Unread) for line in unread)
    source.close()


@needs_opencv
def test_no_camera_and_no_video(device: Device, refuses: Refuses, tiny_file: Path, tmp_path: Path) -> None:
    refuses(device("classify", tiny_file, "--camera", "63"), 4, "camera 63", "/dev/video")
    (tmp_path / "text.mp4").write_text("no video")
    for path, said in ((tmp_path / "text.mp4", "cannot read it as a video"), (tmp_path / "none.mp4", "no such file")):
        with pytest.raises(InputError, match=said):
            open_video(str(path))


def damaged(path: Path, frames: Sequence[int], *, cut: bool = False) -> Path:
    """Overwrite some frames of an AVI with zeros, or truncate the file in the first of them; keep its index."""
    data = path.read_bytes()
    # Each frame is a chunk "00dc" in the list "movi".
    pattern = re.compile(rb"00dc(.{4})", re.DOTALL)
    chunks = list(pattern.finditer(data, data.index(b"movi"), data.rindex(b"idx1")))
    for chunk in (chunks[number] for number in frames):
        end = chunk.end() + int.from_bytes(chunk[1], "little")
        data = data[: chunk.end()] if cut else data[: chunk.end()] + bytes(end - chunk.end()) + data[end:]
    path.write_bytes(data)
    return path


@needs_opencv
def test_a_video_of_damaged_frames_has_none(device: Device, refuses: Refuses, tiny_file: Path, tmp_path: Path) -> None:
    path = damaged(write_video(tmp_path / "a.avi", [CIRCLE] * 3), range(3))
    source = open_video(str(path))
    with pytest.raises(InputError, match="no frame can be decoded"):
        source.grab()
    assert source.grab() is None
    source.close()
    refuses(device("classify", tiny_file, "--video", path), 2, "1 of 1 frames", "no frame can be decoded")


@needs_opencv
@pytest.mark.parametrize(
    ("numbers", "cut", "lost"), [([4], False, [4]), ([0, 5, 6, 9], False, [0, 5, 6, 9]), ([6], True, [6, 7, 8, 9])]
)
def test_a_video_goes_on_after_a_damaged_frame(
    device: Device, tiny_file: Path, tmp_path: Path, numbers: list[int], cut: bool, lost: list[int]
) -> None:
    """OpenCV reports "no frame" both for a damaged frame and at the end."""
    path = damaged(write_video(tmp_path / "a.avi", [CIRCLE] * 10), numbers, cut=cut)
    done = device("classify", tiny_file, "--video", path)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == list(range(10))
    assert [line["frame"] for line in lines if "error" in line] == lost
    assert done.returncode == 2
    assert f"{len(lost)} of 10 frames could not be read" in done.stderr
    assert f"not read {len(lost)}" in done.stderr


@needs_opencv
def test_a_video_that_ends_before_its_time(tmp_path: Path, classifier: Classifier) -> None:
    """The frame count of an MP4 is not always exact: only a large shortfall is an error."""
    frames = [np.roll(CIRCLE, 3 * shift, axis=1) for shift in range(30)]
    data = bytearray(write_video(tmp_path / "a.mp4", frames, "mp4v").read_bytes())
    start = data.index(b"mdat") + 4
    length = int.from_bytes(data[start - 8 : start - 4], "big") - 8
    for share, said in ((0.99, ""), (0.5, "ends after")):
        from_here = start + int(share * length)
        (tmp_path / "b.mp4").write_bytes(data[:from_here] + bytes(start + length - from_here) + data[start + length :])
        source = open_video(str(tmp_path / "b.mp4"))
        *read, last = classify_frames(classifier, source)
        source.close()
        assert not any(isinstance(line, Unread) for line in read)
        if said:
            assert isinstance(last, Unread)
            assert said in last.error.what
        else:
            assert len(read) > 25


def test_names_of_cameras() -> None:
    for name in ("", "front", "-1", "gstreamer:0", "picamera2:/dev/video0", "²"):
        with pytest.raises(InputError, match="expected a number or the path of a device"):
            open_camera(name)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('libGL.so.1: cannot open shared object file')", "cv2 is installed but cannot be loaded"),
        ("import a_package_that_nobody_has", "cv2 cannot be loaded"),
    ],
)
def test_an_opencv_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    (tmp_path / "cv2.py").write_text(code)
    (tmp_path / "a.mp4").write_bytes(b"anything")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    with pytest.raises(Unavailable, match=said) as caught:
        open_video(str(tmp_path / "a.mp4"))
    assert "opencv-python-headless" in caught.value.hint


def test_a_camera_module_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """According to its source, picamera2 raises RuntimeError if libcamera refuses."""
    (tmp_path / "picamera2.py").write_text(
        textwrap.dedent("""
        busy = True
        class Picamera2:
            def __init__(self, number):
                if busy: raise RuntimeError("Camera __init__ sequence did not complete.")
            @staticmethod
            def global_camera_info(): return [{"Num": 0}]
            def create_video_configuration(self, main): return main
            def configure(self, main): pass
            def start(self): pass
            def capture_request(self): raise RuntimeError("stopped")
            def close(self): pass
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    with pytest.raises(Unavailable, match=r"camera 0 cannot be started with picamera2\nCamera __init__ sequence"):
        open_camera("picamera2:0")
    sys.modules["picamera2"].busy = False  # type: ignore[attr-defined]
    source = open_camera("picamera2:0")
    with pytest.raises(Unavailable, match="camera 0 gives no frames"):
        source.grab()
    source.close()
    del sys.modules["picamera2"]


def test_without_opencv_the_install_command_is_named(tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"anything")
    code = textwrap.dedent("""
        import sys
        sys.modules["cv2"] = sys.modules["picamera2"] = None
        from edgetl_device.__main__ import main
        sys.exit(main(sys.argv[1:]))
    """)
    for source in (("--video", str(tmp_path / "a.mp4")), ("--camera", "opencv:0"), ("--camera", "picamera2:0")):
        command = [sys.executable, "-c", code, "classify", str(tiny_file), *source]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 4, done.stderr
        assert "not installed here" in done.stderr
        assert ("pip install opencv" in done.stderr) != ("apt install python3-picamera2" in done.stderr)


def test_picamera2_is_asked_for_rgb_and_gets_its_buffers_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classifier: Classifier
) -> None:
    """A stand-in with the calls from picamera2's manual: it tests that they are consistent, not that a board agrees."""
    (tmp_path / "picamera2.py").write_text(
        textwrap.dedent("""
        import numpy as np
        held = []
        class Request:
            def make_array(self, stream):
                assert stream == "main" and self in held
                return np.full((480, 640, 3), (230, 20, 20), np.uint8)
            def release(self):
                held.remove(self)
        class Picamera2:
            closed = False
            def __init__(self, number): pass
            @staticmethod
            def global_camera_info(): return [{"Num": 0}]
            def create_video_configuration(self, main): return main
            def configure(self, main): assert main["format"] == "BGR888"
            def start(self): pass
            def capture_request(self):
                assert len(held) == 0
                held.append(Request())
                return held[-1]
            def close(self): Picamera2.closed = True
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    with pytest.raises(Unavailable, match="no camera 1"):
        open_camera("picamera2:1")
    source = open_camera("0")
    assert "picamera2" in source.description
    predictions = classify_frames(classifier, source)
    assert [next(predictions).name for _ in range(3)] == [0, 1, 2]
    source.close()
    module = sys.modules.pop("picamera2")
    assert module.Picamera2.closed
    assert not module.held
