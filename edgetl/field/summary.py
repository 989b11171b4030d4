"""Records of one or many monitors, summed up by board and by day."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from edgetl import __version__
from edgetl_device._lib.documents import Count, Named, Seconds, Share, Text, Time, Unknown, optional
from edgetl_device._lib.times import created
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.errors import InputError
from edgetl_device.monitor import MonitorRecord, read_records
from edgetl_device.monitor.record import FeatureShift, day_files

# A board differs where its modified z-score is beyond this: B. Iglewicz and D. Hoaglin, "How to Detect and Handle
# Outliers", 1993. 0.6745 makes the median absolute deviation of normal values their standard deviation.
_FAR, _MAD_OF_NORMAL = 3.5, 0.6745
# Among fewer, the median says little of what is usual.
_FEWEST_BOARDS = 5


@dataclass(frozen=True)
class Day:
    """What a board saw on a day (UTC).

    Attributes:
        date: ``2026-11-30``.
        photos: Photos that were classified.
        measures: Mean over its photos of what was measured, by name; what no record has is left out.
    """

    date: Text
    photos: Count
    measures: dict[str, float]


@dataclass(frozen=True)
class Difference:
    """A measure in which a board is unlike the others.

    Attributes:
        measure: Its name.
        value: Of this board.
        median: Of all boards.
        score: The modified z-score.
    """

    measure: Text
    value: float
    median: float
    score: float


@dataclass(frozen=True, kw_only=True)
class BoardInField:
    """What a board saw.

    Attributes:
        name: Name of its folder.
        first: Start of its first record.
        last: Start of its last record.
        seconds: Time that was watched.
        bundles: Names of the bundles that it ran, with the beginning of their digests, the latest last.
        photos: Photos that were classified.
        failed: Photos that could not be read or classified.
        unknown: Photos of nothing that the model was taught, among those that could be told.
        told: Photos of which the bundle could tell whether they are unknown.
        windows: Windows that were tested for drift.
        alarms: Windows with an alarm.
        false_alarm_rate: False alarms to expect per window; null without windows.
        drifts: Whether more windows have alarms than false ones explain: the low end of their share's 95% interval is
            above the rate.
        shift: The difference in the latest window with an alarm.
        lost: Records and photos that could not be counted, and photos that could not be kept.
        measures: As for a day, over all.
        differs: Measures in which the board is unlike the others; none among fewer than five.
        days: By day, in order.
        problems: Lines that cannot be read.
    """

    name: Text
    first: Time
    last: Time
    seconds: Seconds
    bundles: tuple[Text, ...]
    photos: Count
    failed: Count
    unknown: Count
    told: Count
    windows: Count
    alarms: Count
    false_alarm_rate: Share | None
    drifts: bool
    shift: FeatureShift | None = optional()
    lost: Count
    measures: dict[str, float]
    differs: tuple[Difference, ...]
    days: tuple[Day, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class FieldSummary:
    """What the boards of a folder saw.

    Attributes:
        producer: The program that summed it up.
        created: When.
        boards: The boards, by name.
        empty: Names of folders of monitors without a record that can be read.
    """

    SCHEMA: ClassVar[str] = "edgetl.field/1"

    producer: Named
    created: Time
    boards: tuple[BoardInField, ...]
    empty: tuple[Text, ...]


def summarize(folder: Path) -> FieldSummary:
    """Sum up a monitor's folder, or a folder of several, as ``edgetl field pull`` makes it.

    Raises:
        InputError: There are no records.
    """
    boards = {place.name: read_records(place) for place in folders(folder)}
    found = [_board(name, records.records, records.problems) for name, records in boards.items() if records.records]
    if not found:
        raise InputError(
            f"{folder}: has no records",
            why=f"{len(boards)} folders of monitors have none"
            if boards
            else "it is no monitor's folder, nor has it one",
            hint="Give the folder of edgetl field pull, or of --monitor.",
        )
    differs = _differences(found)
    return FieldSummary(
        Named("edgetl", __version__),
        created(),
        tuple(replace(one, differs=differs[one.name]) for one in found),
        tuple(name for name, records in boards.items() if not records.records),
    )


def folders(folder: Path) -> list[Path]:
    """Return the folders of monitors: the given one, or those in it.

    Raises:
        InputError: There is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if _is_monitors(folder):
        return [folder]
    return sorted(one for one in folder.iterdir() if one.is_dir() and not one.is_symlink() and _is_monitors(one))


def _is_monitors(folder: Path) -> bool:
    return bool(day_files(folder))


def _board(name: str, records: Sequence[MonitorRecord], problems: tuple[str, ...]) -> BoardInField:
    by_day: dict[str, list[MonitorRecord]] = defaultdict(list)
    for one in records:
        by_day[one.start[:10]].append(one)
    drift = [one.drift for one in records if not isinstance(one.drift, Unknown)]
    windows, alarms = (sum(getattr(one, field) for one in drift) for field in ("windows", "alarms"))
    told = [one for one in records if not isinstance(one.unknown, Unknown)]
    rate = max((one.false_alarm_rate for one in drift), default=None)
    return BoardInField(
        name=name,
        first=min(one.start for one in records),
        last=max(one.start for one in records),
        seconds=round(sum(one.seconds for one in records), 1),
        bundles=tuple(dict.fromkeys(f"{one.bundle.name} {one.bundle.digest[:12]}" for one in records)),
        photos=sum(one.photos for one in records),
        failed=sum(one.failed for one in records),
        unknown=sum(_unknown(one) for one in told),
        told=sum(one.photos for one in told),
        windows=windows,
        alarms=alarms,
        false_alarm_rate=rate,
        drifts=windows > 0 and rate is not None and wilson95(alarms, windows)[0] > rate,
        shift=next((one.shift for one in reversed(drift) if one.alarms and one.shift), None),
        lost=sum(one.lost.records + one.lost.photos + one.lost.unkept for one in records if one.lost),
        measures=_measures(records),
        differs=(),
        days=tuple(Day(date, sum(one.photos for one in day), _measures(day)) for date, day in sorted(by_day.items())),
        problems=problems,
    )


def _unknown(record: MonitorRecord) -> int:
    return 0 if isinstance(record.unknown, Unknown) else record.unknown.photos


# What is compared between boards and days: by name, the mean of a record, or None if it has none.
MEASURES: Mapping[str, Callable[[MonitorRecord], float | None]] = {
    "unknown share": lambda one: None if isinstance(one.unknown, Unknown) else one.unknown.share,
    "confidence": lambda one: one.confidence and one.confidence.mean,
    "brightness": lambda one: one.brightness and one.brightness.mean,
    "sharpness": lambda one: one.sharpness and one.sharpness.mean,
    "latency, ms": lambda one: one.latency_ms and one.latency_ms.p50,
    "temperature, °C": lambda one: None if isinstance(one.temperature_c, Unknown) else one.temperature_c.max_c,
}


def _measures(records: Iterable[MonitorRecord]) -> dict[str, float]:
    """Return the means over photos of what records have."""
    found = {}
    for name, of in MEASURES.items():
        values = [(value, one.photos) for one in records if one.photos and (value := of(one)) is not None]
        if values:
            mean = sum(value * photos for value, photos in values) / sum(photos for _, photos in values)
            found[name] = round(mean, 6)
    return found


def _differences(boards: Sequence[BoardInField]) -> dict[str, tuple[Difference, ...]]:
    found: dict[str, list[Difference]] = {one.name: [] for one in boards}
    for measure in MEASURES:
        values = {one.name: one.measures[measure] for one in boards if measure in one.measures}
        if len(values) < _FEWEST_BOARDS:
            continue
        median = statistics.median(values.values())
        spread = statistics.median(abs(value - median) for value in values.values())
        for name, value in values.items():
            # Where most boards are equal, any other is unlike them; a share that differs in the last digit is not.
            score = _MAD_OF_NORMAL * (value - median) / max(spread, 1e-3 * abs(median), 1e-9)
            if abs(score) > _FAR:
                found[name].append(Difference(measure, value, round(median, 6), round(score, 2)))
    return {name: tuple(ones) for name, ones in found.items()}
