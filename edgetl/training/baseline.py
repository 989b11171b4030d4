"""What the same photos give without pretrained weights: a small CNN, trained from scratch by the same code.

Not for: a model to deploy; only its numbers are kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetl._lib.progress import note
from edgetl.runs.directory import Run

from .options import TrainConfig

BACKBONE = "simple_cnn"


def baseline_config(config: TrainConfig) -> TrainConfig:
    """Return the settings of the baseline: data, split, views, seed, devices of ``config``, all else by default."""
    plain = TrainConfig(backbone=BACKBONE, strategy="scratch", weights="none")
    shared = ("size", "fit", "augment", "views", "class_weights", "val", "test", "on_conflict", "seed", "devices")
    return replace(plain, **{name: getattr(config, name) for name in shared})


def train_baseline(train: Callable[[Path, TrainConfig], Run], config: TrainConfig) -> dict[str, Any] | None:
    """Train the baseline on the same split and throw the model away.

    Args:
        train: Writes a run directory of the same photos with other settings.
        config: Of the run that it is compared with.

    Returns:
        For ``run.json``: ``backbone``, ``parameters``, ``metrics`` as in the run itself, ``seconds``
        (reading photos left out), ``interrupted``; None when Ctrl-C ended it before it had a model.
    """
    note(f"baseline: {BACKBONE}, from scratch")
    try:
        with tempfile.TemporaryDirectory(prefix="edgetl-baseline-") as scratch:
            document = train(Path(scratch) / "run", baseline_config(config)).document
    except KeyboardInterrupt:
        # The run that is compared is trained already, and must not be lost.
        note("baseline: interrupted, left out")
        return None
    return {
        "backbone": BACKBONE,
        "parameters": document["model"]["parameters"],
        "metrics": document["metrics"],
        "seconds": document["seconds"],
        "interrupted": document["interrupted"],
    }
