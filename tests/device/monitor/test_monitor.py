"""Watching a classifier: what a record says, and that nothing that goes wrong reaches who classifies."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetl_device import Bundle, Classifier
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Unknown
from edgetl_device.classifier import Observed, Output
from edgetl_device.errors import InputError
from edgetl_device.live.stream import classify_frames, classify_photos
from edgetl_device.monitor import Drift, Monitor, MonitorRecord, read_records
from edgetl_device.monitor.hour import FALSE_ALARM_RATE, WINDOW
from edgetl_device.monitor.options import MonitorOptions
from edgetl_device.monitor.record import MAX_DAYS, line_of
from edgetl_device.monitor.watching import monitored

GOLDEN = Path(__file__).parents[2] / "golden"
PHOTOS = sorted((GOLDEN / "photos").glob("*.jpg"))
HOUR = 3600.0
START = 1_800_000_000.0  # 2027-01-15 08:00


@pytest.fixture(scope="module")
def classifier(tiny: Bundle) -> Iterator[Classifier]:
    with Classifier(tiny) as opened:
        yield opened


class Clock:
    def __init__(self) -> None:
        self.now = START + 600

    def __call__(self) -> float:
        return self.now


def only(folder: Path) -> MonitorRecord:
    found = read_records(folder)
    assert not found.problems
    (record,) = found.records
    return record


def eventually(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_record_says_what_was_seen(classifier: Classifier, tmp_path: Path) -> None:
    said: list[str] = []
    with Monitor(tmp_path / "field", classifier, say=said.append, clock=Clock()) as monitor:
        for photo in PHOTOS:
            assert monitor.classify(photo, top=1) == classifier.classify(photo, top=1)
        with pytest.raises(InputError):
            monitor.classify(b"no photo")
        grey = Image.new("RGB", (50, 50), (60, 60, 60))
        monitor.classify(grey)
    record = only(tmp_path / "field")
    assert (record.start, record.ended, record.variant) == ("2027-01-15T08:10:00+00:00", "stop", "int8")
    assert (record.photos, record.failed) == (len(PHOTOS) + 1, 1)
    assert record.bundle.digest == classifier.bundle.digest
    assert sum(record.classes.values()) == record.photos
    assert set(record.classes) <= set(classifier.labels)
    assert record.confidence is not None
    assert 0.3 < record.confidence.p05 <= record.confidence.p50 <= record.confidence.p95 <= 1
    assert record.brightness is not None
    assert record.sharpness is not None
    assert record.brightness.p05 < 100 < record.brightness.mean
    assert record.latency_ms is not None
    assert record.latency_ms.mean > 0
    assert isinstance(record.unknown, Unknown)
    # Without a feature bank it says what drift is looked for in.
    assert isinstance(record.drift, Drift)
    assert (record.drift.bank, record.drift.features) == (False, ("confidence", "brightness", "sharpness"))
    assert (record.drift.reference, record.drift.windows, record.drift.p) == (12, 0, None)
    assert record.lost is None
    assert record.collected is None
    assert said == []


def test_drift_is_noticed_and_named(classifier: Classifier, tmp_path: Path) -> None:
    held_out = [classifier.bundle.read(photo.file) for photo in classifier.bundle.photos()]
    arrays = [classifier.pixels(data) for data in held_out]
    for name, darker in (("quiet", 1.0), ("dark", 0.5)):
        with Monitor(tmp_path / name, classifier) as monitor:
            for number in range(WINDOW):
                monitor.classify((arrays[number % 12] * darker).astype(np.uint8))
    quiet, dark = only(tmp_path / "quiet").drift, only(tmp_path / "dark").drift
    assert isinstance(quiet, Drift)
    assert isinstance(dark, Drift)
    assert (quiet.windows, quiet.alarms) == (1, 0)
    assert (dark.windows, dark.alarms) == (1, 1)
    assert dark.p is not None
    assert dark.p <= FALSE_ALARM_RATE == dark.false_alarm_rate
    assert dark.shift is not None
    assert (dark.shift.feature, dark.shift.direction, dark.shift.in_window) == ("brightness", "below", WINDOW)
    assert dark.shift.same_classes_p is not None


def test_the_reference_is_computed_once(classifier: Classifier, tmp_path: Path) -> None:
    runs: list[int] = []

    class Counting(Classifier):
        def run_observed(self, pixels: np.ndarray) -> Output:
            runs.append(1)
            return super().run_observed(pixels)

    with Counting(classifier.bundle) as counting:
        for expected in (12, 12):
            with Monitor(tmp_path, counting):
                assert len(runs) == expected
        (tmp_path / "reference.json").write_text("{}")
        with Monitor(tmp_path, counting):
            assert len(runs) == 24


def test_neighbouring_frames_count_once(classifier: Classifier, tmp_path: Path) -> None:
    with Monitor(tmp_path, classifier, every_s=60) as monitor:
        for _ in range(2 * WINDOW):
            monitor.classify(PHOTOS[0])
    record = only(tmp_path)
    assert record.photos == 2 * WINDOW
    assert isinstance(record.drift, Drift)
    assert record.drift.windows == 0


def test_an_hour_is_a_line_and_a_day_a_file(classifier: Classifier, tmp_path: Path) -> None:
    clock = Clock()
    with Monitor(tmp_path, classifier, clock=clock) as monitor:
        for hours in (0, 0.5, 1, 1.2, 16):
            clock.now = START + 600 + hours * HOUR
            monitor.classify(PHOTOS[0])
            eventually(monitor._jobs.empty)
    found = read_records(tmp_path)
    assert [(one.start[:16], one.photos, one.ended) for one in found.records] == [
        ("2027-01-15T08:10", 2, "hour"),
        ("2027-01-15T09:10", 2, "hour"),
        ("2027-01-16T00:10", 1, "stop"),
    ]
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["2027-01-15.jsonl", "2027-01-16.jsonl"]
    assert all(one.seconds < 60 for one in found.records)
    # The clock of the device was an hour ahead of the time that went by.
    assert found.records[0].clock_moved_s == pytest.approx(HOUR, abs=60)


def test_a_clock_that_goes_back_ends_the_hour(classifier: Classifier, tmp_path: Path) -> None:
    clock = Clock()
    with Monitor(tmp_path, classifier, clock=clock) as monitor:
        monitor.classify(PHOTOS[0])
        clock.now -= 40 * HOUR
        monitor.classify(PHOTOS[0])
    first, second = read_records(tmp_path).records[::-1]
    assert (first.start[:13], second.start[:13]) == ("2027-01-15T08", "2027-01-13T16")
    assert first.clock_moved_s == pytest.approx(-40 * HOUR, abs=60)
    assert second.clock_moved_s is None


def test_a_restart_goes_on_with_a_new_line(classifier: Classifier, tmp_path: Path) -> None:
    for _ in range(2):
        with Monitor(tmp_path, classifier, clock=Clock()) as monitor:
            monitor.classify(PHOTOS[0])
    with Monitor(tmp_path, classifier, clock=Clock()):
        pass  # without photos there is nothing to say
    assert [one.photos for one in read_records(tmp_path).records] == [1, 1]


def test_a_line_that_the_power_cut_is_removed(classifier: Classifier, tmp_path: Path) -> None:
    with Monitor(tmp_path, classifier, clock=Clock()) as monitor:
        monitor.classify(PHOTOS[0])
    file = tmp_path / "2027-01-15.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:100])
    assert "is not complete" in read_records(tmp_path).problems[0]
    assert len(read_records(tmp_path).records) == 1
    with Monitor(tmp_path, classifier, clock=Clock()) as monitor:
        monitor.classify(PHOTOS[0])
    found = read_records(tmp_path)
    assert (len(found.records), found.problems) == (2, ())


def test_hostile_lines_are_problems_and_the_others_are_read(classifier: Classifier, tmp_path: Path) -> None:
    with Monitor(tmp_path, classifier, clock=Clock()) as monitor:
        monitor.classify(PHOTOS[0])
    (record,) = read_records(tmp_path).records
    good = line_of(record)
    document = json.loads(good)
    bad = {
        b"\xff\xfe": "not valid JSON",
        b"[" * 100_000: "not valid JSON",
        b'{"schema": "edgetl.run/1"}': "expected 'edgetl.monitor/1'",
        json.dumps(document | {"schema": "edgetl.monitor/2"}).encode(): "which this edgetl cannot read",
        json.dumps(document | {"photos": -1}).encode(): "photos is -1",
        json.dumps(document | {"photos": 10**30}).encode(): "64 bits",
        json.dumps(document | {"photos": math.nan}).encode(): "NaN",
        json.dumps(document | {"classes": {"a": "b"}}).encode(): "classes",
        b" " * (2 << 20): "longer than",
    }
    file = tmp_path / "2027-01-15.jsonl"
    file.write_bytes(b"".join(line + b"\n" + good for line in bad))
    found = read_records(tmp_path)
    assert found.records == (record,) * len(bad)
    for problem, part in zip(found.problems, bad.values(), strict=True):
        assert part in problem
    file.write_bytes(b"\n" * 50_000)
    assert len(read_records(tmp_path).problems) == 100
    file.write_bytes(b"x" * (5 << 20))
    assert "is larger than" in read_records(tmp_path).problems[0]
    file.unlink()
    os.mkfifo(file)
    assert "is a pipe" in read_records(tmp_path).problems[0]
    with pytest.raises(InputError, match="no such folder"):
        read_records(tmp_path / "none")


def test_a_folder_of_other_things_is_refused(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"contains other things than records\nsuch as 'mine\.txt'"):
        Monitor(tmp_path, classifier)
    with pytest.raises(InputError, match="is not a folder"):
        Monitor(tmp_path / "mine.txt", classifier)
    (tmp_path / "field").mkdir()
    with Monitor(tmp_path / "field", classifier):
        pass
    (tmp_path / "field" / "mine.txt").write_text("mine")
    with Monitor(tmp_path / "field", classifier, collect=3):
        pass
    assert (tmp_path / "field" / "mine.txt").read_text() == "mine"


def test_two_processes_do_not_write_to_one_folder(classifier: Classifier, tmp_path: Path, tiny_file: Path) -> None:
    command = [sys.executable, "-m", "edgetl_device", "classify", tiny_file, PHOTOS[0], "--monitor", tmp_path]
    with Monitor(tmp_path, classifier):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 2
        assert "another process writes its records there" in done.stderr
    assert subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0
    assert only(tmp_path).photos == 1


def test_only_the_oldest_own_days_are_removed(classifier: Classifier, tmp_path: Path) -> None:
    with Monitor(tmp_path, classifier, clock=Clock()) as monitor:
        monitor.classify(PHOTOS[0])
    line = (tmp_path / "2027-01-15.jsonl").read_bytes()
    for year in range(1600, 1600 + MAX_DAYS):
        (tmp_path / f"{year}-01-01.jsonl").write_bytes(b"mine\n" if year == 1600 else line)
    clock = Clock()
    clock.now += 24 * HOUR
    with Monitor(tmp_path, classifier, clock=clock) as monitor:
        monitor.classify(PHOTOS[0])
    left = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert left[0] == "1600-01-01.jsonl"
    assert left[1] == "1602-01-01.jsonl"
    assert left[-1] == "2027-01-16.jsonl"


FULL = """
import resource, sys, time
from pathlib import Path
from edgetl_device import Classifier
from edgetl_device.monitor import Monitor, read_records

bundle, photo, folder = sys.argv[1:]
now = [1_800_000_000.0]
with Classifier(bundle) as classifier, Monitor(folder, classifier, say=print, clock=lambda: now[0]) as monitor:
    def hour():
        answer = monitor.classify(photo)
        now[0] += 3600
        monitor.classify(photo)
        time.sleep(0.3)
        return answer[0].label
    assert hour() == "circle"
    whole = next(Path(folder).glob("*.jsonl")).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, limits[1]))
    assert hour() == "circle" and hour() == "circle"
    assert next(Path(folder).glob("*.jsonl")).read_bytes() == whole
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert hour() == "circle"
"""


@pytest.mark.no_cover
def test_a_full_disk_loses_records_and_no_answers(tiny_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tiny_file), str(PHOTOS[0]), str(tmp_path / "field")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert len(lines) == 1
    assert "a record is lost" in lines[0]
    assert "could not be written" in lines[0]
    found = read_records(tmp_path / "field")
    assert found.problems == ()
    assert [one.lost.records if one.lost else 0 for one in found.records] == [0, 2, 0]
    assert found.records[1].lost is not None
    # Records travel: they name no path.
    assert found.records[1].lost.why == "No space left on device"
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in (tmp_path / "field").glob("*.json*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said_once(classifier: Classifier, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    said: list[str] = []
    with Monitor(tmp_path / "field", classifier, say=said.append) as monitor:
        assert monitor.classify(PHOTOS[0])[0].label == "circle"
    tmp_path.chmod(0o700)
    assert "nothing can be recorded" in said[0]


def test_a_place_that_is_no_folder_is_said_and_photos_are_classified(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said: list[str] = []
    with Monitor(tmp_path / "file" / "field", classifier, say=said.append) as monitor:
        assert monitor.classify(PHOTOS[0])[0].label == "circle"
    assert "nothing can be recorded" in said[0]
    assert "a record is lost" in said[1]


def test_what_goes_wrong_in_watching_is_said_and_not_raised(classifier: Classifier, tmp_path: Path) -> None:
    said: list[str] = []
    with Monitor(tmp_path, classifier, say=said.append) as monitor:
        pixels = classifier.pixels(PHOTOS[0])
        output = classifier.run_observed(pixels)
        for odd in (None, np.zeros(0)):
            monitor.answered(Observed(classifier, PHOTOS[0], odd, output, 1.0))  # type: ignore[arg-type]
        monitor.classify(PHOTOS[0])
    # Each kind of fault is one line, until a record could be written.
    assert len(said) == 1
    assert "a photo was not watched" in said[0]
    assert only(tmp_path).photos == 1


def test_a_model_of_nan_is_counted(nan_bundle: Path, tmp_path: Path) -> None:
    with Classifier(nan_bundle, "float32") as broken:
        said: list[str] = []
        with Monitor(tmp_path / "field", broken, say=said.append) as monitor:
            for photo in PHOTOS[:2]:
                with pytest.raises(InputError, match="NaN"):
                    monitor.classify(photo)
    record = only(tmp_path / "field")
    assert (record.photos, record.failed, record.confidence) == (0, 2, None)
    assert isinstance(record.drift, Unknown)
    assert "could not be classified" in record.drift.unknown
    assert len(said) == 1


def test_streams_are_watched(classifier: Classifier, tmp_path: Path) -> None:
    class Frames:
        description = "two frames"
        live = False

        def __init__(self) -> None:
            self.place = -1

        def grab(self) -> float | None:
            self.place += 1
            if self.place == 1:
                raise InputError("a frame cannot be decoded")
            return float(self.place) if self.place < 3 else None

        def pixels(self) -> np.ndarray:
            return np.full((40, 60, 3), 90, np.uint8)

        def close(self) -> None:
            pass

    with Monitor(tmp_path, classifier) as monitor:
        assert len(list(classify_photos(classifier, [*PHOTOS[:3], tmp_path / "gone.jpg"], observer=monitor))) == 4
        assert len(list(classify_frames(classifier, Frames(), observer=monitor))) == 3
    record = only(tmp_path)
    assert (record.photos, record.failed) == (5, 2)


def test_many_threads_lose_no_photo(classifier: Classifier, tmp_path: Path) -> None:
    pixels = [classifier.pixels(photo) for photo in PHOTOS]
    with Monitor(tmp_path, classifier) as monitor:
        threads = [
            threading.Thread(target=lambda: [monitor.classify(pixels[i % len(pixels)]) for i in range(150)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    record = only(tmp_path)
    assert record.photos == sum(record.classes.values()) == 600
    assert isinstance(record.drift, Drift)
    assert record.drift.windows == 6


def test_memory_does_not_grow_with_photos(classifier: Classifier, tmp_path: Path) -> None:
    pixels = classifier.pixels(PHOTOS[0])
    seen = Observed(classifier, pixels, pixels, classifier.run_observed(pixels), 1.0)
    clock = Clock()

    def watch(photos: int) -> int:
        for number in range(photos):
            monitor.answered(seen)
            clock.now += 60
            if number % 100 == 0:
                eventually(monitor._jobs.empty)
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    with Monitor(tmp_path, classifier, collect=12, clock=clock) as monitor:
        before = watch(3_000)
        assert watch(12_000) - before < 4 << 20
    found = read_records(tmp_path)
    assert sum(one.photos for one in found.records) == 15_000
    assert len(found.records) == 251


def test_the_command_writes_its_record_when_it_is_terminated(tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "a.jpg").write_bytes(PHOTOS[0].read_bytes())
    command = [
        sys.executable,
        "-m",
        "edgetl_device",
        "classify",
        tiny_file,
        "--watch",
        tmp_path / "inbox",
        "--existing",
    ]
    with subprocess.Popen([*command, "--monitor", tmp_path / "field"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["label"] == "circle"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 130
    assert only(tmp_path / "field").photos == 1


def test_options_without_effect_are_refused(classifier: Classifier, tmp_path: Path) -> None:
    for options in ({"collect": 5}, {"count_every": 1.0}):
        with pytest.raises(InputError, match="without monitor"):
            MonitorOptions(**options)  # type: ignore[arg-type]
    with monitored(classifier, MonitorOptions(), frames=True, say=print) as nothing:
        assert nothing is None
    with monitored(classifier, MonitorOptions(monitor=str(tmp_path)), frames=True, say=print) as monitor:
        assert monitor is not None
        assert monitor._every_s == 10


def test_records_are_read_as_they_were_written(classifier: Classifier, tmp_path: Path) -> None:
    with Monitor(tmp_path, classifier) as monitor:
        monitor.classify(PHOTOS[0])
    record = only(tmp_path)
    assert documents.parse(MonitorRecord, line_of(record), name="line") == record
    assert replace(record, photos=2) != record
