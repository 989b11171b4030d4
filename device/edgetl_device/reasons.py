"""Reasons of verdicts and of doctor's findings, each with a stable code.

Wording may change; scripts, gates and the docs rely on the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from ._lib.documents import Is
from .text import GUIDES

Code = Annotated[str, Is(pattern="[a-z0-9]+(-[a-z0-9]+)*")]
Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Reason:
    """A reason for a verdict or a finding.

    Attributes:
        code: Lower-case letters, digits and dashes; never changed or reused.
        severity: ``error``: unusable. ``warning``: use with care. ``info``: for the record.
        meaning: Its meaning, in one sentence.
        advice: What to do, in one sentence; empty if there is nothing to do.
    """

    code: str
    severity: Severity
    meaning: str
    advice: str = ""


def table(*reasons: Reason) -> Mapping[str, Reason]:
    """Return reasons by their code.

    Raises:
        ValueError: Two reasons have the same code.
    """
    found = {reason.code: reason for reason in reasons}
    if len(found) < len(reasons):
        raise ValueError(f"duplicate code among {[reason.code for reason in reasons]}")
    return found


_COOL = "Let it cool down first; give it a heat sink or a fan."
_SUPPLY = "Use the vendor's power supply and a short cable."
SET_GOVERNOR = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"

# Reasons for a bench run: an error makes its times invalid, a warning degraded.
VERDICT = table(
    Reason("few-samples", "error", "Fewer inferences than a p90 needs.", "Measure longer: --duration SECONDS"),
    Reason("quick-run", "warning", "A quick run, not for publishing.", "Measure without --quick."),
    Reason("short-run", "warning", "Fewer inferences than a publishable p90 needs.", "Measure longer."),
    Reason(
        "emulated-cpu",
        "error",
        "The CPU is emulated, so latencies say nothing about a real one.",
        "Measure on the board itself.",
    ),
    Reason(
        "more-threads-than-cores",
        "warning",
        "The model ran on more threads than the process has cores, so threads wait instead of computing.",
        "Measure with as many threads as cores, or fewer: --threads N",
    ),
    Reason("under-voltage", "error", "The supply voltage was too low during the bench.", _SUPPLY),
    Reason("throttled", "error", "The board lowered its clock during the bench because of heat.", _COOL),
    Reason(
        "unsteady-warmup",
        "warning",
        "The median of the model's time had not settled when measuring began.",
        "End other programs, and measure again.",
    ),
    Reason(
        "noisy-latency",
        "warning",
        "p95 of the model's time is more than 1.5 times p50.",
        "End other programs, set a fixed clock, and measure again.",
    ),
    Reason(
        "drifting-latency",
        "warning",
        "The last third of the run took over 10% longer or shorter than the first.",
        "Measure longer, or let the board reach its temperature first.",
    ),
    Reason(
        "busy-cores",
        "warning",
        "Other programs kept more than a quarter of a core busy.",
        "End other programs while measuring.",
    ),
    Reason("hot", "warning", "The CPU was at 80 C or more, where boards begin to slow down.", _COOL),
    Reason(
        "harness-cost",
        "warning",
        "The bench itself takes more than 5% of the model's time.",
        "Compare it only with models measured by this bench.",
    ),
    Reason(
        "clock-governor", "info", "The governor changes the clock while measuring.", f"Set a fixed one: {SET_GOVERNOR}"
    ),
)

# Reasons for a machine: an error is a problem that must be fixed before edgetl can work there.
DOCTOR = table(
    Reason("python-too-old", "error", "Python is older than edgetl needs.", "Install Python 3.10 or newer."),
    Reason("package-missing", "error", "NumPy or Pillow is not installed.", "Install it with pip."),
    Reason("tflite-runtime-missing", "error", "No runtime for TFLite models is installed.", "Install one with pip."),
    Reason(
        "tflite-runtime-broken",
        "error",
        "A runtime for TFLite models is installed but cannot be loaded.",
        "Install a build for this machine and this NumPy.",
    ),
    Reason(
        "onnx-runtime-missing", "info", "ONNX Runtime, for ONNX variants, is not installed.", "pip install onnxruntime"
    ),
    Reason(
        "heif-missing",
        "info",
        "Photos in HEIC or AVIF cannot be read here.",
        "Only if there are such photos: pip install 'pillow-heif>=1.4' 'pillow>=11.3' (the extra heif)",
    ),
    Reason("delegate-missing", "info", "There is no known TFLite delegate library; CPUs need none."),
    Reason("edge-tpu-missing", "info", "There is no Edge TPU on USB or PCIe."),
    Reason(
        "edge-tpu-hindered",
        "warning",
        "An Edge TPU is plugged in but cannot be used, or not at full speed.",
        f"See {GUIDES}/coral.md",
    ),
    Reason(
        "edge-tpu-library-missing",
        "warning",
        "An Edge TPU is plugged in but libedgetpu is missing.",
        f"sudo apt install libedgetpu1-std from Coral's source, or a build for your runtime: see {GUIDES}/coral.md",
    ),
    Reason(
        "clock-governor",
        "warning",
        "The governor changes the clock while edgetl bench measures.",
        f"For steady measurements: {SET_GOVERNOR}",
    ),
    Reason("under-voltage", "warning", "The supply voltage is too low, or was since boot.", _SUPPLY),
    Reason(
        "throttled",
        "warning",
        "The board lowers its clock because of heat, or did since boot.",
        "Give it a heat sink or a fan.",
    ),
    Reason(
        "hot",
        "warning",
        "The CPU is at 80 C or more, where boards begin to slow down.",
        "Let it cool down before edgetl bench; give it a heat sink or a fan.",
    ),
    Reason(
        "disk-low",
        "warning",
        "Under 200 MB are free on the disk.",
        "Free some space: a bundle takes tens of MB, and results a few.",
    ),
    Reason(
        "memory-low",
        "warning",
        "Under 200 MB of memory are free.",
        "End other programs: one int8 classifier takes about 64 MB, a bench about twice that.",
    ),
)
