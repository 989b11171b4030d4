"""A module of this package run in a process of its own, found wherever this package was imported from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_module(
    name: str, *arguments: str, input: bytes | None = None, timeout_s: float
) -> subprocess.CompletedProcess[bytes]:
    """Run ``python -m edgetl_device.<name> arguments`` and return how it ended, whatever its exit code.

    Raises:
        OSError: It cannot be started.
        subprocess.TimeoutExpired: It took longer; it has been ended.
    """
    root = os.fspath(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-m", f"{__package__}.{name}", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        input=input,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
