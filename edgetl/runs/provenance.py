"""How a run was made: the seconds of its stages, and the versions of the libraries that affect its numbers."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version

from .document import StageSeconds

_PACKAGES = ("edgetl", "tensorflow", "keras", "numpy", "pillow", "scikit-learn")


@dataclass
class StageTimer:
    """Seconds of each stage, in order."""

    stages: list[StageSeconds] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        started = time.perf_counter()
        yield
        self.stages.append(StageSeconds(name, round(time.perf_counter() - started, 3)))


def library_versions(*others: str) -> dict[str, str]:
    """Return the versions of Python, of the libraries that make a run, and of other packages."""
    return {"python": platform.python_version()} | {package: version(package) for package in (*_PACKAGES, *others)}
