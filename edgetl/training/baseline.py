"""What the same photos give without pretrained weights: a small CNN, trained from scratch by the same code."""

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
    """Return the options of the baseline: data, split, views, seed and devices of a run, all else by default."""
    plain = TrainOptions(backbone=BACKBONE, strategy="scratch", weights="none", views=plan.views)
    shared = ("size", "fit", "augment", "class_weights", "val", "test", "on_conflict", "seed", "devices")
    return replace(plain, **{name: getattr(plan.options, name) for name in shared})


def train_baseline(train: Callable[[Path, TrainOptions], Run], plan: TrainPlan) -> Baseline | None:
    """Train the baseline on the same split and throw the model away.

    Args:
        train: Writes a run directory of the same photos with other options.
        plan: Of the run that it is compared with.

    Returns:
        For ``run.json``; None when Ctrl-C ended it before it had a model.
    """
    note(f"baseline: {BACKBONE}, from scratch")
    try:
        with tempfile.TemporaryDirectory(prefix="edgetl-baseline-") as scratch:
            document = train(Path(scratch) / "run", baseline_options(plan)).document
    except KeyboardInterrupt:
        # The run that is compared is trained already, and must not be lost.
        note("baseline: interrupted, left out")
        return None
    return Baseline(
        backbone=BACKBONE,
        parameters=document.model.parameters,
        metrics=document.metrics,
        seconds=document.seconds,
        interrupted=document.interrupted,
    )
