"""Seconds to find near-duplicates among drawn thumbnails, and how many of their copies are found.

Thumbnails are noise with the spectrum of photos (amplitude 1/f to 1/f^2). One in a hundred is a copy of another, turned
and with a little noise. Prints one JSON object.

Example: python benchmarks/near_duplicates.py --photos 50000
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl.data.near_duplicates import SIDE, find_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.photos, arguments.seed)))


def measure(photos: int, seed: int) -> dict[str, Any]:
    """Draw, search and count."""
    random = np.random.default_rng(seed)
    thumbnails, copies = draw(photos, random)
    wall, cpu = time.perf_counter(), time.process_time()
    found = set(find_pairs(thumbnails, np.arange(photos)))
    return {
        "photos": photos,
        "seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "copies": len(copies),
        "found": len(copies & found),
        "others": len(found - copies),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def draw(photos: int, random: np.random.Generator) -> tuple[npt.NDArray[np.uint8], set[tuple[int, int]]]:
    """Return thumbnails, uint8 [photos, 32, 32], and the pairs of which the second is a copy of the first."""
    thumbnails = np.empty((photos, SIDE, SIDE), np.uint8)
    squared = np.fft.fftfreq(SIDE)[:, None] ** 2 + np.fft.rfftfreq(SIDE)[None] ** 2
    squared[0, 0] = 1
    for row in range(photos):
        white = np.fft.rfft2(random.standard_normal((SIDE, SIDE)))
        picture = np.fft.irfft2(white * squared ** (-random.uniform(1, 2) / 2), s=(SIDE, SIDE))
        thumbnails[row] = np.clip(128 + 50 * picture / picture.std(), 0, 255)
    copies = set()
    for copy in range(photos - photos // 100, photos):
        original = int(random.integers(photos // 2))
        turned = np.rot90(thumbnails[original], int(random.integers(4))).astype(np.float32)
        thumbnails[copy] = np.clip(turned + random.normal(0, 2, turned.shape), 0, 255)
        copies.add((original, copy))
    return thumbnails, copies


if __name__ == "__main__":
    main()
