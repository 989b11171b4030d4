"""Classify frames and photos as they arrive, with timing and smoothing.

Plain generators: the caller opens and closes the source, and stops iterating to stop.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from edgetl_device.classifier import AnyClassifier, Classifier, Observed, Observer, PhotoLike, Prediction
from edgetl_device.errors import EdgetlError, InputError, Unavailable, from_os_error
from edgetl_device.preprocess import Pixels, decode, fit
from edgetl_device.runtime import Probabilities
from edgetl_device.unknown import is_unknown

from .frames import FrameSource

# Window of the frame rate, in frames.
_RATE_FRAMES = 30
# Retry a camera without frames this long: a cable may be loose, a driver restarting.
RETRY_S = 5.0
_RETRY_PAUSE_S = 0.5
# Timestamps in containers are rounded, so a frame may be early by this much.
_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class FramePrediction:
    """The prediction for one frame or photo.

    Attributes:
        name: The photo's path, or the frame's number in its source, from 0.
        time_s: Seconds since the first frame; for photos, since the start of the stream.
        prediction: The likeliest class of this frame alone.
        smoothed: The likeliest class after smoothing; equal to ``prediction`` without smoothing.
        decode_ms: For a photo, reading and decoding it; for a frame, waiting for it and decoding it.
        fit_ms: Resizing to the model's input.
        invoke_ms: Inference.
        fps: Frames per second over the last 30 frames.
        unknown_score: Of this frame alone, as of :class:`edgetl_device.classifier.Answer`.
    """

    name: str | int
    time_s: float
    prediction: Prediction
    smoothed: Prediction
    decode_ms: float
    fit_ms: float
    invoke_ms: float
    fps: float
    unknown_score: float | None = None

    @property
    def unknown(self) -> bool | None:
        """Whether this frame is of nothing that the model was taught; None if the bundle cannot tell."""
        return is_unknown(self.unknown_score)


@dataclass(frozen=True)
class Unread:
    """A photo or frame that could not be read or classified, with the error."""

    name: str | int
    error: EdgetlError


class Smoother:
    """Exponential smoothing of probabilities over time: a first-order low-pass filter.

    ``s += (1 - exp(-dt / seconds)) * (p - s)``, starting with the first ``p``. A step reaches 63% after ``seconds``
    and 95% after three times that, at any frame rate. If inputs sum to 1, so do outputs.

    Args:
        seconds: The time constant; 0 means no smoothing.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds, self._time_s = seconds, 0.0
        self._state: Probabilities | None = None

    def update(self, probabilities: Probabilities, time_s: float) -> Probabilities:
        """Add probabilities, float32 [classes], observed at ``time_s``; return the smoothed ones."""
        if self._state is None or self._seconds <= 0:
            self._state = probabilities
        else:
            share = -math.expm1(-max(0.0, time_s - self._time_s) / self._seconds)
            self._state = self._state + share * (probabilities - self._state)
        self._time_s = time_s
        return self._state


def classify_frames(
    classifier: AnyClassifier,
    source: FrameSource,
    *,
    smooth_s: float = 0.0,
    every_s: float = 0.0,
    retry_s: float = RETRY_S,
    observer: Observer | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[FramePrediction | Unread]:
    """Yield a prediction or an error for each frame until the source ends.

    A camera's frame that cannot be grabbed or decoded is tried again, with the next one.

    Args:
        classifier: The model.
        source: The source; the caller closes it.
        smooth_s: Time constant of the smoothing, see :class:`Smoother`.
        every_s: Minimum interval between frames in seconds; frames in between are skipped.
        retry_s: How long to retry a camera that delivers no frames, in seconds; what its driver blocks counts.
        observer: Sees every frame and its prediction.
        sleep: Sleeps for a number of seconds.
        clock: A monotonic clock in seconds.

    Raises:
        Unavailable: The camera has delivered no frames, or only such that cannot be decoded, for ``retry_s``.
    """
    stream = _Stream(smooth_s, observer)
    failures = _Failures(retry_s, clock, live=getattr(source, "live", True))
    due_s = -math.inf
    number = -1
    while True:
        started = time.perf_counter()
        failures.attempt()
        try:
            time_s = source.grab()
        except Unavailable as error:
            failures.add(error)
            yield stream.failed(number + 1, error)
            sleep(failures.pause())
            continue
        except InputError as error:
            number += 1
            if failures.live:
                failures.add(_no_frame(source, error))
            yield stream.failed(number, error)
            if failures.repeated:
                sleep(failures.pause())
            continue
        if time_s is None:
            return
        number += 1
        if time_s + _ROUNDING_S < due_s:
            failures.end()  # a frame that cannot be decoded is followed by none that is skipped
            continue
        # Stay on the grid of intervals as long as frames keep up, so that the rate does not drift.
        due_s = time_s + every_s if due_s + every_s < time_s else due_s + every_s
        try:
            frame = source.pixels()
        except EdgetlError as error:
            if failures.live:
                due_s = -math.inf  # the next frame is tried at once
                failures.add(_no_frame(source, error))
            yield stream.failed(number, error)
            if failures.repeated:
                sleep(failures.pause())
            continue
        failures.end()
        try:
            decoded = time.perf_counter()
            with classifier.hold() as one:
                line: FramePrediction | Unread = stream.predict(
                    one, number, frame, time_s, one.pixels(frame), started, decoded
                )
        except EdgetlError as error:
            line = stream.failed(number, error)
        yield line


def _no_frame(source: FrameSource, error: EdgetlError) -> Unavailable:
    return Unavailable(
        f"{source.description}: no frame can be read",
        why=error.what + (f": {error.why}" if error.why else ""),
        hint=error.hint or "Plug the camera in again, or end other programs that use it.",
    )


class _Failures:
    """How long a camera has failed without a frame in between: in blocked calls, in other attempts, and in pauses."""

    def __init__(self, retry_s: float, clock: Callable[[], float], *, live: bool) -> None:
        self._retry_s, self._clock, self.live = retry_s, clock, live
        self._count, self._since, self._paused_s, self._started = 0, 0.0, 0.0, 0.0

    def attempt(self) -> None:
        """Note the start of an attempt, which a driver may block for seconds."""
        self._started = self._clock()

    def add(self, error: Unavailable) -> None:
        """Count a failure, and raise it if there have been failures for too long."""
        if self._count == 0:
            self._since, self._paused_s = self._started, 0.0
        self._count += 1
        if max(self._clock() - self._since, self._paused_s) >= self._retry_s:
            raise error

    def pause(self) -> float:
        """Return how many seconds to wait before the next attempt."""
        self._paused_s += _RETRY_PAUSE_S
        return _RETRY_PAUSE_S

    @property
    def repeated(self) -> bool:
        """Whether the last attempts failed: a single bad frame is no reason to wait."""
        return self._count > 1

    def end(self) -> None:
        """Forget failures: there was a frame."""
        self._count = 0


def classify_photos(
    classifier: AnyClassifier,
    paths: Iterable[str | os.PathLike[str]],
    *,
    smooth_s: float = 0.0,
    observer: Observer | None = None,
) -> Iterator[FramePrediction | Unread]:
    """Yield a prediction or an error for each photo.

    Args:
        classifier: The model.
        paths: Paths of photos, for example from :func:`edgetl_device.live.watch.new_photos`.
        smooth_s: Time constant of the smoothing, see :class:`Smoother`.
        observer: Sees every photo and its prediction.
    """
    stream = _Stream(smooth_s, observer)
    begun = time.perf_counter()
    for path in paths:
        started = time.perf_counter()
        try:
            with classifier.hold() as one:
                spec = one.bundle.preprocess
                image = decode(path, spec)
                decoded = time.perf_counter()
                line: FramePrediction | Unread = stream.predict(
                    one, os.fspath(path), path, started - begun, fit(image, spec), started, decoded
                )
        except EdgetlError as error:
            line = stream.failed(os.fspath(path), error)
        except OSError as error:
            # The photo is gone already, or this user may not read it.
            line = stream.failed(os.fspath(path), from_os_error(error))
        yield line


class _Stream:
    def __init__(self, smooth_s: float, observer: Observer | None) -> None:
        self._smooth_s, self._smoother = smooth_s, Smoother(smooth_s)
        self._observer = observer
        self._labels: tuple[str, ...] = ()
        self._ends: deque[float] = deque(maxlen=_RATE_FRAMES + 1)

    def failed(self, name: str | int, error: EdgetlError) -> Unread:
        """Return the line of a photo or frame that could not be read or classified."""
        if self._observer is not None:
            self._observer.failed()
        return Unread(name, error)

    def predict(
        self,
        classifier: Classifier,
        name: str | int,
        photo: PhotoLike,
        time_s: float,
        pixels: Pixels,
        started: float,
        decoded: float,
    ) -> FramePrediction:
        """Run the model on resized pixels; ``started`` and ``decoded`` are ``perf_counter`` times."""
        fitted = time.perf_counter()
        output = classifier.run_observed(pixels)
        probabilities = output.probabilities
        ended = time.perf_counter()
        if self._observer is not None:
            # A frame is waited for; that is no latency.
            since = decoded if isinstance(name, int) else started
            self._observer.answered(Observed(classifier, photo, pixels, output, 1e3 * (ended - since)))
        if not self._ends:
            self._ends.append(started)
        self._ends.append(ended)
        if classifier.labels != self._labels:
            # The bundle's classes have changed: restart the smoothing.
            self._labels, self._smoother = classifier.labels, Smoother(self._smooth_s)
        smoothed = self._smoother.update(probabilities, time_s)
        (prediction,) = classifier.ranked(probabilities, 1)
        (steady,) = classifier.ranked(smoothed, 1)
        return FramePrediction(
            name=name,
            time_s=time_s,
            prediction=prediction,
            smoothed=steady,
            decode_ms=1e3 * (decoded - started),
            fit_ms=1e3 * (fitted - decoded),
            invoke_ms=1e3 * (ended - fitted),
            fps=(len(self._ends) - 1) / (ended - self._ends[0]),
            unknown_score=output.unknown_score,
        )
