"""How far probabilities can be trusted: calibration error before and after the temperature, on test photos.

Trains on each folder with each seed; the seed also changes which photos are for validation. Prints one JSON object.

Example: python benchmarks/trust.py --photos ../shared/data/flowers ../shared/data/waste --seeds 5
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders with train and test")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size", type=int, default=160)
    arguments = parser.parse_args()
    print(
        json.dumps({photos.name: calibration(photos, arguments.seeds, arguments.size) for photos in arguments.photos})
    )


def calibration(photos: Path, seeds: int, size: int) -> dict[str, Any]:
    """Return the calibration error of each seed's run, and their means."""
    rows = [_trained(photos, seed, size) for seed in range(seeds)]
    return {
        "seeds": rows,
        "mean_before": round(mean(row["before"] for row in rows), 4),
        "mean_after": round(mean(row["after"] for row in rows), 4),
        "mean_by_chance": round(mean(row["by_chance"] for row in rows), 4),
        "mean_ratio": round(mean(row["after"] / row["by_chance"] for row in rows), 2),
    }


def _trained(photos: Path, seed: int, size: int) -> dict[str, float]:
    from edgetl.training import TrainOptions, train

    with tempfile.TemporaryDirectory() as scratch:
        document = train(photos, Path(scratch) / "run", TrainOptions(seed=seed, size=size)).document
    found = document.temperature
    if found is None:
        raise RuntimeError("the run records no temperature")
    before, after = found.before["test"], found.after["test"]
    return {
        "seed": seed,
        "validation_photos": found.photos,
        "temperature": round(found.value, 3),
        "top1": document.metrics["test"].accuracy.top1,
        "before": round(before.calibration.ece, 4),
        "after": round(after.calibration.ece, 4),
        "by_chance": round(after.calibration.ece_by_chance, 4),
        "brier_before": round(before.brier, 4),
        "brier_after": round(after.brier, 4),
    }


if __name__ == "__main__":
    main()
