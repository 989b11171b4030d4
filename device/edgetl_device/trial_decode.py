"""Decode a photo within a memory limit, in a child process: some files do not state what their decoder will take."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from .preprocess import open_photo

# Besides the pixels: the decoder's tables, and what the C library reserves.
_ROOM_BYTES = 64 << 20


def main(limit_bytes: int) -> None:
    """Decode the photo on standard input; the process ends with 1 if it cannot be decoded within ``limit_bytes``."""
    from PIL import AvifImagePlugin  # not in every Pillow

    # Each thread would reserve memory of its own.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    image = open_photo(sys.stdin.buffer.read(), "the photo")
    used_bytes = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    most = used_bytes + limit_bytes + _ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    image.load()


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except MemoryError:
        sys.exit("out of memory")
    except Exception as error:
        sys.exit(str(error) or repr(error))
