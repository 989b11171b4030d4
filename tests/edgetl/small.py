"""Shared by tests of training and quantizing: options for short runs, and the command line as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from branches import UNMEASURED

# A function that makes a folder once: the fixture ``once``.
Once = Callable[[str, Callable[[Path], object]], Path]
LABELS = ("bolt", "gear", "washer")
PER_CLASS = 14
SIZE = 96
# Settings of ``tiny_run``, and the same on the first blocks, for tests that need no accuracy.
WHOLE = ("--size", SIZE, "--views", 1, "--epochs", 2, "--batch-size", 8)
FLAGS = (*WHOLE, "--truncate", 6, "--trainable-blocks", 2)


def options(**changes: Any) -> Any:
    """Return a TrainOptions that takes seconds, with changes."""
    from edgetl.training import TrainOptions

    return TrainOptions(**({"size": SIZE, "views": 1, "epochs": 2, "batch_size": 8} | changes))


def short(**changes: Any) -> Any:
    """Return the options of ``short_run``, with changes."""
    return options(**({"truncate": "6", "trainable_blocks": 2} | changes))


def plan(*, photos: int = 500, **changes: Any) -> Any:
    """Return the TrainPlan of :func:`options` for a backbone of 18 blocks and a number of training photos."""
    from edgetl.training import TrainOptions
    from edgetl.training.plan import resolve
    from edgetl.training.start import start_of
    from edgetl.training.strategy import resolve_strategy

    asked = TrainOptions(**changes)
    start = start_of(asked)
    trained = resolve_strategy(
        asked.strategy,
        trainable_blocks=asked.trainable_blocks,
        weights=asked.weights,
        blocks=18,
        backbone=start.backbone,
    )
    return resolve(asked, start, trained, photos=photos)


def impossible(**values: Any) -> Any:
    """Return QuantizeOptions with a bound that no model meets: 101 points better than another."""
    from edgetl.quantization.options import QuantizeOptions

    made = QuantizeOptions(int8=True, **values)
    # Impossible bounds are refused.
    object.__setattr__(made, "max_drop", -101.0)
    return made


def edgetl(
    *arguments: object, env: dict[str, str] | None = None, before: Callable[[], None] | None = None, cwd: Any = None
) -> subprocess.CompletedProcess[str]:
    """Run ``edgetl``; ``before`` is called in the child, to limit it. Such a child is left out of the coverage."""
    command = [sys.executable, "-m", "edgetl", *map(str, arguments)]
    environment = os.environ | (UNMEASURED if before else {}) | (env or {})
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=180, env=environment, preexec_fn=before, cwd=cwd
    )


def python(script: str, *, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a Python script in a separate process."""
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=180, env=os.environ | (env or {})
    )


def refused(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """Return the error of a process, after checking its exit code, at most three lines, and no traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    _, found, text = done.stderr.rpartition("error: ")
    assert found, done.stderr
    assert len(text.splitlines()) <= 3, text
    return text


def split_in_folders(run: Any, target: Path) -> Path:
    """Copy a run's photos to ``target/{train,val,test}/<class>/`` and return ``target``."""
    for sample in run.samples:
        place = target / sample.split / sample.path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run.data_root / sample.path, place)
    return target


def left_over(folder: Path) -> list[str]:
    """Return the names of unfinished files and folders in ``folder``."""
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]
