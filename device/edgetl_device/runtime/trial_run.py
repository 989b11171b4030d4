"""Run a model once in a separate process, because a damaged model or a delegate's library may crash it.

``python -m edgetl_device.runtime.trial_run FORMAT RUNTIME DELEGATE`` reads the model from stdin.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from edgetl_device._lib import child
from edgetl_device.delegates.delegate import TRAP, Delegate, parse_delegate
from edgetl_device.errors import InputError, Unavailable

from . import tflite_runtime
from .installed import version

# The first run on a USB accelerator loads its firmware, which takes seconds.
_TIMEOUT_S = 120.0
# Address space, on top of 16 times the model's size. Runtimes and their threads map far more than they use.
_MOST_BYTES, _TIMES_MODEL = 4 << 30, 16
_ANOTHER = "Do not use this file; copy it again, or make it again with edgetl."
# Exit code if the runtime loads the model and then raises an unexpected exception.
_RAISED = 70
# Models that this process has checked.
_survived: set[str] = set()


def check_model(model: bytes, format: str, sha256: str, *, prefer: str | None = None) -> None:
    """Check that a model does not crash its runtime, by running it once in a separate process.

    Neither LiteRT nor ONNX Runtime is hardened against untrusted models: two changed bytes of a TFLite file can cause a
    segmentation fault. Models that pass are recorded by SHA-256 and runtime in ``edgetl/models`` of the cache folder,
    so this runs once on a machine, or once in a process where that folder is not writable.

    Args:
        model: The bytes of the file.
        format: ``tflite`` or ``onnx``.
        sha256: SHA-256 of these bytes.
        prefer: For ``tflite``, require ``ai-edge-litert`` or ``tflite-runtime``.

    Raises:
        InputError: The process crashed or hung, or the model cannot run. A model that the runtime refuses to load is
            not an error here; opening it will raise.
        Unavailable: There is no runtime for the model.
    """
    runtime = tflite_runtime(prefer) if format == "tflite" else f"onnxruntime {version('onnxruntime')}"
    name = f"{sha256} {runtime}".replace(" ", "-")
    if name in _survived:
        return
    mark = _folder() / name
    if not mark.exists():
        try:
            done = child.run_module("runtime.trial_run", format, prefer or "", "", input=model, timeout_s=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise InputError(
                f"the model hangs in {runtime}", why=f"one run took over {_TIMEOUT_S:.0f} s", hint=_ANOTHER
            ) from None
        if done.returncode < 0:
            raise InputError(
                f"the model crashes {runtime} ({signal.Signals(-done.returncode).name})",
                why="a trial run in a separate process crashed: the model is damaged, malicious, or needs over "
                f"{_limit_bytes(model) / 1e9:.0f} GB",
                hint=_ANOTHER,
            )
        if done.returncode == _RAISED:
            *_, why = done.stderr.decode(errors="replace").strip().splitlines()
            raise InputError(f"{runtime} cannot run the model", why=why, hint=_ANOTHER)
        if done.returncode == 0:
            with suppress(OSError):
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
    _survived.add(name)


def trial_run(model: bytes, delegate: Delegate, *, prefer: str | None = None) -> None:
    """Run a TFLite model once through the delegate in another process.

    A library built for another TFLite often crashes with a segmentation fault; this turns it into an error.

    Args:
        model: The bytes of the file.
        delegate: The delegate.
        prefer: Require ``ai-edge-litert`` or ``tflite-runtime``.

    Raises:
        Unavailable: The process crashed or hung, or there is no TFLite runtime.
    """
    runtime = tflite_runtime(prefer)
    arguments = ("tflite", prefer or "", str(delegate))
    try:
        done = child.run_module("runtime.trial_run", *arguments, input=model, timeout_s=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Unavailable(
            f"{delegate.library} does not respond",
            why=f"one run of the model took over {_TIMEOUT_S:.0f} s",
            hint="Unplug the accelerator, plug it in again, and see: edgetl doctor",
        ) from None
    if done.returncode < 0:
        raise Unavailable(
            f"{delegate.library} crashed in a trial run ({signal.Signals(-done.returncode).name})",
            why="a delegate built for another TFLite crashes like this",
            hint=TRAP.format(runtime=runtime),
        )


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111  # Path raises without HOME
    return Path(base) / "edgetl" / "models"


def _limit_bytes(model: bytes) -> int:
    return _MOST_BYTES + _TIMES_MODEL * len(model)


def _main(format: str, prefer: str, delegate: str) -> None:
    import numpy as np

    from edgetl_device.errors import EdgetlError

    from . import open_runtime

    model = sys.stdin.buffer.read()
    chosen = parse_delegate(delegate) if delegate else None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if chosen is None and sys.maxsize > 2**32:
        # Not with an accelerator, whose driver may map any amount.
        resource.setrlimit(resource.RLIMIT_AS, (_limit_bytes(model), _limit_bytes(model)))
    try:
        runtime = open_runtime(model, format, prefer=prefer or None, delegate=chosen)
        runtime.set_input(np.zeros(runtime.input.shape[1:], np.uint8))
        runtime.invoke()
        runtime.close()
    except EdgetlError as error:
        sys.exit(error.exit_code)
    except Exception as error:
        sys.stderr.write(f"\n{type(error).__name__}: {error}\n")
        sys.exit(_RAISED)


if __name__ == "__main__":
    _main(*sys.argv[1:])
