"""Builds ``clock.c``, for processes whose wall clock is wrong. Imports nothing that a board would not have."""

from __future__ import annotations

import subprocess
from pathlib import Path

from programs import needs_program

SOURCE = Path(__file__).parent / "clock.c"


def build(folder: Path) -> Path:
    """Return the library, compiled."""
    library = folder / "clock.so"
    subprocess.run([needs_program("gcc"), "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def shifted(library: Path, by_s: int, *, every_s: float | None = None) -> dict[str, str]:
    """Return the environment of a clock that is wrong by so many seconds, or comes and goes by them."""
    found = {"LD_PRELOAD": str(library), "CLOCK_SHIFT_S": str(by_s)}
    return found if every_s is None else found | {"CLOCK_EVERY_S": str(every_s)}
