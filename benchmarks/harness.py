"""Helpers of the rows of ``figures.py``: timed child processes, interleaved rounds, medians with spread."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edgetl.runs.document import RunDocument
from edgetl.runs.quantize_report import DOCUMENT, QuantizeReport
from edgetl_device._lib.documents import Unknown, read, to_json
from edgetl_device._lib.jsonfile import read_json
from edgetl_device.machine import environment

REPO = Path(__file__).resolve().parent.parent
SCRIPTS = REPO / "benchmarks"
SHARED_DATA = Path(os.environ.get("EDGETL_SHARED_DATA") or REPO.parent / "shared" / "data")

# Ratio of the slowest to the fastest round. A larger one means that something else was running (METHOD.md, 3).
DISTURBED_RATIO = 1.3
# Cores that other programs may keep busy while a row is measured (METHOD.md, 4).
DISTURBED_CORES = 0.25

_TIMEOUT_S = 7200
_ERROR_LINES = 3

_A = TypeVar("_A")
_B = TypeVar("_B")


class RowFailed(Exception):
    """A row cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What a row measured.

    Attributes:
        measured: The result in one line.
        met: Whether the target is met.
        values: Every round's values, with medians and ratios, for the JSON.
    """

    measured: str
    met: bool
    values: dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """A child process that succeeded.

    Attributes:
        spawned: ``time.time()`` just before it was started.
        wall_s: Seconds from there to its end.
        stdout: Its standard output.
        stderr: Its standard error.
    """

    spawned: float
    wall_s: float
    stdout: str
    stderr: str

    def seconds_to(self, file: Path) -> float:
        """Return the seconds from the start of the process to the last write to ``file``.

        Renaming the file, or the folder it is in, does not change the time of its last write.
        """
        return file.stat().st_mtime - self.spawned

    def last_json(self) -> dict[str, Any]:
        """Return the JSON object in the last line of stdout."""
        document: dict[str, Any] = json.loads(self.stdout.strip().splitlines()[-1])
        return document


@dataclass
class Workspace:
    """The working folder of a run of ``figures.py``, with models that several rows share, each made once.

    Attributes:
        folder: Scratch space on the disk.
        data: Folder with ``flowers`` and ``food3``.
        fashion: Folder with Fashion-MNIST's four IDX files.
        rounds: Rounds of rows that take minutes.
        short_rounds: Rounds of rows that take seconds.
        processes: Process starts of rows that take less than a second.
        seeds: Number of seeds for accuracy; the first is 0, the default.
        photos: Training photos of the synthetic data set.
    """

    folder: Path
    data: Path
    fashion: Path
    rounds: int
    short_rounds: int
    processes: int
    seeds: int
    photos: int
    _runs: dict[tuple[str, int], tuple[Path, Finished]] = field(default_factory=dict)
    _bundles: dict[int, Path] = field(default_factory=dict)
    _warm: bool = False

    def photos_of(self, name: str) -> Path:
        """Return the folder of a shared data set."""
        folder = self.data / name
        if not folder.is_dir():
            raise RowFailed(f"no {name} in the folder of shared data; give its path with --data")
        return folder

    def new_folder(self, name: str) -> Path:
        """Return the path of a new folder; its parent exists."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder)) / name

    def train(self, data: Path, *options: str, seed: int) -> tuple[Path, Finished]:
        """Run ``edgetl train`` with an empty cache and defaults except for ``options``; return run and process."""
        out = self.new_folder("run")
        return out, run([*EDGETL, "train", data, "--out", out, "--seed", seed, *options], cache=out.parent / "cache")

    def warm_up(self) -> None:
        """Train once and discard the run, so that programs and photos are in the system's file cache."""
        if not self._warm:
            say("a training run to warm up, discarded")
            self.train(self.photos_of("flowers"), seed=0)
            self._warm = True

    def flowers_run(self, seed: int = 0, take: int = 0) -> tuple[Path, Finished]:
        """Return a run on the shared flowers and its process; ``take`` numbers runs with the same seed."""
        key = (f"take {take}", seed)
        if key not in self._runs:
            self._runs[key] = self.train(self.photos_of("flowers"), seed=seed)
        return self._runs[key]

    def flowers_bundle(self, seed: int = 0) -> Path:
        """Return the bundle of ``edgetl quantize`` on the run with this seed; ``quantize.json`` is beside it."""
        if seed not in self._bundles:
            folder, _ = self.flowers_run(seed)
            say(f"quantize the run with seed {seed}")
            run([*EDGETL, "quantize", folder], cache=folder.parent / "cache")
            self._bundles[seed] = folder / "bundle"
        return self._bundles[seed]

    def a_photo(self) -> Path:
        """Return the test photo of median file size."""
        photos = sorted(self.photos_of("flowers").glob("test/*/*.jpg"), key=lambda file: (file.stat().st_size, file))
        return photos[len(photos) // 2]

    def scrub(self, text: str) -> str:
        """Replace this machine's folders in ``text``, because results are published."""
        places = {self.folder: "WORK", self.data: "DATA", REPO: "REPO", Path(sys.prefix): "PYTHON", Path.home(): "~"}
        for place, name in places.items():
            text = text.replace(str(place), name)
        return text


EDGETL = (sys.executable, "-m", "edgetl")


def run(command: Sequence[Any], *, cache: Path | None = None) -> Finished:
    """Run a child process until it ends.

    Args:
        command: Program and arguments; each is converted to text.
        cache: ``EDGETL_CACHE`` of the process.

    Raises:
        RowFailed: Its exit code is not 0, or it takes over two hours.
    """
    words = [str(word) for word in command]
    variables = dict(os.environ) | ({"EDGETL_CACHE": str(cache)} if cache else {})
    spawned, started = time.time(), time.perf_counter()
    try:
        done = subprocess.run(
            words, env=variables, capture_output=True, encoding="utf-8", timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise RowFailed(f"{_name(words)} took over {_TIMEOUT_S} s") from None
    wall_s = time.perf_counter() - started
    if done.returncode != 0:
        last = [line.strip() for line in done.stderr.strip().splitlines()[-_ERROR_LINES:]]
        raise RowFailed(f"{_name(words)} failed with exit code {done.returncode}: {' | '.join(last) or 'no message'}")
    return Finished(spawned, wall_s, done.stdout, done.stderr)


def _name(words: Sequence[str]) -> str:
    return " ".join(Path(word).name for word in words[:4])


def alternated(rounds: int, first: Callable[[int], _A], second: Callable[[int], _B]) -> list[tuple[_A, _B]]:
    """Run both sides in each round, A B, B A, A B, so that a slow minute hits both and neither is always first."""
    results = []
    for index in range(rounds):
        if index % 2:
            b = second(index)
            a = first(index)
        else:
            a = first(index)
            b = second(index)
        results.append((a, b))
    return results


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the median, minimum and maximum of ``values``, and all of them in order."""
    return {
        "median": round(statistics.median(values), 4),
        "low": round(min(values), 4),
        "high": round(max(values), 4),
        "all": [round(value, 4) for value in values],
    }


def in_words(values: dict[str, Any], form: str = ".2f", unit: str = "") -> str:
    """Return a :func:`spread` as ``median unit (low to high)``; a single value has no range."""
    median, low, high = (format(values[name], form) for name in ("median", "low", "high"))
    return f"{median}{unit}" + (f" ({low} to {high})" if len(values["all"]) > 1 else "")


def is_scattered(values: dict[str, Any]) -> bool:
    """Return whether the rounds of a :func:`spread` differ more than on a quiet machine."""
    return bool(values["high"] > DISTURBED_RATIO * values["low"])


@contextmanager
def others_watched(record: dict[str, Any]) -> Iterator[None]:
    """Record in ``record`` the load before the block and the cores that other programs kept busy during it.

    Unlike :func:`edgetl_device.machine.environment.others_cpu` it also excludes the children of this process.
    """
    before, own = environment.state(), _own_cpu_s()
    try:
        yield
    finally:
        after = environment.state()
        record["seconds"] = round(after.clock_s - before.clock_s, 1)
        record["load_average_before"] = to_json(before.load_average_1m)
        if isinstance(before.busy_cpu_s, Unknown) or isinstance(after.busy_cpu_s, Unknown):
            record["others_cores"] = {"unknown": "the system does not report how busy it was"}
        else:
            others_s = after.busy_cpu_s - before.busy_cpu_s - (_own_cpu_s() - own)
            record["others_cores"] = round(max(0.0, others_s / (after.clock_s - before.clock_s)), 3)


def _own_cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def read_run(folder: Path) -> dict[str, Any]:
    """Return ``run.json`` of a run directory."""
    return read_json(folder / "run.json", RunDocument.SCHEMA, older=RunDocument.OLDER)


def read_quantize(folder: Path) -> dict[str, Any]:
    """Return ``quantize.json`` of a run directory, converted to the current version."""
    found: dict[str, Any] = to_json(read(QuantizeReport, folder / DOCUMENT))
    return found


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)
