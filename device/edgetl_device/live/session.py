"""``classify`` on a camera, a video or a folder: options, output and summary, shared by both command lines."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from edgetl_device._lib import jsonfile
from edgetl_device._lib.documents import Count, Share, optional, to_json
from edgetl_device.classifier import AnyClassifier, Observer
from edgetl_device.errors import EdgetlError, InputError
from edgetl_device.text import shown
from edgetl_device.unknown import finite

from .frames import open_camera, open_video
from .stream import FramePrediction, Unread, classify_frames, classify_photos
from .watch import new_photos

# Default time constant for cameras and videos: suppresses single outliers, and follows a new scene within a second.
SMOOTH_S = 0.3

Line = FramePrediction | Unread


@dataclass(frozen=True)
class Live:
    """Options of live classification.

    Attributes:
        camera: As for :func:`edgetl_device.live.frames.open_camera`, or empty.
        video: Path of a video, or empty.
        watch: Path of a folder, or empty. Exactly one of these three is set.
        existing: With ``watch``, also classify photos that are already there.
        smooth_s: Time constant of the smoothing in seconds; None means 0.3 for cameras and videos and 0 for photos.
        every_s: Minimum interval between frames in seconds.
        frames: Stop after this many frames; None means never.
        threshold: Predictions below this probability are unsure.

    Raises:
        InputError: A value is out of range, or two contradict each other.
    """

    camera: str = ""
    video: str = ""
    watch: str = ""
    existing: bool = False
    smooth_s: float | None = None
    every_s: float = 0.0
    frames: int | None = None
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if sum(map(bool, (self.camera, self.video, self.watch))) != 1:
            raise InputError("there must be exactly one source", why="give photos, --camera, --video or --watch")
        if self.watch and self.every_s:
            raise InputError("--every is for --camera and --video", why="every photo in a folder is classified")
        if self.existing and not self.watch:
            raise InputError("--existing is for --watch")
        for name, value in (("--smooth", self.smooth_s or 0.0), ("--every", self.every_s)):
            if not 0 <= value < math.inf:
                raise InputError(f"{name} {value}", why="must be seconds, 0 or more")
        if self.frames is not None and self.frames < 1:
            raise InputError(f"--frames {self.frames}", why="must be 1 or more")
        if not 0 <= self.threshold <= 1:
            raise InputError(f"--threshold {self.threshold}", why="must be a probability from 0 to 1")

    @classmethod
    def asked(cls, photos: Sequence[object], *, top: int | None = None, **options: Any) -> Live | None:
        """Return the options of a command line; None if it names photos.

        Raises:
            InputError: There are both photos and a source, or neither, or options without their source.
        """
        if any(options[name] for name in ("camera", "video", "watch")):
            live = cls(**options)
            if photos:
                raise InputError("photos, and --camera, --video or --watch", why="give either photos or one of these")
            if top is not None:
                raise InputError("--top is for photos given by path", why="live output shows only the likeliest class")
            return live
        defaults = cls(watch=".")
        for name, value in options.items():
            if name not in ("camera", "video", "watch") and value != getattr(defaults, name):
                flag = name.removesuffix("_s")
                raise InputError(
                    f"--{flag} without --camera, --video or --watch", why="it does not apply to photos given by path"
                )
        if not photos:
            raise InputError("nothing to classify", hint="Give photos, or --camera, --video or --watch.")
        return None


@dataclass(frozen=True)
class Smoothed:
    """A class and its probability, smoothed over time."""

    label: str
    probability: Share


@dataclass(frozen=True, kw_only=True)
class LivePrediction:
    """One frame or photo of a live source: a line of JSON.

    Attributes:
        photo: Path of a photo.
        frame: Number of a frame in its source, from 0.
        error: Why it could not be read; the following fields are then absent.
        time_s: Seconds since the first frame; for photos, since the start of the stream.
        label: The likeliest class of this frame alone.
        probability: Its probability.
        smoothed: The likeliest class after smoothing.
        sure: Whether its probability reaches the threshold.
        unknown: Whether it is of nothing that the model was taught, if the bundle can tell.
        unknown_score: How far it is from all training photos: above 1, it is unknown.
        decode_ms: Reading or waiting for it, and decoding it.
        fit_ms: Resizing to the model's input.
        invoke_ms: Inference.
        fps: Frames per second over the last 30 frames; absent for photos.
    """

    SCHEMA: ClassVar[str] = "edgetl.live-prediction/1"

    photo: str | None = optional()
    frame: Count | None = optional()
    error: str | None = optional()
    time_s: float | None = optional()
    label: str | None = optional()
    probability: Share | None = optional()
    smoothed: Smoothed | None = optional()
    sure: bool | None = optional()
    unknown: bool | None = optional()
    unknown_score: float | None = optional()
    decode_ms: float | None = optional()
    fit_ms: float | None = optional()
    invoke_ms: float | None = optional()
    fps: float | None = optional()


@contextmanager
def classify_live(
    classifier: AnyClassifier, live: Live, *, observer: Observer | None = None
) -> Iterator[tuple[str, Iterator[Line]]]:
    """Open the source of ``live``; yield its description and its lines; always close it.

    Raises:
        InputError: No such video or folder.
        Unavailable: No such camera, or no library to read it with.
    """
    if live.watch:
        folder = Path(live.watch)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder", hint="Create it first; edgetl watches it for photos.")
        photos = new_photos(folder, existing=live.existing)
        lines: Iterator[Line] = classify_photos(classifier, photos, smooth_s=live.smooth_s or 0.0, observer=observer)
        yield f"photos that appear in {folder}", islice(lines, live.frames)
        return
    with closing(open_camera(live.camera) if live.camera else open_video(live.video)) as source:
        smooth_s = SMOOTH_S if live.smooth_s is None else live.smooth_s
        lines = classify_frames(classifier, source, smooth_s=smooth_s, every_s=live.every_s, observer=observer)
        yield f"{source.description}; smoothed over {smooth_s:g} s", islice(lines, live.frames)


def as_json(line: Line, live: Live) -> str:
    """Return a line as one line of JSON."""
    return jsonfile.dumps_line(to_json(_document(line, live)))


def as_text(line: Line, live: Live) -> str:
    """Return a line as text, without a line break."""
    return shown(_text(line, live))


def _text(line: Line, live: Live) -> str:
    if isinstance(line, Unread):
        return f"not read: {_reason(line)}"
    best = line.smoothed
    said = f"{best.label} {best.probability:.3f}"
    if line.unknown:
        said = f"unknown ({said})"
    elif best.probability < live.threshold:
        said = f"unsure ({said})"
    if isinstance(line.name, str):
        return f"{line.name}: {said}"
    return f"{line.time_s:8.2f} s  {said}  {line.fps:.1f} fps, model {line.invoke_ms:.1f} ms"


def _reason(line: Unread) -> str:
    return line.error.what + (f" ({line.error.why})" if line.error.why else "")


def _document(line: Line, live: Live) -> LivePrediction:
    photo, frame = (line.name, None) if isinstance(line.name, str) else (None, line.name)
    if isinstance(line, Unread):
        return LivePrediction(photo=photo, frame=frame, error=_reason(line))
    return LivePrediction(
        photo=photo,
        frame=frame,
        time_s=round(line.time_s, 4),
        label=line.prediction.label,
        probability=line.prediction.probability,
        smoothed=Smoothed(line.smoothed.label, line.smoothed.probability),
        sure=line.smoothed.probability >= live.threshold,
        unknown=line.unknown,
        unknown_score=finite(line.unknown_score),
        decode_ms=round(line.decode_ms, 3),
        fit_ms=round(line.fit_ms, 3),
        invoke_ms=round(line.invoke_ms, 3),
        fps=None if live.watch else round(line.fps, 2),
    )


@dataclass
class Tally:
    """Counts lines for the summary at the end."""

    live: Live
    started: float = field(default_factory=time.perf_counter)
    labels: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    first_error: EdgetlError | None = None

    def add(self, line: Line) -> str:
        """Count a line and return its category: a label, ``unknown``, ``unsure`` or ``not read``."""
        if isinstance(line, Unread):
            self.unread += 1
            self.first_error = self.first_error or line.error
            return "not read"
        label = line.smoothed.label if line.smoothed.probability >= self.live.threshold else "unsure"
        if line.unknown:
            label = "unknown"
        self.labels[label] += 1
        return label

    def text(self) -> str:
        """Return the summary: number of lines, rate, count per label."""
        seconds = time.perf_counter() - self.started
        count = self.labels.total()
        what = "photo" if self.live.watch else "frame"
        parts = [f"{count} {what}{'s' * (count != 1)} in {seconds:.1f} s"]
        if count and not self.live.watch:
            parts[0] += f" ({count / seconds:.1f} per second)"
        parts += [f"{label} {number}" for label, number in self.labels.most_common()]
        if self.unread:
            parts.append(f"not read {self.unread}")
        return ", ".join(parts)

    def raise_any(self) -> None:
        """Raise an error if frames of a video could not be read; a camera may drop frames.

        Raises:
            InputError: Frames of a video could not be read.
        """
        if self.first_error is not None and self.live.video:
            first, all_frames = self.first_error, self.unread + self.labels.total()
            raise InputError(
                f"{self.unread} of {all_frames} frames could not be read",
                why=first.what + (f": {first.why}" if first.why else ""),
                hint=first.hint,
            )
