"""Frames and photos as they arrive: from a NumPy source, and with the command as a process."""

from __future__ import annotations

import json
import math
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from branches import UNMEASURED
from PIL import Image

from edgetl_device import Bundle, Classifier
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.live import session
from edgetl_device.live.session import Live
from edgetl_device.stream import FramePrediction, Smoother, Unread, classify_frames, classify_photos

GOLDEN = Path(__file__).parent.parent.parent / "golden"


def pixels(name: str, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    return np.asarray(Image.open(GOLDEN / "photos" / name).convert("RGB").resize(size))


CIRCLE, SQUARE = pixels("circle0.jpg"), pixels("square0.jpg")


class Slides:
    """A source of frames in memory, at a frame rate on its own clock."""

    description = "slides"

    def __init__(self, frames: Sequence[np.ndarray], rate: float = 10.0, interrupt_at: int = -1) -> None:
        self.frames, self.rate, self.interrupt_at = frames, rate, interrupt_at
        self.place, self.asked, self.closed = -1, 0, False

    def grab(self) -> float | None:
        self.place += 1
        if self.place == self.interrupt_at:
            raise KeyboardInterrupt
        return self.place / self.rate if self.place < len(self.frames) else None

    def pixels(self) -> np.ndarray:
        self.asked += 1
        return self.frames[self.place]

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def classifier(tiny: Bundle) -> Iterator[Classifier]:
    with Classifier(tiny) as opened:
        yield opened


def test_frames_get_the_predictions_that_photos_get(classifier: Classifier) -> None:
    predictions = list(classify_frames(classifier, Slides([CIRCLE, SQUARE])))
    assert [answer.name for answer in predictions] == [0, 1]
    assert [answer.time_s for answer in predictions] == [0.0, 0.1]
    for answer, frame in zip(predictions, (CIRCLE, SQUARE), strict=True):
        (expected,) = classifier.classify(frame, top=1)
        assert answer.prediction == answer.smoothed == expected
        assert min(answer.decode_ms, answer.fit_ms, answer.invoke_ms, answer.fps) > 0


def test_smoothing_is_a_low_pass_of_the_stated_time(classifier: Classifier) -> None:
    start, end = np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)
    for steps in (1, 10):  # at any frame rate
        smoother = Smoother(0.5)
        np.testing.assert_array_equal(smoother.update(start, 7.0), start)
        for step in range(1, steps + 1):
            found = smoother.update(end, 7.0 + 0.5 * step / steps)
        np.testing.assert_allclose(found, [math.exp(-1), 1 - math.exp(-1)], rtol=1e-5)
    np.testing.assert_array_equal(Smoother(0.0).update(end, 1.0), end)
    # A single outlier at ten frames per second is smoothed away; its own prediction is still reported.
    frames = [CIRCLE] * 5 + [SQUARE] + [CIRCLE] * 2
    odd = list(classify_frames(classifier, Slides(frames), smooth_s=0.5))[5]
    assert (odd.prediction.label, odd.smoothed.label) == ("square", "circle")


def test_every_skips_frames_without_reading_their_pixels(classifier: Classifier) -> None:
    slides = Slides([CIRCLE] * 31)
    predictions = list(classify_frames(classifier, slides, every_s=0.5))
    assert [answer.name for answer in predictions] == [0, 5, 10, 15, 20, 25, 30]
    assert slides.asked == 7
    # 0.25 s is not a multiple of the frame interval, 0.1 s; the rate is still four per second.
    assert len(list(classify_frames(classifier, Slides([CIRCLE] * 21), every_s=0.25))) == 9


@contextmanager
def no_camera_but(source: Slides, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(session, "open_camera", lambda _which: source)
        yield


def test_the_camera_is_closed_at_the_end_of_everything(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, tiny_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgetl_device.__main__ import main

    slides = Slides([CIRCLE] * 9, interrupt_at=4)
    with no_camera_but(slides, monkeypatch):
        assert main(["classify", str(tiny_file), "--camera", "0"]) == 130
    assert slides.closed
    out, err = capsys.readouterr()
    assert [json.loads(line)["frame"] for line in out.splitlines()] == [0, 1, 2, 3]
    assert "4 frames in" in err
    slides = Slides([CIRCLE] * 9)
    with no_camera_but(slides, monkeypatch):
        assert main(["classify", str(tiny_file), "--camera", "0", "--frames", "3"]) == 0
    assert slides.closed
    assert (slides.place, len(capsys.readouterr().out.splitlines())) == (2, 3)


def test_lines_for_people_and_for_programs(classifier: Classifier) -> None:
    asked = Live(camera="0", threshold=0.99)
    (answer,) = classify_frames(classifier, Slides([CIRCLE]))
    assert session.as_text(answer, asked).split(" fps")[0].startswith("    0.00 s  unsure (circle 0.")
    document = json.loads(session.as_json(answer, asked))
    assert document["sure"] is False
    assert document["label"] == document["smoothed"]["label"] == "circle"
    assert set(document) == {
        "schema", "frame", "time_s", "label", "probability", "smoothed", "sure", "decode_ms", "fit_ms", "invoke_ms",
        "fps",
    }  # fmt: skip
    tally = session.Tally(asked)
    assert tally.add(answer) == "unsure"
    assert "1 frame in" in tally.text()
    assert "unsure 1" in tally.text()


def test_photos_that_cannot_be_read_are_told_and_passed_over(classifier: Classifier, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    photo = GOLDEN / "photos" / "circle0.jpg"
    told = list(classify_photos(classifier, [photo, text, tmp_path / "gone.jpg", tmp_path, photo]))
    assert [type(line) for line in told] == [FramePrediction, Unread, Unread, Unread, FramePrediction]
    assert isinstance(told[0], FramePrediction)
    assert told[0].prediction == classifier.classify(photo, top=1)[0]
    asked = Live(watch=".")
    error = json.loads(session.as_json(told[1], asked))
    assert error["photo"] == str(text)
    assert "not an image" in error["error"]
    assert f"not read: {tmp_path}/gone.jpg: no such file" in session.as_text(told[2], asked)


class Flaky(Slides):
    """Frames of which some cannot be grabbed and others cannot be decoded."""

    def __init__(self, frames: Sequence[np.ndarray], silent: dict[int, int], broken: Sequence[int] = ()) -> None:
        super().__init__(frames)
        self.silent, self.broken = silent, broken

    def grab(self) -> float | None:
        if self.silent.get(self.place + 1, 0):
            self.silent[self.place + 1] -= 1
            raise Unavailable("camera 0 gives no frames")
        return super().grab()

    def pixels(self) -> np.ndarray:
        if self.place in self.broken:
            raise InputError("camera 0: a frame cannot be decoded")
        return super().pixels()


def test_a_frame_that_fails_is_skipped_and_counted(classifier: Classifier) -> None:
    slept: list[float] = []
    source = Flaky([CIRCLE] * 5, silent={2: 3, 4: 1}, broken=[1])
    lines = list(classify_frames(classifier, source, sleep=slept.append))
    assert [type(line) for line in lines] == [
        FramePrediction,
        Unread,
        *[Unread] * 3,
        FramePrediction,
        FramePrediction,
        Unread,
        FramePrediction,
    ]
    assert [line.name for line in lines if isinstance(line, FramePrediction)] == [0, 2, 3, 4]
    assert len(slept) == 4
    asked = Live(camera="0")
    tally = session.Tally(asked)
    for line in lines:
        tally.add(line)
    assert "not read 5" in tally.text()
    assert json.loads(session.as_json(lines[1], asked)) == {
        "schema": "edgetl.live-prediction/1",
        "frame": 1,
        "error": "camera 0: a frame cannot be decoded",
    }


def test_a_camera_that_stays_silent_is_an_error(classifier: Classifier) -> None:
    slept: list[float] = []
    lines = classify_frames(classifier, Flaky([CIRCLE] * 5, silent={1: 99}), retry_s=5.0, sleep=slept.append)
    with pytest.raises(Unavailable, match="no frames"):
        for _ in lines:
            pass
    assert sum(slept) == 5.0


class Clock:
    """Seconds that pass when somebody waits."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


class Blocking(Flaky):
    """A driver that waits two seconds before it says that there is no frame."""

    def __init__(self, clock: Clock, silent: dict[int, int]) -> None:
        super().__init__([CIRCLE] * 5, silent)
        self.clock, self.asked_for = clock, 0

    def grab(self) -> float | None:
        self.asked_for += 1
        if self.silent.get(self.place + 1, 0):
            self.clock.sleep(2.0)
        return super().grab()


def test_time_that_the_driver_blocks_counts(classifier: Classifier) -> None:
    clock = Clock()
    source = Blocking(clock, silent={1: 99})
    with pytest.raises(Unavailable, match="no frames"):
        list(classify_frames(classifier, source, retry_s=5.0, sleep=clock.sleep, clock=clock))
    # The first frame, and three attempts: 2 s each and two pauses. Not ten, which would be 25 s.
    assert source.asked_for == 4
    assert 5.0 <= clock.now_s - 100 <= 7.5
    # Once, it is skipped.
    clock = Clock()
    lines = list(classify_frames(classifier, Blocking(clock, silent={1: 1}), sleep=clock.sleep, clock=clock))
    assert [type(line) for line in lines] == [FramePrediction, Unread, *[FramePrediction] * 4]


class Hiccups(Slides):
    """A camera that gives a frame a second on a clock, and now and then none."""

    def __init__(self, clock: Clock, silent: set[int]) -> None:
        super().__init__([CIRCLE] * 60, rate=1.0)
        self.clock, self.silent = clock, silent

    def grab(self) -> float | None:
        self.clock.sleep(1.0)
        if self.place + 1 in self.silent:
            self.silent.remove(self.place + 1)
            raise Unavailable("camera 0 gives no frames")
        return super().grab()


def test_frames_that_are_skipped_show_that_a_camera_works(classifier: Classifier) -> None:
    """Single failures that are far apart are no outage, although no frame is read between them."""
    clock = Clock()
    source = Hiccups(clock, silent={21, 27, 33, 39})
    lines = list(classify_frames(classifier, source, every_s=20.0, retry_s=5.0, sleep=clock.sleep, clock=clock))
    assert [line.name for line in lines if isinstance(line, FramePrediction)] == [0, 20, 40]
    assert sum(isinstance(line, Unread) for line in lines) == 4


class Undecodable(Slides):
    """A camera whose library decodes each frame as it is grabbed, and cannot."""

    def grab(self) -> float | None:
        self.place += 1
        if self.place in (1, 3) or self.place > 5:
            raise InputError("a frame cannot be decoded")
        return self.place / self.rate


def test_a_camera_whose_grabs_cannot_be_decoded_is_retried_with_pauses(classifier: Classifier) -> None:
    clock = Clock()
    lines = []
    stream = classify_frames(classifier, Undecodable([CIRCLE] * 9), sleep=clock.sleep, clock=clock)
    with pytest.raises(Unavailable, match="slides: no frame can be read"):
        lines.extend(islice(stream, 100))
    assert [isinstance(line, Unread) for line in lines[:6]] == [False, True, False, True, False, False]
    assert 5.0 <= sum(clock.slept) < 6.0


@pytest.mark.parametrize("every_s", [0.0, 60.0])
def test_a_camera_whose_frames_cannot_be_decoded_is_one_error(
    tiny_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], every_s: float
) -> None:
    from edgetl_device.__main__ import main

    clock = Clock()
    source = Flaky([CIRCLE] * 100_000, silent={}, broken=range(3, 100_000))
    real = session.classify_frames
    monkeypatch.setattr(
        session, "classify_frames", lambda *given, **named: real(*given, **named, sleep=clock.sleep, clock=clock)
    )
    with no_camera_but(source, monkeypatch):
        assert main(["classify", str(tiny_file), "--camera", "0", "--every", str(every_s)]) == 4
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) < 20
    assert "error" in lines[-1]
    assert err.count("error: ") == 1
    assert "slides: no frame can be read" in err
    assert "a frame cannot be decoded" in err
    assert source.closed
    assert 5.0 <= clock.now_s - 100 < 6.0


def test_a_file_is_read_to_its_end_whatever_its_frames(classifier: Classifier) -> None:
    clock = Clock()
    source = Flaky([CIRCLE] * 200, silent={}, broken=range(1, 199))
    source.live = False
    lines = list(classify_frames(classifier, source, sleep=clock.sleep, clock=clock))
    assert [type(line) for line in lines] == [FramePrediction, *[Unread] * 198, FramePrediction]
    assert clock.slept == []


def test_no_photo_ends_a_watch(tiny_file: Path, tmp_path: Path) -> None:
    """Within the 800 MB of the documented service: bombs, pipes, loops, devices, odd names, and then a photo."""
    inbox = tmp_path / "in"
    inbox.mkdir()
    Image.new("P", (1, 1)).save(inbox / "b.png")
    row = b"\0" * (1 + 13_377)
    packed = zlib.compress(row * 13_377, 1)
    head = struct.pack(">2I5B", 13_377, 13_377, 8, 3, 0, 0, 0)
    (inbox / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in (
                (b"IHDR", head),
                (b"PLTE", bytes(6)),
                (b"tRNS", b"\0\x80"),
                (b"IDAT", packed),
                (b"IEND", b""),
            )
        )
    )
    with open(inbox / "sparse.jpg", "wb") as stream:
        stream.truncate(200 << 30)
    os.mkfifo(inbox / "pipe.jpg")
    (inbox / "loop.jpg").symlink_to("loop.jpg")
    (inbox / "zero.jpg").symlink_to("/dev/zero")
    photo = (GOLDEN / "photos" / "circle0.jpg").read_bytes()
    (inbox / os.fsdecode(b"caf\xe9.jpg")).write_bytes(photo)
    (inbox / "esc\x1b[2J.jpg").write_bytes(photo)
    (inbox / "good.jpg").write_bytes(photo)
    command = [sys.executable, "-m", "edgetl_device", "classify", str(tiny_file), "--watch", str(inbox), "--existing"]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -v 800000; exec "$@"', "bash", *command, "--frames", "6"],
        env=os.environ | UNMEASURED,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"\x1b" not in done.stdout + done.stderr
    told = {Path(line["photo"]).name: line for line in map(json.loads, done.stdout.decode().splitlines())}
    assert set(told) == {"b.png", "bomb.png", "sparse.jpg", "caf\udce9.jpg", "esc\x1b[2J.jpg", "good.jpg"}
    assert "too large to decode" in told["bomb.png"]["error"]
    assert "too large to decode" in told["sparse.jpg"]["error"]
    assert {told[name]["label"] for name in ("good.jpg", "caf\udce9.jpg", "esc\x1b[2J.jpg")} == {"circle"}


def test_a_watched_folder_until_ctrl_c(tiny_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgetl_device", "classify", str(tiny_file), "--watch", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        while "photos that appear in" not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(0.3)  # until it has polled once
        (tmp_path / "photo.jpg").write_bytes((GOLDEN / "photos" / "circle0.jpg").read_bytes())
        (tmp_path / "text.jpg").write_text("no photo")
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert "1 photo in" in err
    assert "not read 1" in err
    told = {Path(line["photo"]).name: line for line in lines}
    assert told["photo.jpg"]["label"] == "circle"
    assert "error" in told["text.jpg"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to classify"),
        (("--camera", "0", "--video", "a.mp4"), "there must be exactly one source"),
        (("photo.jpg", "--camera", "0"), "one of these"),
        (("--watch", ".", "--every", "1"), "--every"),
        (("--camera", "0", "--existing"), "--existing"),
        (("--camera", "0", "--smooth", "-1"), "--smooth"),
        (("--camera", "0", "--smooth", "nan"), "--smooth"),
        (("--camera", "0", "--frames", "0"), "--frames"),
        (("--camera", "0", "--threshold", "1.5"), "--threshold"),
        (("--camera", "0", "--top", "3"), "--top"),
        (("--camera", "front"), "front"),
        (("photo.jpg", "--threshold", "0.5"), "--threshold without"),
        (("--watch", "nowhere"), "no such folder"),
    ],
)
def test_requests_that_make_no_sense(
    arguments: tuple[str, ...], said: str, tiny_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgetl_device.__main__ import main

    assert main(["classify", str(tiny_file), *arguments]) == 2
    assert said in capsys.readouterr().err
