"""Watch a classifier: count, look for drift, keep photos; write in a thread of its own, which nothing waits for."""

from __future__ import annotations

import math
import os
import queue
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgetl_device._lib import documents
from edgetl_device.classifier import Answer, AnyClassifier, Classifier, Observed, PhotoLike
from edgetl_device.errors import EdgetlError
from edgetl_device.machine.environment import temperature_c
from edgetl_device.runtime import Features
from edgetl_device.unknown import finite, is_unknown

from .collection import Candidate, Collection, Reason, frozen
from .folder import REFERENCE, Folder, reason, recorded_reason
from .hour import FALSE_ALARM_RATE, WINDOW, Ended, Hour, Watched, iso
from .measures import CONFIDENCE, MIN_REFERENCE, Batch, Floats, Measures, reference_of
from .options import MonitorOptions
from .record import Lost, line_of

_HOUR_S, _TICK_S = 3600, 60.0
# Batches, photos and records that wait for the thread; more are lost.
_WAITING, _WAITING_PHOTOS = 16, 2
# Collecting waits while it has taken more than this share of the time.
_COLLECTING_SHARE, _COLLECTING_FIRST_S = 0.001, 0.1
# With a reference, a photo with a probability like the lowest tenth of it is uncertain.
_UNCERTAIN_SHARE = 0.1
_CLOSE_S = 10.0
# Seconds between photos of a camera or video in which drift is looked for.
FRAMES_EVERY_S = 10.0


@dataclass(frozen=True, eq=False)
class _Photos:
    """Photos of an hour, to be measured."""

    hour: Hour
    batch: Batch


@dataclass(frozen=True, eq=False)
class _Suggested:
    """A photo that may be kept, and what says where it is among others."""

    watched: Watched
    candidate: Candidate
    features: Features | None


# None ends the thread.
_Job = _Photos | Hour | _Suggested | None


class Monitor:
    """Watches a classifier, and writes a record an hour to a folder. Close it, or use it in a ``with`` statement.

    Photos that are classified by :meth:`classify` are watched, as are those of all functions that take an ``observer``.
    What goes wrong in watching is said once and counted in the next record, and never raised. Writing, tests and
    photos to be kept are the work of a thread; if it cannot keep up, windows and photos are lost, not answers.

    When it is made for the first time, up to 500 of the bundle's held-out photos are classified once, as the reference.

    Args:
        folder: Where records go: new, empty, or of an earlier monitor.
        classifier: What is watched; it may follow updates.
        collect: Photos worth labelling to keep at most, 0 to 2,000.
        collect_mb: Size of these together at most, in MB.
        every_s: Drift is looked for in at most one photo per interval: neighbouring frames of a camera are too alike.
        say: Called with one line when something goes wrong.
        clock: Seconds since 1970.

    Raises:
        InputError: The folder contains other things, or another process writes to it.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        classifier: AnyClassifier,
        *,
        collect: int = 0,
        collect_mb: float = 200.0,
        every_s: float = 0.0,
        say: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._classifier = Path(folder), classifier
        self._collect, self._collect_bytes, self._every_s = collect, int(collect_mb * 1e6), every_s
        self._say, self._clock = say, clock
        self._random, self._orders = random.Random(), np.random.default_rng()
        self._lock = threading.Lock()
        self._jobs: queue.Queue[_Job] = queue.Queue(_WAITING)
        self._said, self._why_lost = set[str](), ""
        self._lost: Counter[str] = Counter()
        self._closed = False
        self._folder: Folder | None = None
        self._collection: Collection | None = None
        self._collecting_s, self._began = 0.0, time.monotonic()
        self._ordered_s = -math.inf
        try:
            self._open_folder()
        except OSError as error:
            self._tell("folder", f"nothing can be recorded: {reason(error)}")
        try:
            with classifier.hold() as one:
                self._watched = Watched(one.bundle, one.variant.name, Measures(one.bundle, one.variant.name))
                self._refer(one, self._watched)
        except BaseException:
            self._close_folder()
            raise
        self._hour = self._new_hour()
        self._batch = self._watched.measures.batch()
        self._due = -math.inf
        self._thread = threading.Thread(target=self._work, name="edgetl-monitor", daemon=True)
        self._thread.start()

    def classify(self, photo: PhotoLike, top: int = 5) -> Answer:
        """Classify a photo as :meth:`edgetl_device.Classifier.classify`, and watch it."""
        return self._classifier.classify(photo, top, observer=self)

    def answered(self, observed: Observed) -> None:
        """See a photo that was classified; raises nothing."""
        try:
            self._answered(observed)
        except Exception as error:
            self._tell("photos", f"a photo was not watched: {_in_one_line(error)}")

    def failed(self) -> None:
        """Count a photo that could not be classified."""
        with self._lock:
            self._hour.failed += 1

    def close(self) -> None:
        """Write the record of the part of the hour, and stop watching. Calling it again does nothing.

        It waits for the disk for 10 seconds at most.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            hour, batch = self._hour, self._batch
            hour.ended, hour.end, hour.until = "stop", self._clock(), time.monotonic()
        jobs: list[_Job] = [_Photos(hour, batch)] if batch.labels else []
        jobs += [hour, None]
        ends = time.monotonic() + _CLOSE_S
        with suppress(queue.Full):
            for job in jobs:
                self._jobs.put(job, timeout=max(0.0, ends - time.monotonic()))
        self._thread.join(max(0.0, ends - time.monotonic()))
        if self._thread.is_alive():
            self._tell("records", f"the last records are lost: {self._path} has not answered for {_CLOSE_S:g} s")

    def __enter__(self) -> Monitor:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()

    # In the threads that classify.

    def _answered(self, observed: Observed) -> None:
        watched = self._watched_by(observed.classifier)
        if watched is None:
            return
        with self._lock:
            if self._closed or watched is not self._watched:
                return
            self._end_hour_if_over()
            now, batch = time.monotonic(), self._batch
            counted = now >= self._due
            batch.add(observed, counted=counted)
            if counted:
                self._due = now + self._every_s
            if batch.is_full:
                self._hand_over()
            why = None
            if self._collection is not None:
                unknown = bool(is_unknown(observed.output.unknown_score))
                why = self._worth_keeping(self._collection, watched, batch.confidences[-1], unknown)
        if why is not None:
            self._suggest(watched, observed, why)

    def _watched_by(self, classifier: Classifier) -> Watched | None:
        """Return what is watched, after a change of the bundle the new one; None for a late photo of the old one."""
        if classifier.bundle is self._watched.bundle or classifier.bundle.digest == self._watched.bundle.digest:
            return self._watched
        if classifier.bundle.digest != self._classifier.bundle.digest:
            return None
        variant = classifier.variant.name
        watched = Watched(classifier.bundle, variant, Measures(classifier.bundle, variant))
        with self._lock:
            if classifier.bundle.digest != self._watched.bundle.digest:
                self._end_hour("bundle")
                self._watched = self._hour.watched = watched
                self._batch = watched.measures.batch()
            return self._watched

    def _worth_keeping(
        self, collection: Collection, watched: Watched, confidence: float, unknown: bool
    ) -> Reason | None:
        """Return why a photo is worth keeping, if it is. Call with the lock held."""
        if collection.drawn():
            return "random"
        if unknown:
            return "unknown"
        return "uncertain" if confidence < watched.uncertain else None

    def _suggest(self, watched: Watched, observed: Observed, why: Reason) -> None:
        """Let the thread decide whether to keep a photo, unless it is busy or has taken too much time already."""
        allowed_s = _COLLECTING_FIRST_S + _COLLECTING_SHARE * (time.monotonic() - self._began)
        if self._collecting_s > allowed_s or self._jobs.qsize() >= _WAITING_PHOTOS:
            return
        output = observed.output
        label = int(output.probabilities.argmax())
        candidate = Candidate(
            photo=frozen(observed.photo),
            pixels=observed.pixels,
            reason=why,
            hour=iso(self._clock() // _HOUR_S * _HOUR_S),
            bundle=watched.bundle.digest,
            spec=watched.bundle.preprocess,
            label=watched.bundle.labels[label],
            confidence=min(1.0, float(output.probabilities[label])),
            unknown_score=finite(output.unknown_score),
            place=(),
        )
        with suppress(queue.Full):
            self._jobs.put_nowait(_Suggested(watched, candidate, output.features))

    # Call these with the lock held.

    def _hand_over(self) -> None:
        batch, self._batch = self._batch, self._watched.measures.batch()
        if batch.labels and not self._put(_Photos(self._hour, batch)):
            self._lost["photos"] += len(batch.labels)

    def _new_hour(self) -> Hour:
        return Hour(self._watched, self._clock(), time.monotonic())

    def _end_hour_if_over(self) -> None:
        hour = self._hour
        # If the clock was set back within the hour, the hour may last for two.
        if int(self._clock() // _HOUR_S) != int(hour.start // _HOUR_S) or time.monotonic() - hour.since > _HOUR_S:
            self._end_hour("hour")

    def _end_hour(self, ended: Ended) -> None:
        self._hand_over()
        hour = self._hour
        hour.ended, hour.end, hour.until = ended, self._clock(), time.monotonic()
        self._hour = self._new_hour()
        if not self._put(hour):
            self._lost["records"] += 1

    def _put(self, job: _Job) -> bool:
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self._why_lost = "the monitor could not keep up"
            return False
        return True

    # In the thread of the monitor.

    def _work(self) -> None:
        read_s = -math.inf
        while True:
            wait_s = min(_TICK_S, _HOUR_S - self._clock() % _HOUR_S + 0.01)
            job: _Job | Literal["tick"] = "tick"
            with suppress(queue.Empty):
                job = self._jobs.get(timeout=wait_s)
            try:
                if time.monotonic() - read_s >= _TICK_S:
                    read_s = time.monotonic()
                    self._read_temperature()
                if job is None:
                    break
                if isinstance(job, _Photos):
                    self._measure(job.hour, job.batch)
                elif isinstance(job, Hour):
                    self._write(job)
                elif isinstance(job, _Suggested):
                    self._keep(job)
                else:
                    with self._lock:
                        if not self._closed:
                            self._end_hour_if_over()
                self._refer_new()
            except Exception as error:
                self._tell("watching", f"watching failed: {_in_one_line(error)}")
        if self._collection is not None:
            with suppress(OSError):
                self._collection.save()
        self._close_folder()

    def _read_temperature(self) -> None:
        found = temperature_c()
        with self._lock:
            self._hour.add_temperature(found)

    def _measure(self, hour: Hour, batch: Batch) -> None:
        watched = hour.watched
        rows = watched.measures.rows(batch)
        finite_rows = np.asarray(np.isfinite(rows).all(axis=1))
        hour.count(batch, rows, finite_rows, self._random)
        if watched.test is None:
            return
        for place in np.flatnonzero(finite_rows & np.array(batch.counted)):
            watched.rows.append(rows[place])
            watched.classes.append(batch.labels[place])
            if len(watched.rows) == WINDOW:
                self._test(hour, watched, np.array(watched.rows), np.array(watched.classes))
                watched.rows, watched.classes = [], []

    def _test(self, hour: Hour, watched: Watched, rows: Floats, classes: npt.NDArray[np.int64]) -> None:
        if watched.test is None or watched.reference is None:
            return
        test, tested = watched.test.next(rows)
        shift = min(test.shifts(tested), key=lambda one: one.p)
        hour.windows += 1
        is_alarm = shift.p <= FALSE_ALARM_RATE
        hour.alarms += is_alarm
        if hour.smallest is not None and hour.smallest.p <= shift.p:
            return
        hour.smallest, hour.same_classes_p = shift, None
        # It takes some ten milliseconds.
        if is_alarm and time.monotonic() - self._ordered_s > _TICK_S:
            self._ordered_s = time.monotonic()
            hour.same_classes_p = test.same_groups_p(
                tested[:, shift.feature], shift.feature, watched.reference.classes, classes, self._orders
            )

    def _refer_new(self) -> None:
        """Give a bundle that has been installed meanwhile its reference."""
        with self._lock:
            watched = self._watched
        if not watched.tried:
            with self._classifier.hold() as one:
                self._refer(one, watched)

    def _refer(self, classifier: Classifier, watched: Watched) -> None:
        """Give a bundle its reference, which is kept in the folder."""
        if classifier.bundle.digest != watched.bundle.digest:
            return
        watched.tried = True
        if watched.bundle.truth == "model":
            watched.why = "the bundle has no photos: drawn pictures are not like those of the field"
            return
        try:
            reference, document = reference_of(classifier, watched.measures, self._path / REFERENCE)
        except (EdgetlError, OSError) as error:
            watched.why = "the held-out photos could not be classified"
            self._tell("reference", f"{watched.why}: {reason(error)}")
            return
        if len(reference.rows) < MIN_REFERENCE:
            watched.why = f"the bundle has {len(reference.rows)} held-out photos, fewer than {MIN_REFERENCE}"
            return
        watched.reference = reference
        watched.uncertain = float(np.quantile(reference.rows[:, CONFIDENCE], _UNCERTAIN_SHARE))
        watched.test = watched.measures.test(reference.rows, WINDOW)
        if document is not None and self._folder is not None:
            try:
                documents.write(self._path / REFERENCE, document)
            except OSError as error:
                self._tell("reference", f"the reference is not kept: {reason(error)}")

    def _keep(self, suggested: _Suggested) -> None:
        started_s = time.thread_time()
        try:
            if self._collection is not None:
                place = suggested.watched.measures.place(suggested.features, suggested.candidate.pixels)
                self._collection.add(replace(suggested.candidate, place=place))
        except Exception as error:  # an image of any kind, from any source
            self._lose("unkept", f"a photo worth labelling is not kept: {_in_one_line(error)}", error)
        finally:
            self._collecting_s += time.thread_time() - started_s

    def _write(self, hour: Hour) -> None:
        if hour.ended != "hour" and not hour.photos and not hour.failed:
            return
        with self._lock:
            lost, why = Counter(self._lost), self._why_lost
            self._lost.clear()
        not_written = Lost(lost["records"], lost["photos"], lost["unkept"], why) if lost.total() else None
        try:
            if self._folder is None:
                self._open_folder()
            elif self._collect and self._collection is None:
                self._open_collection()
            if self._folder is not None:
                collected = self._collection.summary() if self._collection else None
                self._folder.append(iso(hour.start)[:10], line_of(hour.record(collected, not_written)))
            self._said.clear()
        except (EdgetlError, OSError) as error:
            with self._lock:
                self._lost.update(lost)
            self._lose("records", f"a record is lost: {reason(error)}", error)

    def _open_folder(self) -> None:
        """Open the folder, and the photos in it; raises as :meth:`Folder.open`."""
        self._folder = Folder.open(self._path)
        if self._collect:
            self._open_collection()

    def _open_collection(self) -> None:
        try:
            self._collection = Collection(self._path, self._collect, self._collect_bytes)
        except (EdgetlError, OSError) as error:
            self._tell("collection", f"no photos are kept: {reason(error)}")
            return
        if self._collection.removed:
            self._tell("fewer", f"{self._collection.removed} photos were removed: fewer are to be kept than before")

    def _close_folder(self) -> None:
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _lose(self, what: str, said: str, error: Exception) -> None:
        with self._lock:
            self._lost[what] += 1
            self._why_lost = recorded_reason(error)
        self._tell(what, said)

    def _tell(self, kind: str, text: str) -> None:
        """Say something of a kind once, until a record could be written again."""
        if kind not in self._said:
            self._said.add(kind)
            # Standard error may be on the full disk, too.
            with suppress(OSError, ValueError):
                self._say(f"monitor: {text}")


@contextmanager
def monitored(
    classifier: AnyClassifier, options: MonitorOptions, *, frames: bool, say: Callable[[str], None]
) -> Iterator[Monitor | None]:
    """Yield the monitor that a command line asks for, if any. SIGTERM then interrupts, so that the record is written.

    Args:
        classifier: What is watched.
        options: What was asked.
        frames: Whether it classifies the frames of a camera or a video.
        say: As for :class:`Monitor`.
    """
    if options.monitor is None:
        yield None
        return
    every_s = (FRAMES_EVERY_S if frames else 0.0) if options.count_every is None else options.count_every
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Monitor(
            options.monitor,
            classifier,
            collect=options.collect,
            collect_mb=options.collect_mb,
            every_s=every_s,
            say=say,
        ) as monitor:
            yield monitor
    finally:
        signal.signal(signal.SIGTERM, before)


def _in_one_line(error: Exception) -> str:
    return reason(error) if isinstance(error, EdgetlError | OSError) else repr(error)
