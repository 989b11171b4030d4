"""Measure what commands cost with 1,000, 10,000 and 100,000 photos: CPU time, wall time and memory of each.

The photos are drawn JPEGs of 48 x 48 pixels with the spectrum of photos, one in a hundred a turned copy of another.
`data check`, the features, the last blocks, `pack`, `verify` and `bench` run as users run them, each in a process of
its own. A bundle of `edgetl quantize` has at most 1,000 held-out photos; the one measured here has all of them. What
is finished stays in the work folder, and is not run again. Linux only.

Example: python benchmarks/scaling.py --photos 1000 10000 --work scaling/ --out scaling.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from harness import EDGETL, say
from memory import family, private_bytes
from PIL import Image

from edgetl._lib.progress import track
from edgetl._lib.threads import in_threads
from edgetl.export.bundle import PhotoFile, VariantFile, write_bundle
from edgetl_device._lib.documents import to_json
from edgetl_device._lib.files import atomic_path, sha256_bytes
from edgetl_device._lib.jsonfile import write_json
from edgetl_device.bundle import Bundle, ReferenceArrays
from edgetl_device.machine import environment
from edgetl_device.preprocess import preprocess
from edgetl_device.runtime import open_runtime, predict, run_batch

SIDE = 48
SIZE = 32
EPOCHS = 2
FLAT = 1.2
_CLASSES = 5
_COPIES = 100  # one photo in this many is a copy
_INTERVAL_S = 0.1
_MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--work", type=Path, required=True, help="folder for photos, caches and finished measurements")
    parser.add_argument("--only", nargs="+", help="measure these steps; what they need must be in the work folder")
    parser.add_argument("--again", nargs="+", default=[], help="measure these steps again")
    parser.add_argument("--out", type=Path, help="also write the result to this file")
    arguments = parser.parse_args()
    counts = sorted(arguments.photos)
    # What the model is does not matter to what a photo costs: the bundles have that of the fewest photos.
    run = arguments.work / str(counts[0]) / "run"
    measured = {
        photos: measure(arguments.work / str(photos), photos, run, only=arguments.only, again=arguments.again)
        for photos in counts
    }
    rows = table(measured)
    for row in rows:
        print(" | ".join(str(cell) for cell in row.values()))
    if arguments.out:
        document = {"environment": to_json(environment.describe()), "side": SIDE, "size": SIZE, "epochs": EPOCHS}
        write_json(arguments.out, {**document, "steps": rows})


def measure(
    work: Path, photos: int, run: Path, *, only: Sequence[str] | None, again: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return what each step took, measuring those that are not in ``work/finished.json``."""
    work.mkdir(parents=True, exist_ok=True)
    record = work / "finished.json"
    finished: dict[str, dict[str, Any]] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    if not (work / "photos").exists():
        with atomic_path(work / "photos", directory=True) as folder:
            draw(folder, photos)
    for name, (made, command) in commands(work).items():
        if (name in finished and name not in again) or (only is not None and name not in only):
            continue
        if made is not None:
            _remove(made)
        if name == "data check":
            _remove(work / "cache")
        if name.startswith("pack") and not (work / "bundle").exists():
            bundle_of_all(work, run)
        say(f"{photos:,} photos: {name}")
        finished[name] = watched([*EDGETL, *map(str, command)], os.environ | {"EDGETL_CACHE": str(work / "cache")})
        say(f"{photos:,} photos: {name}: {finished[name]}")
        write_json(record, finished)
    return finished


def commands(work: Path) -> dict[str, tuple[Path | None, tuple[Any, ...]]]:
    """Return what each step makes, and its command, in order."""
    train = ("train", work / "photos", "--size", SIZE, "--views", 1, "--out")
    quick = ("--quick", "--variants", "float32")
    return {
        "data check": (None, ("data", "check", work / "photos", "--size", SIZE)),
        # Decoded photos are in the cache, features are not.
        "features and head": (work / "head", (*train, work / "head", "--epochs", 0)),
        "training": (work / "run", (*train, work / "run", "--epochs", EPOCHS)),
        "pack": (work / "all.edgetl", ("pack", work / "bundle", "--out", work / "all.edgetl")),
        "verify, folder": (None, ("verify", work / "bundle")),
        "verify, .edgetl": (None, ("verify", work / "all.edgetl")),
        "bench, folder": (None, ("bench", work / "bundle", *quick)),
        "bench, .edgetl": (None, ("bench", work / "all.edgetl", *quick)),
    }


def watched(command: Sequence[str], variables: dict[str, str]) -> dict[str, Any]:
    """Run a command; return wall and CPU seconds, and peaks of its memory in MB: resident, and private alone.

    CPU time and resident memory include children; of the latter it is the largest process. Private memory is the
    ``RssAnon`` of all processes: unlike the pages of mapped files, the system cannot take it back.
    """
    peak = 0
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(_INTERVAL_S):
            peak = max(peak, sum(private_bytes(pid) for pid in family(process.pid)))

    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=subprocess.STDOUT)
        sampler = threading.Thread(target=sample)
        sampler.start()
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        done.set()
        sampler.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(f"{' '.join(command)} failed: {log.read()[-2000:].decode(errors='replace')}")
    return {
        "wall_s": round(wall_s, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "resident_mb": round(used.ru_maxrss * 1024 / _MB),
        "private_mb": round(peak / _MB),
    }


def table(measured: dict[int, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return one row per step and number of photos, with what each photo more costs since the number before."""
    rows = []
    for step in dict.fromkeys(step for found in measured.values() for step in found):
        before: tuple[int, dict[str, Any]] | None = None
        marginal: float | None = None
        for photos, found in measured.items():
            if step not in found:
                continue
            row: dict[str, Any] = {"step": step, "photos": photos, **found[step]}
            row["cpu_ms_a_photo"] = round(1e3 * row["cpu_s"] / photos, 3)
            if before is not None:
                more = photos - before[0]
                row["more_cpu_ms_a_photo"] = round(1e3 * (row["cpu_s"] - before[1]["cpu_s"]) / more, 3)
                row["more_private_kb_a_photo"] = round(1e3 * (row["private_mb"] - before[1]["private_mb"]) / more, 2)
                if marginal is not None and marginal > 0:
                    row["flat"] = bool(row["more_cpu_ms_a_photo"] <= FLAT * marginal)
                marginal = row["more_cpu_ms_a_photo"]
            rows.append(row)
            before = photos, row
    return rows


def draw(folder: Path, count: int) -> None:
    """Write ``count`` JPEGs, evenly over five classes of different colours."""
    for label in range(_CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
    squared = np.fft.fftfreq(SIDE)[:, None] ** 2 + np.fft.rfftfreq(SIDE)[None] ** 2
    squared[0, 0] = 1

    def draw_one(index: int) -> None:
        # A copy is of the class of its original, so that labels do not conflict.
        original = index - _CLASSES if index % _COPIES == _COPIES - 1 else index
        random = np.random.default_rng(original)
        white = np.fft.rfft2(random.standard_normal((SIDE, SIDE)))
        grey = np.fft.irfft2(white * squared ** (-random.uniform(1, 2) / 2), s=(SIDE, SIDE))
        colour = np.array([[60, -60, 0], [-60, 0, 60], [0, 60, -60], [30, 30, -60], [0, 0, 0]])[index % _CLASSES]
        pixels = 128 + 50 * (grey / grey.std())[..., None] + 0.5 * colour + random.normal(0, 20, 3)
        picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        if original != index:
            picture = picture.transpose(Image.Transpose.ROTATE_90)
        buffer = BytesIO()
        picture.save(buffer, "JPEG", quality=85)
        (folder / f"class{index % _CLASSES}" / f"{index:06}.jpg").write_bytes(buffer.getvalue())

    with track("Drawing photos", count) as advance:
        in_threads(draw_one, range(count), advance)


def bundle_of_all(work: Path, run: Path) -> None:
    """Write a bundle of a run's float model with all photos as its held-out ones."""
    if not (run / "bundle").exists():
        watched([*EDGETL, "quantize", str(run), "--no-int8"], os.environ | {"EDGETL_CACHE": str(work / "cache")})
    small = Bundle.open(run / "bundle")
    variant = small.variant("float32")
    data = small.read(variant.file)
    files = sorted((work / "photos").glob("*/*.jpg"))
    say(f"a bundle of {len(files):,} photos")
    runtime = open_runtime(data, variant.format)
    probabilities = np.empty((len(files), len(small.labels)), np.float32)
    for start in range(0, len(files), 512):
        part = files[start : start + 512]
        pixels = np.stack([preprocess(file, small.preprocess) for file in part])
        probabilities[start : start + len(part)] = predict(lambda one: run_batch(runtime, one), pixels).probabilities
    write_bundle(
        work / "bundle",
        labels=small.labels,
        preprocess=small.preprocess,
        variants=[VariantFile("float32", variant.format, variant.precision, data)],
        evalset=[PhotoFile(file, file.parent.name, sha256_bytes(file.read_bytes())) for file in files],
        reference=ReferenceArrays(probabilities=probabilities, logits=_logits(probabilities)),
        provenance={},
    )


def _logits(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
