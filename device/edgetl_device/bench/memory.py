"""Peak memory of one variant, measured in a separate process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from edgetl_device._lib import child
from edgetl_device._lib.documents import Unknown
from edgetl_device.delegates.delegate import Delegate, parse_delegate

_PHOTOS = 5
_TIMEOUT_S = 300


def peak_rss_bytes(
    bundle: Path,
    variant: str,
    threads: int,
    *,
    batch: int = 1,
    prefer: str | None = None,
    delegate: Delegate | None = None,
) -> int | Unknown:
    """Return the peak resident memory of Python, the runtime and the variant."""
    arguments = [os.fspath(bundle), variant, str(threads), str(batch), prefer or "", str(delegate or "")]
    try:
        done = child.run_module("bench.memory", *arguments, timeout_s=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Unknown(f"the measuring process did not run: {error}")
    if done.returncode != 0 or not done.stdout.strip().isdigit():
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        return Unknown(f"the measuring process failed with code {done.returncode}: {last}")
    return int(done.stdout)


def own_peak_bytes() -> int:
    """Return the peak resident memory of this process since it started.

    From ``VmHWM``, not ``getrusage``: Linux lets ``ru_maxrss`` of a new program start at its parent's value.
    """
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


def _main(bundle: str, variant: str, threads: str, batch: str, prefer: str, delegate: str) -> None:
    from edgetl_device.bundle import Bundle
    from edgetl_device.classifier import Classifier

    opened = Bundle.open(bundle)
    chosen = parse_delegate(delegate) if delegate else None
    with Classifier(
        opened, variant, int(threads), prefer=prefer or None, delegate=chosen, batch=int(batch)
    ) as classifier:
        for photo in opened.photos()[:_PHOTOS]:
            # Every inference runs the whole batch, so other rows need no photos.
            classifier.classify(opened.read(photo.file))
        print(own_peak_bytes())


if __name__ == "__main__":
    _main(*sys.argv[1:])
