"""Records of the field: one line of JSON an hour, in a file a day."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from edgetl_device._lib import documents, jsonfile
from edgetl_device._lib.documents import Count, Positive, Seconds, Share, Text, Time, Unknown, optional
from edgetl_device._lib.files import check_regular
from edgetl_device.bundle import BundleName
from edgetl_device.errors import EdgetlError, InputError, from_os_error

# A file a day, the newest of which are kept.
DAY_FILE = re.compile(r"\d{4}-\d\d-\d\d\.jsonl")
MAX_DAYS = 366
# A program that restarts every few seconds writes many records a day.
MAX_DAY_BYTES = 4 << 20
_MAX_LINE_BYTES = 1 << 20
_MAX_PROBLEMS, _MAX_LINES = 100, 20_000


@dataclass(frozen=True)
class Spread:
    """Values of the photos of a record; the shares are of a random part of up to 512 photos.

    Attributes:
        mean: Mean of all photos.
        p05: 5% of the photos are below it.
        p50: Median.
        p95: 95% of the photos are below it.
    """

    mean: float
    p05: float
    p50: float
    p95: float


@dataclass(frozen=True)
class UnknownPhotos:
    """Photos of nothing that the model was taught.

    Attributes:
        photos: Number of photos.
        share: Share of the photos that were classified.
    """

    photos: Count
    share: Share


@dataclass(frozen=True)
class Temperature:
    """Temperature of the CPU's hottest sensor, read once a minute.

    Attributes:
        mean_c: Mean.
        max_c: Maximum.
    """

    mean_c: float
    max_c: float


@dataclass(frozen=True)
class FeatureShift:
    """The difference with the smallest p.

    Attributes:
        feature: The feature.
        direction: Whether the window has more photos above the limit than the reference, or more below.
        limit: The limit, in the unit of the feature.
        in_window: Photos of the window beyond the limit.
        in_reference: Photos of the reference beyond it.
        same_classes_p: p of this feature when only photos of the same predicted class are exchanged, at least 0.001.
            Large: the mix of the classes has changed, not their photos. Computed for alarms, once a minute at most.
    """

    feature: Text
    direction: Literal["above", "below"]
    limit: float
    in_window: Count
    in_reference: Count
    same_classes_p: Share | None = optional()


@dataclass(frozen=True)
class Drift:
    """Whether photos of the field look like the held-out photos of the bundle, which the model was not trained on.

    Each window of consecutive photos is tested. The rate of false alarms holds for windows of photos that are like the
    held-out ones, in the same mix of classes, and independent of each other; it is the mean over draws of the held-out
    photos.

    Attributes:
        bank: Whether the bundle has the features of training photos. Without them drift is looked for in confidence,
            brightness and sharpness only.
        features: What is compared.
        reference: Held-out photos.
        window: Photos in a window.
        false_alarm_rate: False alarms per window.
        windows: Windows that were tested.
        alarms: Windows with an alarm.
        p: The smallest p of a window, corrected for the number of features; an alarm if at most the rate.
        shift: The largest difference in that window; None if p is 1.
    """

    bank: bool
    features: tuple[str, ...]
    reference: Positive
    window: Positive
    false_alarm_rate: Share
    windows: Count
    alarms: Count
    p: Share | None
    shift: FeatureShift | None


@dataclass(frozen=True)
class Lost:
    """What could not be written, kept or counted since the record before.

    Attributes:
        records: Records, each of an hour or less.
        photos: Photos that were classified but not counted, because the machine was busy.
        unkept: Photos worth labelling.
        why: The last reason.
    """

    records: Count
    photos: Count
    unkept: Count
    why: str


@dataclass(frozen=True)
class Collected:
    """Photos worth labelling in the folder.

    Attributes:
        photos: Number of photos, by reason: ``unknown``, ``uncertain``, ``random``.
        bytes: Size of their files.
    """

    photos: dict[str, Count]
    bytes: Count


@dataclass(frozen=True, kw_only=True)
class MonitorRecord:
    """What a classifier saw within an hour.

    Attributes:
        start: When it begins, by the clock of the device.
        seconds: How long it is, whatever the clock did.
        ended: Why it ends: the hour was over, the program ended, or another bundle was installed.
        clock_moved_s: How much more time the clock of the device counted, if over a minute; negative if it went back.
        bundle: The bundle.
        variant: Its variant.
        photos: Photos that were classified.
        failed: Photos that could not be read or classified.
        classes: Number of photos by the likeliest class.
        confidence: Probability of the likeliest class.
        unknown: Unknown photos.
        brightness: Mean of the pixels, 0 to 255.
        sharpness: Mean difference of neighbouring pixels, in standard deviations of the photo.
        latency_ms: From a photo's file, or a frame, to the answer.
        not_finite: Photos whose features were not finite; drift is not looked for in them.
        temperature_c: Temperature.
        drift: Drift.
        collected: Photos worth labelling, if they are kept.
        lost: What was lost, if anything.
    """

    SCHEMA: ClassVar[str] = "edgetl.monitor/1"

    start: Time
    seconds: Seconds
    ended: Literal["hour", "stop", "bundle"]
    clock_moved_s: float | None = optional()
    bundle: BundleName
    variant: Text
    photos: Count
    failed: Count
    classes: dict[str, Count]
    confidence: Spread | None
    unknown: UnknownPhotos | Unknown
    brightness: Spread | None
    sharpness: Spread | None
    latency_ms: Spread | None
    not_finite: Count = optional(0)
    temperature_c: Temperature | Unknown
    drift: Drift | Unknown
    collected: Collected | None = optional()
    lost: Lost | None = optional()


@dataclass(frozen=True)
class Records:
    """The records in a folder.

    Attributes:
        records: Those that can be read, day by day, in the order in which they were written.
        problems: Lines and files that cannot be read, each with its place and the reason; at most 100.
    """

    records: tuple[MonitorRecord, ...]
    problems: tuple[str, ...]


def line_of(record: MonitorRecord) -> bytes:
    """Return a record as one line."""
    return jsonfile.dumps_line(documents.to_json(record)).encode()


def read_records(folder: str | os.PathLike[str]) -> Records:
    """Read the records that a :class:`edgetl_device.monitor.Monitor` wrote; it may be running.

    A line that is being written, damaged, or of a newer edgetl is a problem, and the others are read.

    Raises:
        InputError: There is no such folder.
    """
    records: list[MonitorRecord] = []
    problems: list[str] = []
    for place, found in _lines(Path(folder)):
        record = found if isinstance(found, EdgetlError) else _record_or_error(found, place)
        if isinstance(record, MonitorRecord):
            records.append(record)
        elif len(problems) < _MAX_PROBLEMS:
            problems.append(record.what + (f" ({record.why})" if record.why else ""))
    return Records(tuple(records), tuple(problems))


def day_files(folder: Path) -> list[Path]:
    """Return the files of the days, the oldest first.

    Raises:
        InputError: There is no such folder.
    """
    try:
        return sorted(path for path in folder.iterdir() if DAY_FILE.fullmatch(path.name))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder}: no such folder", hint="Give the folder of --monitor.") from None


def _record_or_error(line: bytes, place: str) -> MonitorRecord | EdgetlError:
    try:
        return documents.parse(MonitorRecord, line, name=place)
    except EdgetlError as error:
        return error


def _lines(folder: Path) -> Iterator[tuple[str, bytes | EdgetlError]]:
    """Yield each line with its place, or why a file cannot be read."""
    left = _MAX_LINES
    for path in day_files(folder)[-MAX_DAYS:]:
        try:
            check_regular(path)
            with open(path, "rb") as stream:
                data = stream.read(MAX_DAY_BYTES + 1)
        except OSError as error:
            yield str(path), from_os_error(error)
            continue
        except EdgetlError as error:
            yield str(path), error
            continue
        if len(data) > MAX_DAY_BYTES:
            yield str(path), InputError(f"{path}: is larger than {MAX_DAY_BYTES} bytes")
            continue
        for number, line in enumerate(data.splitlines(keepends=True), 1):
            if not left:
                yield (
                    str(path),
                    InputError(f"{folder}: has more than {_MAX_LINES} lines", why="later ones are left out"),
                )
                return
            left -= 1
            place = f"{path}: line {number}"
            if not line.endswith(b"\n"):
                yield place, InputError(f"{place}: is not complete", why="it is being written, or the power failed")
            elif len(line) > _MAX_LINE_BYTES:
                yield place, InputError(f"{place}: is longer than {_MAX_LINE_BYTES} bytes")
            else:
                yield place, line
