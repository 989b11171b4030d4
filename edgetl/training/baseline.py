"""The baseline: a small CNN trained from scratch on the same photos, without pretrained weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgetl._lib.progress import note
from edgetl.runs.directory import Run
from edgetl.runs.document import Baseline

from .options import TrainOptions
from .plan import TrainPlan

BACKBONE = "simple_cnn"


def baseline_options(plan: TrainPlan) -> TrainOptions:
    """Return the baseline's options: data, split, views, seed and devices of the run, defaults for the rest."""
    plain = TrainOptions(backbone=BACKBONE, strategy="scratch", weights="none", views=plan.views)
    shared = ("depth_range", "augment", "class_weights", "val", "test", "on_conflict", "seed", "devices")
    same = {name: getattr(plan.options, name) for name in shared}
    return replace(plain, size=plan.size, grey=plan.grey, fit=plan.fit, **same)


def train_baseline(train: Callable[[Path, TrainOptions], Run], plan: TrainPlan) -> Baseline | None:
    """Train the baseline on the same split; keep its metrics and discard the model.

    Args:
        train: Function that writes a run directory for the same photos with other options.
        plan: The plan of the run that it is compared with.

    Returns:
        The record for ``run.json``; None if Ctrl-C came before there was a model.
    """
    note(f"baseline: {BACKBONE}, from scratch")
    try:
        with tempfile.TemporaryDirectory(prefix="edgetl-baseline-") as scratch:
            document = train(Path(scratch) / "run", baseline_options(plan)).document
    except KeyboardInterrupt:
        # The run itself is already trained and must not be lost.
        note("baseline: interrupted, not recorded")
        return None
    return Baseline(
        backbone=BACKBONE,
        parameters=document.model.parameters,
        metrics=document.metrics,
        seconds=document.seconds,
        interrupted=document.interrupted,
    )
