"""Measure whether the private memory of ``edgetl train``, or of its data stage, grows with the number of photos.

The photos are small synthetic JPEGs of one coloured blob each on noise, cheap to draw by the ten thousand; accuracy is
irrelevant. Samples RssAnon (``/proc/PID/status``, proc(5)) of the process and its children: memory that the system can
only reclaim by swapping. The cache's memory maps are file-backed and not included; the system drops those pages under
memory pressure. Linux only.

Example: python benchmarks/memory.py --photos 20000 --out memory.json
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from edgetl._lib.progress import track
from edgetl._lib.threads import in_threads
from edgetl_device._lib.jsonfile import write_json

LIMIT_GB = 2.5
_CLASSES = 5
_INTERVAL_S = 0.25
_RSS_ANON = re.compile(r"^RssAnon:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Measured:
    """Peak of the private memory in bytes, when it was reached, and how the process ended."""

    peak_bytes: int
    peak_after_s: float
    seconds: float
    returncode: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=160, help="input size of the network")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--views", type=int, default=1)
    parser.add_argument("--data-only", action="store_true", help="run `edgetl data check`: hash, decode, audit, split")
    parser.add_argument("--work", type=Path, help="folder for photos and cache; needs about 0.2 MB a photo at 160 px")
    parser.add_argument("--out", type=Path, help="also write the result to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work, prefix="edgetl-memory-") as name:
        work = Path(name)
        draw(work / "photos", arguments.photos)
        command: list[object] = [sys.executable, "-m", "edgetl"]
        if arguments.data_only:
            command += ["data", "check", work / "photos", "--size", arguments.size]
        else:
            command += ["train", work / "photos", "--out", work / "run", "--size", arguments.size]
            command += ["--epochs", arguments.epochs, "--views", arguments.views]
        measured = watch([str(word) for word in command], os.environ | {"EDGETL_CACHE": str(work / "cache")})
    what = "data check" if arguments.data_only else "train"
    if measured.returncode:
        sys.exit(f"edgetl {what} failed with exit code {measured.returncode}")
    peak_gb = measured.peak_bytes / 1e9
    print(
        f"edgetl {what}, {arguments.photos:,} photos at {arguments.size} px: peak of private memory {peak_gb:.2f} GB "
        f"after {measured.peak_after_s:.0f} of {measured.seconds:.0f} s (limit {LIMIT_GB} GB)"
    )
    if arguments.out:
        write_json(
            arguments.out,
            {
                "command": what,
                "photos": arguments.photos,
                "size": arguments.size,
                "epochs": arguments.epochs,
                "views": arguments.views,
                "peak_private_bytes": measured.peak_bytes,
                "peak_after_s": round(measured.peak_after_s, 1),
                "seconds": round(measured.seconds, 1),
                "limit_bytes": int(LIMIT_GB * 1e9),
            },
        )
    sys.exit(0 if peak_gb <= LIMIT_GB else 3)


def draw(folder: Path, count: int) -> None:
    """Write ``count`` different JPEGs of 96 x 96 pixels, evenly over five classes."""
    for label in range(_CLASSES):
        (folder / f"class{label}").mkdir(parents=True)

    def draw_one(index: int) -> None:
        random = np.random.default_rng(index)
        label = index % _CLASSES
        pixels = random.integers(0, 80, (12, 12, 3), np.uint8)
        row, column = random.integers(1, 7, 2)
        pixels[row : row + 4, column : column + 4] += np.array([label * 35, 140 - label * 35, 60], np.uint8)
        buffer = BytesIO()
        Image.fromarray(pixels).resize((96, 96)).save(buffer, "JPEG", quality=80)
        (folder / f"class{label}" / f"{index:06}.jpg").write_bytes(buffer.getvalue())

    with track("Drawing photos", count) as advance:
        in_threads(draw_one, range(count), advance)


def watch(command: list[str], environment: dict[str, str]) -> Measured:
    """Run a command and sample the private memory of it and its descendants."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment)
    peak_bytes, peak_after_s = 0, 0.0
    while process.poll() is None:
        time.sleep(_INTERVAL_S)
        now_bytes = sum(private_bytes(pid) for pid in family(process.pid))
        if now_bytes > peak_bytes:
            peak_bytes, peak_after_s = now_bytes, time.perf_counter() - started
    return Measured(peak_bytes, peak_after_s, time.perf_counter() - started, process.returncode)


def family(pid: int) -> list[int]:
    """Return a process and its descendants, by ``/proc/PID/task/TID/children`` (proc(5))."""
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        for file in Path(f"/proc/{one}/task").glob("*/children"):
            queue += [int(child) for child in _text(file).split()]
    return found


def private_bytes(pid: int) -> int:
    """Return a process's anonymous resident memory in bytes; 0 if it has ended."""
    match = _RSS_ANON.search(_text(Path(f"/proc/{pid}/status")))
    return int(match[1]) * 1024 if match else 0


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


if __name__ == "__main__":
    main()
