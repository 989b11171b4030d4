"""What watching in the field costs, how often it raises a false alarm, and how soon it notices that something changed.

RUN must be quantized with --unknown. QUIET has photos of its classes that neither training nor the bundle saw; each NEW
has photos of something else. Prints Markdown, and with --out writes JSON.

Example: python benchmarks/field.py --bundle run/bundle --quiet photos/ --new waste=../shared/data/waste/test
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from edgetl_device import Classifier
from edgetl_device._lib.documents import to_json
from edgetl_device._lib.folders import PHOTO_SUFFIXES, files_below
from edgetl_device._lib.jsonfile import write_json
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.classifier import Observed, Output
from edgetl_device.machine import environment
from edgetl_device.monitor import Monitor, read_records
from edgetl_device.monitor.drift import Shift, StreamTest
from edgetl_device.monitor.hour import FALSE_ALARM_RATE, WINDOW
from edgetl_device.monitor.measures import Measures, reference_of
from edgetl_device.preprocess import decode

Rows = npt.NDArray[np.float64]

_WINDOWS, _FIXED_REFERENCES, _FIXED_WINDOWS = 10_000, 200, 200
_STREAMS, _LONGEST = 200, 2_000
_LONG, _FIRST = 200_000, 20_000
_COST_ROUNDS = 10
# Photos of a new class among those of the known ones.
_SHARES = (1.0, 0.3, 0.1)
_RATE = "false alarms per window"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--variant", default="int8")
    parser.add_argument("--quiet", type=Path, required=True, metavar="DIR", help="more photos of the known classes")
    parser.add_argument("--new", nargs="*", default=[], metavar="NAME=DIR", help="photos of something else")
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random = np.random.default_rng(given.seed)
    with Classifier(given.bundle, given.variant) as classifier:
        measures = Measures(classifier.bundle, given.variant)
        reference, _ = reference_of(classifier, measures, Path("/nonexistent"))
        known = photos_below(given.quiet)
        quiet = rows_of(classifier, measures, known, lambda photo: photo)
        document: dict[str, Any] = {
            "schema": "edgetl.field-benchmark/1",
            "environment": to_json(environment.describe()),
            "window": WINDOW,
            "stated": FALSE_ALARM_RATE,
            "features": list(measures.tested),
            "reference_photos": len(reference.rows),
            "quiet_photos": len(quiet),
            "false_alarms": false_alarms(measures, reference.rows, quiet, random),
            "delays": [],
        }
        say(document["false_alarms"])
        for name, change in CHANGES.items():
            changed = rows_of(classifier, measures, known, change)
            document["delays"].append({"change": name, **delays(measures, reference.rows, quiet, changed, 1.0, random)})
            say(document["delays"][-1])
        for pair in given.new:
            name, _, folder = pair.partition("=")
            new = rows_of(classifier, measures, photos_below(Path(folder)), lambda photo: photo)
            for share in _SHARES:
                row = delays(measures, reference.rows, quiet, new, share, random)
                document["delays"].append({"change": f"{name}, {100 * share:.0f}% of the photos", **row})
                say(document["delays"][-1])
        document["cost"] = cost(classifier, known)
        say(document["cost"])
        document["flat"] = flat(classifier, given.variant, random)
    print(markdown(document))
    if given.out:
        write_json(given.out, document)


def say(part: object) -> None:
    """Show that it goes on."""
    sys.stderr.write(f"{part}\n")


def photos_below(folder: Path) -> list[Path]:
    """Return the photos at any depth of a folder."""
    return [path for path in files_below(folder) if path.name.lower().endswith(PHOTO_SUFFIXES)]


def rows_of(
    classifier: Classifier, measures: Measures, photos: list[Path], change: Callable[[Image.Image], Image.Image]
) -> Rows:
    """Return the features of photos after a change, as the device measures them."""
    rows = []

    class Collecting:
        def answered(self, observed: Observed) -> None:
            batch = measures.batch()
            batch.add(observed)
            rows.append(measures.rows(batch)[0])

        def failed(self) -> None:
            raise RuntimeError("a photo was not read")

    for path in photos:
        photo = change(decode(path, classifier.bundle.preprocess))
        classifier.classify(photo, observer=Collecting())
    return np.array(rows)


def _part(photo: Image.Image, left: float, top: float, size: float) -> Image.Image:
    width, height = photo.size
    right, bottom = (left + size) * width, (top + size) * height
    return photo.crop((round(left * width), round(top * height), round(right), round(bottom)))


# In photos as they are decoded, before they are resized.
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "nothing": lambda photo: photo,
    "light: 80%": lambda photo: photo.point(lambda value: 0.8 * value),
    "light: 50%": lambda photo: photo.point(lambda value: 0.5 * value),
    "blur: a Gaussian of 0.5% of the width": lambda photo: photo.filter(ImageFilter.GaussianBlur(0.005 * photo.width)),
    "blur: a Gaussian of 2% of the width": lambda photo: photo.filter(ImageFilter.GaussianBlur(0.02 * photo.width)),
    "camera: sees the upper left 80% of each side": lambda photo: _part(photo, 0, 0, 0.8),
    "camera: sees the upper left 60% of each side": lambda photo: _part(photo, 0, 0, 0.6),
    "camera: turned by 20 degrees": lambda photo: _part(photo.rotate(20, Image.Resampling.BILINEAR), 0.15, 0.15, 0.7),
}


def false_alarms(measures: Measures, reference: Rows, quiet: Rows, random: np.random.Generator) -> dict[str, Any]:
    """Count false alarms where the hypothesis is true by construction.

    For each of 10,000 windows the reference, the window before and the window are drawn without replacement from all
    photos that were not trained on. Then how the rate differs between references, which a board keeps: with drawn
    values.
    """
    pool = np.concatenate([reference, quiet])
    size = min(len(reference), len(pool) - 2 * WINDOW)
    alarms = 0
    for _ in range(_WINDOWS):
        order = random.permutation(len(pool))
        test = measures.test(pool[order[:size]], WINDOW)
        test.next(pool[order[size : size + WINDOW]])
        alarms += bool(alarm(test, pool[order[size + WINDOW : size + 2 * WINDOW]]))
    spread, rates = pool.std(axis=0), []
    for _ in range(_FIXED_REFERENCES):
        test = measures.test(spread * random.normal(size=reference.shape), WINDOW)
        windows = (spread * random.normal(size=(WINDOW, reference.shape[1])) for _ in range(_FIXED_WINDOWS))
        rates.append(sum(bool(alarm(test, window)) for window in windows) / _FIXED_WINDOWS)
    ordered = np.sort(rates)
    return {
        "windows": _WINDOWS,
        "reference_photos": size,
        "alarms": alarms,
        "rate": alarms / _WINDOWS,
        "ci95": list(wilson95(alarms, _WINDOWS)),
        "by_reference": {
            "references": _FIXED_REFERENCES,
            "windows_each": _FIXED_WINDOWS,
            "mean": float(ordered.mean()),
            "without_any": float((ordered == 0).mean()),
            "over_1_in_100": float((ordered > 0.01).mean()),
            "largest": float(ordered[-1]),
        },
    }


def alarm(test: StreamTest, window: Rows) -> Shift | None:
    """Return the alarm that a window raises, if any."""
    prepared, tested = test.next(window)
    shift = min(prepared.shifts(tested), key=lambda one: one.p)
    return shift if shift.p <= FALSE_ALARM_RATE else None


def delays(
    measures: Measures, reference: Rows, quiet: Rows, changed: Rows, share: float, random: np.random.Generator
) -> dict[str, Any]:
    """Return how many photos after a change the first alarm is, when the change comes anywhere in a window."""
    found, features = [], []
    for _ in range(_STREAMS):
        test, first, photos = measures.test(reference, WINDOW), int(random.integers(WINDOW)), 0
        test.next(some(quiet, WINDOW, random))
        while photos <= _LONGEST:
            is_new = (np.arange(WINDOW) >= first) & (random.random(WINDOW) < share)
            window = some(quiet, WINDOW, random)
            window[is_new] = some(changed, int(is_new.sum()), random)
            photos, first = photos + WINDOW - first, 0
            if shift := alarm(test, window):
                found.append(photos)
                features.append(measures.tested[shift.feature])
                break
    result: dict[str, Any] = {"streams": _STREAMS, "noticed": len(found) / _STREAMS, "within": _LONGEST}
    if found:
        result |= {f"p{percent}": float(np.percentile(found, percent)) for percent in (50, 90)}
        result["feature"] = max(set(features), key=features.count)
    return result


def some(rows: Rows, count: int, random: np.random.Generator) -> Rows:
    """Return rows in a random order, each once as long as there are enough."""
    orders = [random.permutation(len(rows)) for _ in range(-(-count // len(rows)) or 1)]
    return np.asarray(rows[np.concatenate(orders)[:count]])


def cost(classifier: Classifier, photos: list[Path]) -> dict[str, Any]:
    """Return the milliseconds of CPU that photos take from JPEG to answer, and the monitor beside them.

    Clocks of the two threads are read, which other programs change little: that of the thread that classifies around
    the monitor, and that of the monitor's own thread.
    """
    files = [path.read_bytes() for path in photos]
    result: dict[str, Any] = {"photos": _COST_ROUNDS * len(files)}
    for name, collect in (("watching", 0), ("collecting", 200)):
        with tempfile.TemporaryDirectory() as scratch, Monitor(Path(scratch), classifier, collect=collect) as monitor:
            observer = Timed(monitor)
            own = time.pthread_getcpuclockid(monitor._thread.ident or 0)
            started, wall = time.thread_time(), time.monotonic()
            for data in files * _COST_ROUNDS:
                classifier.classify(data, observer=observer)
            thread_s = time.clock_gettime(own)
            photo_s = time.thread_time() - started - observer.seconds
            result[name] = {
                "photo_ms": round(1e3 * photo_s / result["photos"], 4),
                "photo_by_the_clock_ms": round(1e3 * (time.monotonic() - wall) / result["photos"], 4),
                "answered_ms": round(1e3 * observer.seconds / result["photos"], 4),
                "thread_ms": round(1e3 * thread_s / result["photos"], 4),
                "share": round((observer.seconds + thread_s) / photo_s, 5),
            }
    return result


class Timed:
    """A monitor, and the CPU time that it takes of the thread that classifies."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor, self.seconds = monitor, 0.0

    def answered(self, observed: Observed) -> None:
        """See a photo."""
        started = time.thread_time()
        self._monitor.answered(observed)
        self.seconds += time.thread_time() - started

    def failed(self) -> None:
        """Count a photo."""
        self._monitor.failed()


def flat(classifier: Classifier, variant: str, random: np.random.Generator) -> dict[str, Any]:
    """Return memory and disk after 20,000 and 200,000 photos with drawn features, one every 18 seconds by the clock."""
    bundle, shape = classifier.bundle, classifier.bundle.preprocess.size.shape
    scorer = bundle.unknown_scorer(variant)
    features = len(scorer.bank.mean) if scorer else 0
    pictures = [random.integers(256, size=shape, dtype=np.uint8) for _ in range(50)]
    now = [1.8e9]
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "field"
        with Monitor(folder, classifier, collect=100, collect_mb=5, clock=lambda: now[0]) as monitor:
            spent = 0.0
            for number in range(1, _LONG + 1):
                probabilities = random.dirichlet(np.ones(len(bundle.labels))).astype(np.float32)
                drawn = np.abs(random.normal(size=features)).astype(np.float32) if features else None
                output = Output(probabilities, float(random.random() * 1.2) if features else None, drawn)
                observed = Observed(classifier, pictures[number % 50], pictures[number % 50], output, 4.0)
                started = time.thread_time()
                monitor.answered(observed)
                spent += time.thread_time() - started
                now[0] += 18
                if number % 200 == 0:
                    time.sleep(0.001)  # so that the thread can write: no photo takes 0.1 ms
                if number in (_FIRST, _LONG):
                    result[f"after_{number}"] = {"rss_mb": round(rss_bytes() / 1e6, 1)}
            result["answered_us"] = round(1e6 * spent / _LONG, 1)
        read = read_records(folder)
        result |= {
            "records": len(read.records),
            "problems": len(read.problems),
            "photos": sum(record.photos for record in read.records),
            "lost_records": sum(record.lost.records for record in read.records if record.lost),
            "days": len(list(folder.glob("*.jsonl"))),
            "bytes_of_records": sum(path.stat().st_size for path in folder.glob("*.jsonl")),
            "kept_photos": len(list((folder / "photos").iterdir())),
            "bytes_of_photos": sum(path.stat().st_size for path in (folder / "photos").iterdir()),
        }
    return result


def rss_bytes() -> int:
    """Return the memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def markdown(document: dict[str, Any]) -> str:
    """Return the figures as tables."""
    quiet, cost, flat = document["false_alarms"], document["cost"], document["flat"]
    by = quiet["by_reference"]
    lines = [
        f"reference {document['reference_photos']} photos, quiet {document['quiet_photos']}, window {WINDOW}",
        "",
        f"| {_RATE} | stated | measured |",
        "|---|---|---|",
        f"| {quiet['windows']:,} windows, reference of {quiet['reference_photos']} drawn anew for each "
        f"| {FALSE_ALARM_RATE:g} | {quiet['rate']:.4f} ({quiet['ci95'][0]:.4f} to {quiet['ci95'][1]:.4f}) |",
        f"| by reference, drawn values: mean of {by['references']} | {FALSE_ALARM_RATE:g} | {by['mean']:.4f}; "
        f"none in {by['without_any']:.0%}, over 0.01 in {by['over_1_in_100']:.1%}, at most {by['largest']:.3f} |",
        "",
        "| change | noticed within 2,000 photos | photos until then: median | 90% | mostly by |",
        "|---|---|---|---|---|",
    ]
    for row in document["delays"]:
        times = f"{row['p50']:.0f} | {row['p90']:.0f} | {row['feature']}" if "p50" in row else "- | - | -"
        lines.append(f"| {row['change']} | {row['noticed']:.0%} | {times} |")
    lines += [
        "",
        f"| CPU, ms, means of {cost['photos']:,} photos | a photo | monitor, beside it | its thread | together |",
        "|---|---|---|---|---|",
    ]
    for name in ("watching", "collecting"):
        one = cost[name]
        lines.append(
            f"| {name} | {one['photo_ms']} | {one['answered_ms']} | {one['thread_ms']} | {100 * one['share']:.2f}% |"
        )
    first, last = (flat[f"after_{number}"]["rss_mb"] for number in (_FIRST, _LONG))
    lines += [
        "",
        f"{_LONG:,} photos: {first} MB of memory after {_FIRST:,}, {last} MB at the end; {flat['records']} records in "
        f"{flat['days']} days, {flat['bytes_of_records'] / 1e6:.2f} MB; {flat['kept_photos']} photos kept, "
        f"{flat['bytes_of_photos'] / 1e6:.2f} MB; {flat['answered_us']} us a photo; "
        f"{flat['lost_records']} records lost",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
