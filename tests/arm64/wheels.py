"""Put the device package and its aarch64 wheels into a folder, as ``edgetl bench --offline`` would send them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from edgetl.remote.connection import Children
from edgetl.remote.offline import Target, fetch_wheels
from edgetl.remote.wheel import device_wheel

# Debian 12.
TARGET = Target("aarch64", (3, 11), "2.36")


def main(folder: Path) -> None:
    wheel = device_wheel()
    (folder / wheel.name).write_bytes(wheel.data)
    for path in fetch_wheels(TARGET, wheel, ("onnx",), children=Children()):
        shutil.copy(path, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
