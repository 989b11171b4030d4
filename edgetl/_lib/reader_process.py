"""Read an untrusted file in a child process: native libraries may crash, hang or exhaust memory on damaged files.

The child is a module that calls :func:`serve`; the parent calls :func:`read`.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from typing import BinaryIO, NoReturn

from edgetl_device._lib import child

# Address space, on top of a multiple of the file's size.
_MOST_BYTES, _TIMES_FILE = 4 << 30, 8
_REFUSED = 2


def read(module: str, data: bytes, *arguments: str, timeout_s: float) -> bytes:
    """Return what ``edgetl.<module>`` writes about a file.

    Raises:
        ValueError: The child refused the file, crashed, or took too long.
    """
    try:
        done = child.run_module(module, *arguments, package="edgetl", input=data, timeout_s=timeout_s)
    except subprocess.TimeoutExpired:
        raise ValueError(f"reading it took over {timeout_s:.0f} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        if said and done.returncode == _REFUSED:
            raise ValueError(said[-1])
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
        raise ValueError(f"the process that read it ended with {ended}")
    return done.stdout


def serve(answer: Callable[[bytes, BinaryIO], None]) -> None:
    """Read the file from stdin and let ``answer`` write to stdout; an exception from it refuses the file."""
    data = sys.stdin.buffer.read()
    limit = _MOST_BYTES + _TIMES_FILE * len(data)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer(data, sys.stdout.buffer)
    except MemoryError:
        _refuse(f"it needs over {limit / 1e9:.0f} GB")
    except Exception as error:  # these libraries have no common base class, and a damaged file can raise anything
        _refuse(" ".join(str(error).split()) or type(error).__name__)


def _refuse(why: str) -> NoReturn:
    sys.stderr.write(f"\n{why}\n")
    sys.exit(_REFUSED)
