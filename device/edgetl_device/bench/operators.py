"""Time of each operator of a variant, and whether their sum is the time of the model."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import dataclass
from typing import Annotated

from edgetl_device._lib import child
from edgetl_device._lib.documents import Is, Milliseconds, Positive, Text, Unknown
from edgetl_device.delegates.delegate import NONE, XNNPACK
from edgetl_device.errors import Unavailable
from edgetl_device.runtime import tflite_runtime
from edgetl_device.runtime.litert import LITERT
from edgetl_device.runtime.operator_times import library

from .sweep import Setup

# The sum of the operators may differ from a whole inference by this share.
TOLERANCE = 0.10
_SECONDS = 2.0
_TIMES = "times of operators: "
_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class OperatorTime:
    """The time of one operator in one inference.

    Attributes:
        name: The kernel that ran, as LiteRT or XNNPACK calls it.
        ms: Mean time, in the middle half of the profiled inferences by their total.
    """

    name: Text
    ms: Milliseconds


@dataclass(frozen=True)
class OperatorTimes:
    """Times of operators, by LiteRT's profiler of compiled models. These have the kernels of the interpreter that the
    other times are of; XNNPACK may have fused operators of the file, or added some.

    Attributes:
        operators: In the order in which they run.
        inferences: Number of profiled inferences.
        total_ms: Sum of the operators.
        interpreter_ms: Median of inferences by the interpreter, in turns with the profiled ones.
        consistent: Whether the sum is within 10% of that median; else take the times as shares only.
    """

    operators: Annotated[tuple[OperatorTime, ...], Is(items=1)]
    inferences: Positive
    total_ms: Milliseconds
    interpreter_ms: Milliseconds
    consistent: bool


def why_not(setup: Setup, *, prefer: str | None = None) -> Unavailable | None:
    """Return why the operators of a setup cannot be timed here; None if they can."""
    if setup.variant.format != "tflite":
        return Unavailable(_TIMES + "only of TFLite variants", why="they come from LiteRT's profiler")
    if setup.batch > 1:
        return Unavailable(_TIMES + "only with a batch of 1", why="LiteRT's profiler runs the file as it is")
    if setup.delegate is not None and setup.delegate.name not in (NONE, XNNPACK):
        return Unavailable(_TIMES + "only without external delegates", why="a delegate is one operator")
    try:
        runtime = tflite_runtime(prefer)
        library()
    except Unavailable as error:
        return error
    if not runtime.startswith(LITERT):
        return Unavailable(
            f"{_TIMES}{runtime} has no profiler",
            why="they come from LiteRT's",
            hint="Install ai-edge-litert, or leave {profile} out.",
            options={"profile": True},
        )
    return None


def operator_times(model: bytes, setup: Setup, *, prefer: str | None = None) -> OperatorTimes | Unknown:
    """Time the operators of a setup in a separate process, for about two seconds; unknown if that fails.

    Args:
        model: The bytes of the variant's file.
        setup: What is benched.
        prefer: Required runtime for TFLite variants, if any.
    """
    if error := why_not(setup, prefer=prefer):
        return Unknown(": ".join(filter(None, [error.what.removeprefix(_TIMES), error.why])))
    return profile(model, threads=setup.threads, delegate=setup.delegate.name if setup.delegate else XNNPACK)


def profile(model: bytes, *, threads: int = 1, delegate: str = XNNPACK) -> OperatorTimes | Unknown:
    """Time the operators of a TFLite model in a separate process, for about two seconds; unknown if that fails.

    Args:
        model: The bytes of the file.
        threads: CPU threads.
        delegate: ``xnnpack`` or ``none``.

    Raises:
        Unavailable: ``ai-edge-litert`` is not installed, or has no profiler.
    """
    library()
    try:
        done = child.run_module(
            "runtime.operator_times", str(threads), str(_SECONDS), delegate, input=model, timeout_s=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Unknown(f"the profiling process did not run: {error}")
    if done.returncode < 0:
        return Unknown(f"LiteRT's profiler crashed ({signal.Signals(-done.returncode).name})")
    if done.returncode != 0:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        return Unknown(f"LiteRT's profiler failed: {last}")
    found = json.loads(done.stdout.splitlines()[-1])
    operators = tuple(OperatorTime(name, round(ms, 6)) for name, ms in found["operators"])
    total_ms = round(sum(one.ms for one in operators), 6)
    whole_ms = found["interpreter_ms"]
    return OperatorTimes(
        operators, found["inferences"], total_ms, whole_ms, abs(total_ms - whole_ms) <= TOLERANCE * whole_ms
    )
