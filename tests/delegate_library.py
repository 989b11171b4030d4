"""Builds ``external_delegate.c``, a delegate for tests to load."""

from __future__ import annotations

import subprocess
from pathlib import Path

from programs import needs_program

SOURCE = Path(__file__).parent / "external_delegate.c"


def build(target: Path, *flags: str, source: Path = SOURCE) -> Path:
    """Compile the delegate to a shared library and return its path."""
    compiler = needs_program("gcc")
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", *flags, "-o", str(target), str(source)]
    subprocess.run(command, check=True)
    return target
