"""What is counted in an hour, and the record of it."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgetl_device._lib.documents import Unknown
from edgetl_device.bundle import Bundle, BundleName
from edgetl_device.unknown import is_unknown

from .drift import Shift, StreamTest
from .measures import BRIGHTNESS, CONFIDENCE, SHARPNESS, Batch, Floats, Measures, Reference
from .record import Collected, Drift, FeatureShift, Lost, MonitorRecord, Spread, Temperature, UnknownPhotos

# Photos in a window, and false alarms per window.
WINDOW, FALSE_ALARM_RATE = 100, 0.001
# A random part of an hour's photos, of which percentiles are taken.
_SAMPLE = 512
# The clock of a board may be set once it has a network; smaller differences are drift of its crystal.
_CLOCK_MOVED_S = 60.0
# Without a reference, a photo with a lower probability is uncertain.
_UNCERTAIN = 0.5

Ended = Literal["hour", "stop", "bundle"]


@dataclass(eq=False)
class Watched:
    """The bundle that is watched. There is a test as soon as there is a reference; ``why`` says why there is none."""

    bundle: Bundle
    variant: str
    measures: Measures
    reference: Reference | None = None
    test: StreamTest | None = None
    uncertain: float = _UNCERTAIN
    why: str = "the held-out photos are being classified"
    # Whether the reference was made, or could not be.
    tried: bool = False
    # The photos of the next window.
    rows: list[Floats] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Hour:
    """What is counted for one record: of the photos confidence, brightness, sharpness and latency."""

    watched: Watched
    start: float
    since: float
    photos: int = 0
    failed: int = 0
    unknown: int = 0
    not_finite: int = 0
    classes: Counter[int] = field(default_factory=Counter)
    sample: Floats = field(default_factory=lambda: np.empty((_SAMPLE, 4)))
    sums: Floats = field(default_factory=lambda: np.zeros(4))
    temperatures: int = 0
    temperature_sum: float = 0.0
    temperature_max: float = -math.inf
    no_temperature: str = "it was not read"
    windows: int = 0
    alarms: int = 0
    smallest: Shift | None = None
    same_classes_p: float | None = None
    ended: Ended = "hour"
    end: float = 0.0
    until: float = 0.0

    def count(self, batch: Batch, rows: Floats, finite_rows: npt.NDArray[np.bool_], random: random.Random) -> None:
        """Count photos.

        Args:
            batch: The photos.
            rows: Their measures, float64 [photos, measures].
            finite_rows: Which of them have finite measures only, [photos].
            random: Chooses the sample.
        """
        latencies = np.array(batch.latencies)[:, None]
        self.add(np.hstack([rows[:, [CONFIDENCE, BRIGHTNESS, SHARPNESS]], latencies]), random)
        self.classes.update(batch.labels)
        self.not_finite += int((~finite_rows).sum())
        if self.watched.measures.bank:
            self.unknown += sum(bool(is_unknown(score)) for score in batch.scores)

    def add(self, values: Floats, random: random.Random) -> None:
        """Count the values of photos, float64 [photos, 4]."""
        self.sums += values.sum(axis=0)
        for row in values:
            # Algorithm R (Vitter 1985): each photo is in the sample with equal probability.
            place = self.photos if self.photos < _SAMPLE else random.randrange(self.photos + 1)
            if place < _SAMPLE:
                self.sample[place] = row
            self.photos += 1

    def add_temperature(self, found: float | Unknown) -> None:
        """Count a temperature in degrees Celsius, or why there is none."""
        if isinstance(found, Unknown):
            self.no_temperature = found.unknown
        else:
            self.temperatures += 1
            self.temperature_sum += found
            self.temperature_max = max(self.temperature_max, found)

    def spreads(self) -> list[Spread | None]:
        """Return the spread of each value; None without photos."""
        if self.photos == 0:
            return [None] * len(self.sums)
        percentiles = np.percentile(self.sample[: self.photos], (5, 50, 95), axis=0).T
        rows = zip(self.sums / self.photos, percentiles, strict=True)
        return [Spread(*(round(float(value), 4) for value in (mean, *row))) for mean, row in rows]

    def record(self, collected: Collected | None, lost: Lost | None) -> MonitorRecord:
        """Return the record of an hour that has ended."""
        watched = self.watched
        confidence, brightness, sharpness, latency_ms = self.spreads()
        seconds = self.until - self.since
        moved_s = self.end - self.start - seconds
        unknown: UnknownPhotos | Unknown = Unknown("the bundle cannot tell")
        if watched.measures.bank:
            unknown = UnknownPhotos(self.unknown, round(self.unknown / max(self.photos, 1), 6))
        temperature: Temperature | Unknown = Unknown(self.no_temperature)
        if self.temperatures:
            mean_c = self.temperature_sum / self.temperatures
            temperature = Temperature(round(mean_c, 1), round(self.temperature_max, 1))
        return MonitorRecord(
            start=iso(self.start),
            seconds=round(seconds, 1),
            ended=self.ended,
            clock_moved_s=round(moved_s) if abs(moved_s) > _CLOCK_MOVED_S else None,
            bundle=BundleName(watched.bundle.path.name, watched.bundle.digest),
            variant=watched.variant,
            photos=self.photos,
            failed=self.failed,
            classes={watched.bundle.labels[index]: count for index, count in sorted(self.classes.items())},
            confidence=confidence,
            unknown=unknown,
            brightness=brightness,
            sharpness=sharpness,
            latency_ms=latency_ms,
            not_finite=self.not_finite,
            temperature_c=temperature,
            drift=self._drift(),
            collected=collected,
            lost=lost,
        )

    def _drift(self) -> Drift | Unknown:
        watched, shift = self.watched, self.smallest
        if watched.reference is None or watched.test is None:
            return Unknown(watched.why)
        return Drift(
            bank=watched.measures.bank,
            features=watched.measures.tested,
            reference=len(watched.reference.rows),
            window=WINDOW,
            false_alarm_rate=FALSE_ALARM_RATE,
            windows=self.windows,
            alarms=self.alarms,
            p=None if shift is None else shift.p,
            shift=None
            if shift is None or shift.p == 1
            else FeatureShift(
                feature=watched.measures.tested[shift.feature],
                direction="above" if shift.above else "below",
                limit=round(shift.value, 5),
                in_window=shift.in_window,
                in_reference=shift.in_reference,
                same_classes_p=self.same_classes_p,
            ),
        )


def iso(seconds: float) -> str:
    """Return a time, in seconds since 1970, as text in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
