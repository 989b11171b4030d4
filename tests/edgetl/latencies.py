"""Architectures with made-up operators, whose costs are known, and a latency model of them. For tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgetl.latency.features import MATMUL, Work
from edgetl.latency.fit import Profiled, fit
from edgetl_device._lib import documents
from edgetl_device.bench.operators import OperatorTime, OperatorTimes

# Milliseconds for a million multiply-adds, a million elements of depthwise output, and of others.
COSTS = {"matmul": 0.004, "depthwise": 0.06, "rest": 0.1}


def made_up() -> list[Profiled]:
    """Return three architectures of each of four groups."""
    random = np.random.default_rng(0)
    return [_made_up(f"{group} {number}", group, random) for group in "abcd" for number in range(3)]


def write_model(path: Path) -> Path:
    """Write the latency model of these."""
    documents.write(path, fit(made_up(), threads=1))
    return path


def _made_up(name: str, group: str, random: np.random.Generator) -> Profiled:
    """An architecture whose operators take exactly what they cost."""
    work, times = [], []
    for _ in range(int(random.integers(4, 12))):
        macs, read, written = random.uniform(1, 40), random.uniform(0.01, 1), random.uniform(0.01, 1)
        work.append(Work(MATMUL, ("multiply-adds", "read", "written", "weights", "call"), (macs, read, written, 0, 1)))
        times.append(OperatorTime("Fully Connected (NC, QS8, QC8W) GEMM", COSTS["matmul"] * macs))
        taken = random.uniform(0.5, 5)
        work.append(Work("depthwise 3x3", ("multiply-adds", "read", "written", "call"), (taken, read, written, 1)))
        times.append(OperatorTime("Convolution (NHWC, QC8) DWConv", COSTS["depthwise"] * taken))
        work.append(Work("ADD", ("bytes", "call"), (read, 1)))
        times.append(OperatorTime("Add (ND)", COSTS["rest"] * read))
    total = sum(one.ms for one in times)
    return Profiled(name, group, tuple(work), OperatorTimes(tuple(times), 100, total, total, True))
