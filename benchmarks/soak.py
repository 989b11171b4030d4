"""Soak: memory, descriptors and latency of a classifier over very many photos, as CSV and plots.

``python benchmarks/soak.py BUNDLE --out FOLDER`` classifies 200,000 photos on one Classifier, as many again from 8
threads, and has ``--watch`` follow a folder for an hour; each in a process of its own. METHOD.md explains the figures.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier

SAMPLES = 400
# Photos that a watched folder keeps: those before are removed, as a camera's program would.
_KEPT = 50


@dataclass(frozen=True)
class Sample:
    """The state of a process at one moment.

    Attributes:
        elapsed_s: Since the first photo.
        photos: Classified so far.
        rss_bytes: Resident memory.
        descriptors: Open file descriptors.
        threads: Threads of the process.
        p50_ms: Median time of a photo since the sample before, from a file's bytes to a label.
        p95_ms: 95th percentile of it.
    """

    elapsed_s: float
    photos: int
    rss_bytes: int
    descriptors: int
    threads: int
    p50_ms: float
    p95_ms: float


class Sampler:
    """Takes a sample of a process whenever a number of photos has been added."""

    def __init__(self, pid: int, every: int) -> None:
        self.samples: list[Sample] = []
        self._pid, self._every = pid, every
        self._photos = 0
        self._times_ms: list[float] = []
        self._began_s = time.monotonic()
        self._lock = threading.Lock()

    def add(self, took_ms: float) -> None:
        """Count a photo."""
        with self._lock:
            self._photos += 1
            self._times_ms.append(took_ms)
            if len(self._times_ms) < self._every:
                return
            ordered = sorted(self._times_ms)
            status = dict(
                line.split(":", 1)
                for line in Path(f"/proc/{self._pid}/status").read_text(encoding="utf-8").splitlines()
                if ":" in line
            )
            self.samples.append(
                Sample(
                    round(time.monotonic() - self._began_s, 3),
                    self._photos,
                    1024 * int(status["VmRSS"].split()[0]),
                    len(os.listdir(f"/proc/{self._pid}/fd")),  # noqa: PTH208  # one of them may be gone already
                    int(status["Threads"]),
                    round(statistics.median(ordered), 4),
                    round(ordered[int(0.95 * len(ordered))], 4),
                )
            )
            self._times_ms.clear()


def classify(bundle: Path, variant: str, count: int, threads: int) -> list[Sample]:
    """Classify the bundle's held-out photos over and over, on one Classifier; return samples."""
    sampler = Sampler(os.getpid(), max(1, count // SAMPLES))
    opened = Bundle.open(bundle)
    photos = [opened.read(photo.file) for photo in opened.photos()]
    labels = [photo.index for photo in opened.photos()]
    left, wrong = iter(range(count)), []
    with Classifier(opened, variant) as classifier:
        wanted = [classifier.classify(photo, top=1)[0].index for photo in photos]

        def work() -> None:
            for number in left:
                started = time.perf_counter()
                found = classifier.classify(photos[number % len(photos)], top=1)[0].index
                sampler.add(1e3 * (time.perf_counter() - started))
                if found != wanted[number % len(photos)]:
                    wrong.append(number)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {count} photos got another label than the first time ({labels=})")
    return sampler.samples


def watch(bundle: Path, variant: str, minutes: float, per_s: float) -> list[Sample]:
    """Put photos into a folder that ``edgetl_device classify --watch`` follows; return samples of that process."""
    opened = Bundle.open(bundle)
    photos = [(opened.read(photo.file), Path(photo.file).suffix) for photo in opened.photos()]
    with tempfile.TemporaryDirectory(prefix="edgetl-soak-") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "edgetl_device", "classify", bundle, "--variant", variant, "--watch", folder]
        child = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, encoding="utf-8")
        sampler = Sampler(child.pid, max(1, int(60 * minutes * per_s / SAMPLES)))
        answered: deque[str] = deque(maxlen=1)
        reader = threading.Thread(target=_read, args=(child, sampler, answered))
        reader.start()
        written = _write(folder, photos, minutes, per_s, lambda: child.poll() is None)
        # The last one is answered when it has stood still for a second.
        ends_s = time.monotonic() + 60
        while time.monotonic() < ends_s and not (answered and answered[0] == written[-1]):
            time.sleep(0.2)
        child.terminate()  # Ctrl-C is ignored by what a shell started in the background
        child.wait()
        reader.join()
        if not answered or answered[0] != written[-1]:
            raise RuntimeError(f"the last photo, {written[-1]}, was not answered; the last answer is of {[*answered]}")
    return sampler.samples


def _write(
    folder: Path,
    photos: Sequence[tuple[bytes, str]],
    minutes: float,
    per_s: float,
    go_on: Callable[[], bool],
) -> list[str]:
    """Write photos at a rate, removing older ones; return their names."""
    time.sleep(3)  # the folder's first look
    began_s, written = time.monotonic(), list[str]()
    for number, (data, suffix) in enumerate(itertools.cycle(photos)):
        if time.monotonic() - began_s > 60 * minutes or not go_on():
            return written
        name = f"{number:07d}{suffix}"
        (folder / f".{name}").write_bytes(data)
        (folder / f".{name}").rename(folder / name)
        written.append(name)
        if number >= _KEPT + 5 * per_s:
            (folder / written[number - int(_KEPT + 5 * per_s)]).unlink()
        time.sleep(max(0.0, began_s + (number + 1) / per_s - time.monotonic()))
    raise AssertionError("photos never end")


def _read(child: subprocess.Popen[str], sampler: Sampler, answered: deque[str]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        row = json.loads(line)
        answered.append(Path(row["photo"]).name)
        sampler.add(row["decode_ms"] + row["fit_ms"] + row["invoke_ms"])


def write_csv(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples as a table."""
    with open(path, "w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(field.name for field in fields(Sample))
        rows.writerows(map(astuple, samples))


def plot(path: Path, title: str, samples: Sequence[Sample]) -> None:
    """Draw memory, descriptors and latency over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    minutes = [sample.elapsed_s / 60 for sample in samples]
    figure, (memory, descriptors, latency) = pyplot.subplots(3, 1, figsize=(8, 7), sharex=True, layout="constrained")
    figure.suptitle(title)
    memory.plot(minutes, [sample.rss_bytes / 1e6 for sample in samples])
    # With room above: a flat line would lie on the frame.
    memory.set(ylabel="memory (MB)", ylim=(0, 1.2 * max(sample.rss_bytes for sample in samples) / 1e6))
    descriptors.plot(minutes, [sample.descriptors for sample in samples], label="descriptors")
    descriptors.plot(minutes, [sample.threads for sample in samples], label="threads")
    descriptors.set(ylabel="count", ylim=(0, 1.2 * max(max(one.descriptors, one.threads) for one in samples)))
    descriptors.legend()
    latency.plot(minutes, [sample.p50_ms for sample in samples], label="p50")
    latency.plot(minutes, [sample.p95_ms for sample in samples], label="p95")
    latency.set(ylabel="a photo (ms)", xlabel="minutes", yscale="log")
    latency.legend()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def tenths(samples: Sequence[Sample]) -> Iterator[str]:
    """Yield each figure as the median of the first and of the last tenth of the samples."""
    part = max(1, len(samples) // 10)
    for name, unit, scale in (
        ("rss_bytes", "MB", 1e6), ("descriptors", "", 1), ("threads", "", 1), ("p50_ms", "ms", 1), ("p95_ms", "ms", 1),
    ):  # fmt: skip
        first, last = (
            statistics.median(getattr(sample, name) for sample in some) / scale
            for some in (samples[:part], samples[-part:])
        )
        yield f"{name.removesuffix('_bytes').removesuffix('_ms')} {first:.4g} -> {last:.4g} {unit}".rstrip()


def main() -> None:
    """Run the chosen parts, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and plots")
    parser.add_argument("--variant", default="int8")
    parser.add_argument("--parts", default="one,threads,watch", help="of: one, threads, watch")
    parser.add_argument("--photos", type=int, default=200_000, help="of the parts one and threads")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=60, help="of the part watch")
    parser.add_argument("--per-s", type=float, default=5, help="photos that come each second into the watched folder")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.part is None:
        for part in given.parts.split(","):
            subprocess.run([sys.executable, *sys.argv, "--part", part], check=True)
        return
    if given.part == "watch":
        samples = watch(given.bundle, given.variant, given.minutes, given.per_s)
        title = f"--watch, {given.per_s:g} photos a second"
    else:
        threads = given.threads if given.part == "threads" else 1
        samples = classify(given.bundle, given.variant, given.photos, threads)
        title = f"one Classifier, {threads} thread{'s' * (threads > 1)}"
    write_csv(given.out / f"soak-{given.part}.csv", samples)
    plot(given.out / f"soak-{given.part}.png", f"{title}: {given.bundle.name}, {given.variant}", samples)
    last = samples[-1]
    print(f"{title}: {last.photos:,} photos in {last.elapsed_s:.0f} s; {'; '.join(tenths(samples))}", flush=True)


if __name__ == "__main__":
    main()
