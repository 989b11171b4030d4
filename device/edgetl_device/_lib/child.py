"""Run a module in a separate process, with the packages that this process uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_PACKAGE = __package__.partition(".")[0]
# As ``python -m``, which would look for modules in the current folder first: it may be a stranger's.
_RUN = (
    "import sys; sys.path[:] = filter(None, sys.path); "
    "from runpy import run_module; name = sys.argv.pop(1); run_module(name, run_name='__main__', alter_sys=True)"
)


def run_module(
    name: str, *arguments: str, input: bytes | None = None, timeout_s: float, package: str = _PACKAGE
) -> subprocess.CompletedProcess[bytes]:
    """Run ``python -m <package>.<name> arguments`` and return the completed process, whatever its exit code.

    ``package`` must be imported already; the new process finds it and this package in the same places, and nothing in
    the current folder.

    Raises:
        OSError: It cannot be started.
        subprocess.TimeoutExpired: It took too long and was killed.
    """
    files = (sys.modules[one].__file__ or "" for one in dict.fromkeys((package, _PACKAGE)))
    roots = [os.fspath(Path(file).resolve().parent.parent) for file in files]
    paths = [*dict.fromkeys(roots), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-c", _RUN, f"{package}.{name}", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        input=input,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
