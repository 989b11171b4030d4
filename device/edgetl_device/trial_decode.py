"""Decode a photo within a memory limit, in a child process: some files do not state what their decoder will take."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

from .preprocess import TRIAL_DAMAGED, TRIAL_NO_MEMORY, open_photo

# Besides the pixels: the decoder's tables, and what the C library reserves.
_ROOM_BYTES = 64 << 20


def main(limit_bytes: int) -> None:
    """Decode the photo on standard input; the exit code says why that failed, or took over ``limit_bytes``."""
    # Not in every Pillow; without it no AVIF is decoded.
    with suppress(ImportError):
        from PIL import AvifImagePlugin

        # Each thread would reserve memory of its own.
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    data = sys.stdin.buffer.read()
    used_bytes = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    most = used_bytes + limit_bytes + _ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        open_photo(data, "the photo").load()
    except MemoryError:
        sys.exit(TRIAL_NO_MEMORY)
    except Exception as error:
        # libavif's own failures to get memory come as errors of other types.
        print(str(error) or repr(error), file=sys.stderr)
        sys.exit(TRIAL_NO_MEMORY if "memory" in str(error).lower() else TRIAL_DAMAGED)


if __name__ == "__main__":
    main(int(sys.argv[1]))
