"""A model run once through a delegate in a process of its own, because a library of the wrong version crashes.

Run as ``python -m edgetl_device.runtime.trial_run DELEGATE RUNTIME`` it reads the model from stdin.
"""

from __future__ import annotations

import signal
import subprocess
import sys

from edgetl_device import child
from edgetl_device.delegates.delegate import TRAP, Delegate, parse_delegate
from edgetl_device.errors import Unavailable

from . import tflite_runtime

# The first run on a USB accelerator loads its firmware, which takes seconds.
_TIMEOUT_S = 120.0


def trial_run(model: bytes, delegate: Delegate, *, prefer: str | None = None) -> None:
    """Run a TFLite model once through the delegate in another process, and return when that process survives.

    A library built for another TFLite often ends the whole process with a segmentation fault; here that becomes an
    error with words.

    Args:
        model: The bytes of the file.
        delegate: The delegate.
        prefer: Insist on ``ai-edge-litert`` or ``tflite-runtime``.

    Raises:
        Unavailable: The process was ended by a signal, or hung, or there is no TFLite runtime.
    """
    runtime = tflite_runtime(prefer)
    try:
        done = child.run_module("runtime.trial_run", str(delegate), prefer or "", input=model, timeout_s=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Unavailable(
            f"{delegate.library} does not respond",
            why=f"one run of the model took over {_TIMEOUT_S:.0f} s",
            hint="Unplug the accelerator, plug it in again, and see: edgetl doctor",
        ) from None
    if done.returncode < 0:
        raise Unavailable(
            f"{delegate.library} crashed in a trial run ({signal.Signals(-done.returncode).name})",
            why="this is what a delegate built for another TFLite does",
            hint=TRAP.format(runtime=runtime),
        )


def _main(delegate: str, prefer: str) -> None:
    import numpy as np

    from edgetl_device.errors import EdgetlError

    from . import open_runtime

    try:
        runtime = open_runtime(
            sys.stdin.buffer.read(), "tflite", prefer=prefer or None, delegate=parse_delegate(delegate)
        )
        runtime.set_input(np.zeros(runtime.input.shape[1:], np.uint8))
        runtime.invoke()
        runtime.close()
    except EdgetlError as error:
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _main(*sys.argv[1:])
