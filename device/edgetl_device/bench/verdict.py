"""Whether the times of a run can be believed, why not, and what to do about it. Not for: what the times are."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from edgetl_device.machine.environment import others_cpu

from .latency import MIN_INFERENCES, Samples
from .percentiles import least_samples, percentile

# Bounds, as ratios of invoke times. p95 over p50 is 1.02 to 1.2 on an idle board.
_NOISY = 1.5
_DRIFT = 1.1
# Each third of a run has at least so many samples, or nothing is said about drift.
_THIRD = 10

# Cores that other programs may keep busy, on average, before a measurement counts as disturbed. Measured, not taken
# from the load average: that one still shows the work of the minute before.
_OTHERS_CORES = 0.25

# Raspberry Pis lower their clock from 80 C, most other boards within a few degrees of it.
HOT_C = 80.0

# Of the median of invoke; what the bench itself takes is inside of it.
_HARNESS = 0.05

SET_GOVERNOR = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"

State = dict[str, Any]


def judge(
    samples: Samples,
    states: Sequence[State],
    *,
    emulated: Any = False,
    governor: Any = None,
    quick: bool = False,
    harness_ns: float = 0,
) -> dict[str, Any]:
    """Say whether the times can be believed: ``valid``, ``degraded`` (use with care) or ``invalid`` (measure again).

    Args:
        samples: At least one inference.
        states: :func:`environment.state` before, during and after the bench; at least two.
        emulated: True when the CPU is an emulated one, or ``{"unknown": why}``.
        governor: What sets the CPU's clock, or ``{"unknown": why}``.
        quick: Whether less was asked for than a p90 to publish needs.
        harness_ns: What the bench itself takes of each ``invoke``, p50 in nanoseconds.

    Returns:
        ``status``; ``reasons``, each a sentence, none when valid; and ``advice``, each what to do.
    """
    found = _Findings()
    invoke = samples.stages_ns["invoke"]
    p50 = percentile(invoke, 50)
    _count(found, len(invoke), quick)
    if emulated is True:
        found.invalid("the CPU is emulated: its times say nothing about a real one", "Measure on the board itself.")
    _heat_and_power(found, states)
    if not samples.steady:
        found.degraded(f"the median was not steady after {samples.warmup_inferences} warm-up inferences")
    spread = percentile(invoke, 95) / p50
    if spread > _NOISY:
        found.degraded(f"noisy: p95 of invoke is {spread:.1f} times p50")
    third = len(invoke) // 3
    if third >= _THIRD:
        drift = statistics.median(invoke[-third:]) / statistics.median(invoke[:third])
        if not 1 / _DRIFT <= drift <= _DRIFT:
            found.degraded(f"drifted: the last third took {drift:.2f} times as long as the first")
    others = others_cpu(states[0], states[-1])
    if others is not None and others > _OTHERS_CORES:
        found.degraded(f"other programs kept {others:.1f} cores busy meanwhile", "End other programs while measuring.")
    if harness_ns > _HARNESS * p50:
        found.degraded(
            f"the bench itself takes {harness_ns / p50:.0%} of the model's time",
            "Compare it with models measured by this bench only.",
        )
    if isinstance(governor, str) and governor != "performance":
        found.advise(f"The governor is {governor}, which changes the clock while measuring: {SET_GOVERNOR}")
    return found.to_json()


class _Findings:
    def __init__(self) -> None:
        self._invalid: list[str] = []
        self._degraded: list[str] = []
        self._advice: list[str] = []

    def invalid(self, reason: str, advice: str = "") -> None:
        self._invalid.append(reason)
        self.advise(advice)

    def degraded(self, reason: str, advice: str = "") -> None:
        self._degraded.append(reason)
        self.advise(advice)

    def advise(self, advice: str) -> None:
        if advice and advice not in self._advice:
            self._advice.append(advice)

    def to_json(self) -> dict[str, Any]:
        status = "invalid" if self._invalid else "degraded" if self._degraded else "valid"
        return {"status": status, "reasons": self._invalid + self._degraded, "advice": self._advice}


def _count(found: _Findings, count: int, quick: bool) -> None:
    least = least_samples(90)
    if count < least:
        found.invalid(f"{count} inferences; a p90 needs {least}", "Measure longer: --duration SECONDS")
    elif quick:
        found.degraded("a quick run: not for publishing", "Measure without --quick.")
    elif count < MIN_INFERENCES:
        found.degraded(f"{count} inferences; a p90 to publish needs {MIN_INFERENCES:,}", "Measure longer.")


def _heat_and_power(found: _Findings, states: Sequence[State]) -> None:
    start_s = states[0]["clock_s"]
    # What held the clock down before the first sample held it down at the first sample.
    for state in states:
        flags = state["throttled"]
        if isinstance(flags, list) and flags:
            hot = state["temperature_c"]
            at = f" at {hot:.0f} C" if isinstance(hot, float) else ""
            after = f"after {state['clock_s'] - start_s:.0f} s" if state is not states[0] else "from the start"
            found.invalid(f"the board reports {', '.join(flags)} {after}{at}", _remedy(flags))
            break
    hottest = max((state["temperature_c"] for state in states if isinstance(state["temperature_c"], float)), default=0)
    if hottest >= HOT_C:
        found.degraded(
            f"hot: up to {hottest:.0f} C; boards slow down from about {HOT_C:.0f} C",
            "Let it cool down first; give it a heat sink or a fan.",
        )


def _remedy(flags: Sequence[str]) -> str:
    if any("voltage" in flag for flag in flags):
        return "Use the maker's power supply and a short cable."
    return "Let it cool down first; give it a heat sink or a fan."
