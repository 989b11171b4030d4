"""Builds ``external_delegate.c``, or skips the test and says so where there is no C compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "external_delegate.c"


def build(target: Path, *flags: str, source: Path = SOURCE) -> Path:
    """Compile the delegate to a shared library and return its path."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here to build a delegate with")
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", *flags, "-o", str(target), str(source)]
    subprocess.run(command, check=True)
    return target
