"""How many of the photos that `edgetl data check --labels` lists first are wrong: 5% of the labels are changed.

For each folder and seed: the share of the first 20 suspects whose label was changed, and how many were changed in all,
which bounds that share; also by number of depths and penalty, from which edgetl's were chosen. Labels that were wrong
before count as false alarms. Prints one JSON object.

Example: python benchmarks/label_errors.py --photos ../shared/data/flowers ../shared/data/waste --seeds 20
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edgetl.data import Dataset

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_CHANGED = 0.05
_FIRST = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=20, help="number of times that labels are changed")
    parser.add_argument("--choose", action="store_true", help="also other depths and penalties")
    arguments = parser.parse_args()
    print(
        json.dumps({one.name: precision(one, arguments.seeds, arguments.choose) for one in arguments.photos}, indent=1)
    )


def precision(photos: Path, seeds: int, choose: bool) -> dict[str, Any]:
    """Return the share of wrong labels among the first suspects, over seeds."""
    from edgetl.data import load_dataset
    from edgetl.labels.check import DEPTHS, features_of
    from edgetl.labels.leave_one_out import PENALTY
    from edgetl_device.preprocess import Preprocess

    dataset = load_dataset(photos, Preprocess(), on_conflict="drop")
    found: dict[str, Any] = {"photos": len(dataset.samples)}
    found["as_shipped"] = _over_seeds(dataset, features_of(dataset, depths=DEPTHS), PENALTY, seeds)
    if choose:
        for depths in (1, 2, 3, 4, 6, 8):
            features = features_of(dataset, depths=depths)
            for penalty in (0.1, 0.3, 1.0, 3.0):
                found[f"{depths} depths, penalty {penalty}"] = _over_seeds(dataset, features, penalty, seeds)["mean"]
    return found


def _over_seeds(dataset: Dataset, features: Any, penalty: float, seeds: int) -> dict[str, Any]:
    from edgetl.labels.check import rank

    shares, counts = [], []
    for seed in range(seeds):
        changed, wrong = with_wrong_labels(dataset, seed)
        first = [one.path for one in rank(changed, features, penalty=penalty).suspects[:_FIRST]]
        shares.append(len(wrong.intersection(first)) / _FIRST)
        counts.append(len(wrong))
    return {
        "changed": counts[0],
        "mean": round(mean(shares), 3),
        "standard_error": round(stdev(shares) / len(shares) ** 0.5, 3) if seeds > 1 else None,
        "at_most": min(1.0, counts[0] / _FIRST),
        "by_seed": [round(share, 2) for share in shares],
    }


def with_wrong_labels(dataset: Dataset, seed: int) -> tuple[Dataset, set[str]]:
    """Return a data set of which 5% of the photos have the label of another class, and their paths."""
    chance = np.random.default_rng(seed)
    samples = list(dataset.samples)
    rows = chance.choice(len(samples), round(_CHANGED * len(samples)), replace=False)
    for row in rows:
        others = [label for label in dataset.labels if label != samples[row].label]
        samples[row] = replace(samples[row], label=others[chance.integers(len(others))])
    return replace(dataset, samples=tuple(samples)), {samples[row].path for row in rows}


if __name__ == "__main__":
    main()
