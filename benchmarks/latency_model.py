"""Error of the latency model on backbones that it has not seen, on this machine.

Builds int8 files of eight backbones with random weights, times their operators, and predicts each architecture by a
model that was fitted on the other backbones. The interval of the median error is a bootstrap over backbones.

``python benchmarks/latency_model.py [--out FILE]`` takes about six minutes on two cores; leave the machine idle.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from edgetl.latency.document import LatencyModel
from edgetl.latency.measure import fit_here
from edgetl_device._lib import documents

BACKBONES = (
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_small_minimalistic",
    "mobilenet_v3_large",
    "mobilenet_v3_large_minimalistic",
    "efficientnet_lite0",
    "simple_cnn",
)
RESAMPLES = 2000


def lines(model: LatencyModel) -> list[str]:
    """Return the error of each architecture, and its median and 95th percentile with 95% intervals."""
    found = [f"{model.cpu}, {model.runtime.name} {model.runtime.version}, {model.threads} threads"]
    errors: dict[str, list[float]] = {}
    for one in model.fitted_on:
        error = one.held_out_ms / one.p50_ms - 1
        errors.setdefault(one.group, []).append(abs(error))
        found.append(f"{one.name:<50}{one.p50_ms:8.3f} ms{one.held_out_ms:8.3f} ms{error:+8.1%}")
    random, groups = np.random.default_rng(0), list(errors.values())
    drawn = [
        np.concatenate([groups[place] for place in random.integers(0, len(groups), len(groups))])
        for _ in range(RESAMPLES)
    ]
    for name, percent in (("median", 50), ("95th percentile", 95)):
        value = np.percentile(np.concatenate(groups), percent)
        low, high = np.percentile([np.percentile(one, percent) for one in drawn], (2.5, 97.5))
        found.append(f"{name} of the errors: {value:.1%} (95% interval {low:.1%} to {high:.1%}, by backbone)")
    return found


def main() -> None:
    """Measure, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", type=Path, help="print an earlier model instead of measuring")
    asked = parser.parse_args()
    model = documents.read(LatencyModel, asked.read) if asked.read else fit_here(BACKBONES, say=print)
    if asked.out:
        documents.write(asked.out, model)
    print("\n".join(lines(model)))


if __name__ == "__main__":
    main()
