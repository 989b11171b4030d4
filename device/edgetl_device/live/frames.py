"""Read frames from a video file or a camera, one at a time, as uint8 RGB.

OpenCV or picamera2 is imported when a source is opened.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from edgetl_device.errors import InputError, Unavailable
from edgetl_device.preprocess import Pixels

OPENCV, PICAMERA2 = "opencv", "picamera2"
# The size requested from picamera2; OpenCV uses the driver's default, usually the same.
_WIDTH, _HEIGHT = 640, 480
_SILENT = 0  # OpenCV's LOG_LEVEL_SILENT
# Larger frame counts from OpenCV are garbage.
_MOST_FRAMES = 1e9
# Give up on a video after this many damaged frames in a row.
_MOST_LOST = 10_000
# Where a video's length is an estimate, it counts as truncated if more than these frames and this share are missing.
_END_FRAMES, _END_SHARE = 2, 0.9
_GET_OPENCV = "Install it: pip install opencv-python-headless"
_GET_PICAMERA2 = "On Raspberry Pi OS: sudo apt install python3-picamera2, in a venv made with --system-site-packages."


class FrameSource(Protocol):
    """A source of frames. Not thread-safe.

    A file says ``live = False``: however many of its frames cannot be decoded, the rest is read. Any other source is
    given up after some seconds without a frame.

    Attributes:
        description: The source and the library that reads it, for display.
    """

    description: str

    def grab(self) -> float | None:
        """Advance to the next frame and return its time in seconds since the first one; None at the end.

        A camera waits for the frame. Skipping a frame, without calling :meth:`pixels`, costs little.

        Raises:
            InputError: This frame cannot be decoded; the next call continues after it.
            Unavailable: The camera delivers no frame; the next call tries again.
        """

    def pixels(self) -> Pixels:
        """Return the last grabbed frame: uint8 RGB 0..255, [height, width, 3], owned by the caller."""

    def close(self) -> None:
        """Release the device or the file. Calling it again does nothing."""


def open_video(path: str) -> FrameSource:
    """Open a video file with OpenCV.

    Raises:
        InputError: There is no such file, or OpenCV finds no video in it.
        Unavailable: OpenCV is not installed.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file", hint="Check the path; for a camera use --camera.")
    cv2 = _opencv("a video needs OpenCV")
    capture = cv2.VideoCapture(path)
    rate = capture.get(cv2.CAP_PROP_FPS)
    if not capture.isOpened():
        raise InputError(
            f"{path}: OpenCV {cv2.__version__} cannot read it as a video",
            why="it is damaged, not a video, or uses a codec that this OpenCV lacks",
            hint="Convert it to MP4 (H.264) or AVI (Motion JPEG).",
        )
    return _VideoFile(cv2, capture, path, rate if 0 < rate < 1000 else 0.0)


def open_camera(which: str) -> FrameSource:
    """Open a camera.

    Args:
        which: A number, or the path of a device such as ``/dev/video2`` (OpenCV only). picamera2 is used if installed,
            else OpenCV; ``picamera2:0`` and ``opencv:0`` select the library.

    Raises:
        InputError: ``which`` is neither.
        Unavailable: Neither library is installed, there is no such camera, or another program uses it.
    """
    library, _, name = which.rpartition(":")
    is_number = name.isascii() and name.isdigit()
    if library not in ("", OPENCV, PICAMERA2) or not (is_number or (name.startswith("/") and library != PICAMERA2)):
        raise InputError(
            f"camera {which!r}",
            why="expected a number or the path of a device",
            hint="Examples: 0, opencv:0, /dev/video2.",
        )
    if not library:
        library = PICAMERA2 if is_number and _installed(PICAMERA2) else OPENCV
    if library == PICAMERA2:
        return _PiCamera(int(name))
    cv2 = _opencv("a camera needs OpenCV or picamera2")
    capture = cv2.VideoCapture(int(name) if is_number else name)
    if not capture.isOpened():
        raise Unavailable(
            f"camera {name} cannot be opened with OpenCV {cv2.__version__}",
            why="there is no such camera, another program uses it, or this user may not use it (group video)",
            hint="List devices with ls /dev/video*. Raspberry Pi camera modules need picamera2.",
        )
    # Prefer fresh frames to buffered ones; not every driver supports this.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return _OpenCVCamera(cv2, capture, name)


class _OpenCV:
    """Base of the OpenCV sources. OpenCV delivers BGR; this converts it to RGB."""

    def __init__(self, cv2: ModuleType, capture: Any, name: str) -> None:
        self._cv2, self._capture, self._name = cv2, capture, name
        width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self.description = f"{name} with OpenCV {cv2.__version__} ({capture.getBackendName()}), {width} x {height}"

    def pixels(self) -> Pixels:
        given, frame = self._capture.retrieve()
        if not given:
            raise InputError(f"{self._name}: a frame cannot be decoded")
        try:
            pixels: Pixels = self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB)
        except self._cv2.error as error:
            raise InputError(f"{self._name}: a frame is not a colour image", why=str(error)) from None
        return pixels

    def close(self) -> None:
        self._capture.release()


class _VideoFile(_OpenCV):
    """A video, read as fast as the caller asks. Times come from the file, not from the wall clock."""

    live = False

    def __init__(self, cv2: ModuleType, capture: Any, path: str, rate: float) -> None:
        super().__init__(cv2, capture, path)
        self._rate, self._count = rate, 0
        self._start_s = self._time_s = 0.0
        # From the header; 0 if unknown. Exact in AVI; elsewhere computed from a duration, or changed by an edit list.
        promised = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._promised = int(promised) if 0 < promised < _MOST_FRAMES else 0
        self._is_exact = Path(path).suffix.lower() == ".avi"
        # The number of undecodable frames still to be raised, and the time of the frame after them.
        self._lost = 0
        self._after_lost_s: float | None = None
        self._ended = False
        self.description += f", {rate:g} fps" if rate else ""

    def grab(self) -> float | None:
        if self._lost == 0:
            if self._after_lost_s is not None:
                time_s, self._after_lost_s = self._after_lost_s, None
                return time_s
            if self._ended:
                return None
            if self._capture.grab():
                return self._moved_on()
            self._look_beyond()
            if self._lost == 0:
                return None
        self._lost -= 1
        raise InputError(f"{self._name}: a frame cannot be decoded")

    def _moved_on(self) -> float:
        stamp_s = self._capture.get(self._cv2.CAP_PROP_POS_MSEC) / 1000
        if self._count == 0:
            self._start_s = stamp_s if math.isfinite(stamp_s) else 0.0
        elif stamp_s - self._start_s > self._time_s:
            self._time_s = stamp_s - self._start_s
        else:
            # Some containers have no timestamps; use the frame rate in the file.
            self._time_s += 1 / self._rate if self._rate else 0.0
        self._count += 1
        return self._time_s

    def _look_beyond(self) -> None:
        """Find out whether OpenCV's "no frame" means damaged frames, which it does not skip itself, or the end."""
        remaining = max(self._promised - self._count, 0)
        for lost in range(1, (min(remaining, _MOST_LOST) or _MOST_LOST) + 1):
            if self._capture.grab():
                self._lost = lost
                self._count += lost
                self._after_lost_s = self._moved_on()
                return
        self._ended = True
        if self._count == 0:
            raise InputError(f"{self._name}: no frame can be decoded", hint="The file is damaged; copy it again.")
        self._lost = remaining if self._is_exact else 0
        if not self._is_exact and self._promised and self._rate:
            promised_s = self._promised / self._rate
            if self._time_s + _END_FRAMES / self._rate < _END_SHARE * promised_s:
                raise InputError(
                    f"{self._name}: ends after {self._time_s:.1f} of {promised_s:.1f} s",
                    why="it is truncated or damaged",
                    hint="Copy it again.",
                )


class _OpenCVCamera(_OpenCV):
    def __init__(self, cv2: ModuleType, capture: Any, name: str) -> None:
        super().__init__(cv2, capture, f"camera {name}")
        self._clock = _Clock()

    def grab(self) -> float | None:
        if not self._capture.grab():
            raise _silent(self._name)
        return self._clock.elapsed_s()


class _PiCamera:
    """A libcamera camera through picamera2. Written from picamera2's manual; not yet run on a board."""

    def __init__(self, number: int) -> None:
        module = _load(PICAMERA2, f"camera {number} cannot be opened with picamera2", _GET_PICAMERA2)
        self._name = f"camera {number}"
        found = len(module.Picamera2.global_camera_info())
        if number >= found:
            raise Unavailable(f"there is no camera {number}", why=f"picamera2 finds {found}", hint="Check its cable.")
        try:
            self._camera = module.Picamera2(number)
            # libcamera names formats by their order in a little-endian word: its BGR888 is R, G, B in memory.
            main = {"format": "BGR888", "size": (_WIDTH, _HEIGHT)}
            self._camera.configure(self._camera.create_video_configuration(main=main))
            self._camera.start()
        except RuntimeError as error:
            raise Unavailable(f"{self._name} cannot be started with picamera2", why=str(error)) from None
        self.description = f"{self._name} with picamera2, {_WIDTH} x {_HEIGHT}"
        self._clock = _Clock()
        self._request: Any = None

    def grab(self) -> float | None:
        self._release()
        try:
            self._request = self._camera.capture_request()
        except RuntimeError:
            raise _silent(self._name) from None
        return self._clock.elapsed_s()

    def pixels(self) -> Pixels:
        pixels: Pixels = self._request.make_array("main")
        return pixels

    def close(self) -> None:
        self._release()
        self._camera.close()

    def _release(self) -> None:
        # Release the request soon: it holds one of the camera's few buffers.
        if self._request is not None:
            self._request.release()
            self._request = None


class _Clock:
    """Seconds since the first call."""

    def __init__(self) -> None:
        self._start: float | None = None

    def elapsed_s(self) -> float:
        now = time.monotonic()
        self._start = now if self._start is None else self._start
        return now - self._start


def _opencv(why: str) -> ModuleType:
    cv2 = _load("cv2", why, _GET_OPENCV)
    # OpenCV's warnings on stderr duplicate our errors. OpenCV 5 moved the function.
    silence = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    silence(_SILENT)
    return cv2


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _load(module: str, what: str, hint: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise Unavailable(f"{module} cannot be loaded", why=str(error), hint=hint) from None
        raise Unavailable(what, why=f"{module} is not installed here", hint=hint) from None
    except (ImportError, OSError) as error:
        # opencv-python, without -headless, needs libGL, which a board without a screen lacks.
        raise Unavailable(f"{module} is installed but cannot be loaded", why=str(error), hint=hint) from None


def _silent(name: str) -> Unavailable:
    return Unavailable(f"{name} gives no frames", why="it was unplugged, or another program uses it")
