"""The verdict on the times of a run: its status, reasons and advice."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgetl_device._lib.documents import Text, Unknown, optional
from edgetl_device.machine.environment import State, others_cpu
from edgetl_device.reasons import VERDICT, Code

from .latency import MIN_INFERENCES, Samples
from .percentiles import least_samples, percentile

# Bounds, as ratios of invoke times. p95 over p50 is 1.02 to 1.2 on an idle board.
_NOISY = 1.5
_DRIFT = 1.1
# Drift is judged only if each third of a run has at least this many samples.
_THIRD = 10

# Average number of cores that other programs may keep busy before a measurement counts as disturbed. The load average
# would still include the minute before.
_OTHERS_CORES = 0.25

# Raspberry Pis lower their clock from 80 C on, most other boards within a few degrees of that.
HOT_C = 80.0

# Share of the median of invoke, which includes the overhead.
_OVERHEAD = 0.05

Status = Literal["valid", "degraded", "invalid"]


@dataclass(frozen=True)
class Verdict:
    """The verdict on the times of a run.

    Attributes:
        status: ``valid``, ``degraded`` (use with care) or ``invalid`` (measure again).
        reasons: One sentence each; empty if valid.
        advice: What to do about them.
        codes: Stable codes of the reasons in the same order, then those for the record; absent in older results.
    """

    status: Status
    reasons: tuple[Text, ...]
    advice: tuple[Text, ...] = ()
    codes: tuple[Code, ...] | None = optional()


def judge(
    samples: Samples,
    states: Sequence[State],
    *,
    emulated: bool | Unknown = False,
    governor: str | Unknown = "performance",
    quick: bool = False,
    overhead_ns: float = 0,
    threads: int = 1,
    cores: int | None = None,
) -> Verdict:
    """Return the verdict on the times.

    Args:
        samples: At least one inference.
        states: :func:`environment.state` before, during and after the bench; at least two.
        emulated: Whether the CPU is emulated.
        governor: The CPU frequency governor.
        quick: Whether it was a quick run, with fewer inferences than a publishable p90 needs.
        overhead_ns: Overhead in each ``invoke``, p50 in nanoseconds.
        threads: CPU threads of the model.
        cores: Cores that the process may use; None if unknown.
    """
    found = _Findings()
    invoke = samples.stages_ns["invoke"]
    p50 = percentile(invoke, 50)
    _count(found, len(invoke), quick)
    if emulated is True:
        found.add("emulated-cpu", "the CPU is emulated, so latencies say nothing about a real one")
    if cores is not None and threads > cores:
        found.add("more-threads-than-cores", f"{threads} threads on {cores} core{'s' * (cores != 1)}")
    _heat_and_power(found, states)
    if not samples.steady:
        found.add("unsteady-warmup", f"the median was not steady after {samples.warmup_inferences} warm-up inferences")
    spread = percentile(invoke, 95) / p50
    if spread > _NOISY:
        found.add("noisy-latency", f"noisy: p95 of invoke is {spread:.1f} times p50")
    third = len(invoke) // 3
    if third >= _THIRD:
        drift = statistics.median(invoke[-third:]) / statistics.median(invoke[:third])
        if not 1 / _DRIFT <= drift <= _DRIFT:
            found.add("drifting-latency", f"drifted: the last third took {drift:.2f} times as long as the first")
    others = others_cpu(states[0], states[-1])
    if others is not None and others > _OTHERS_CORES:
        found.add("busy-cores", f"other programs kept {others:.1f} cores busy meanwhile")
    if overhead_ns > _OVERHEAD * p50:
        found.add("harness-cost", f"the bench itself takes {overhead_ns / p50:.0%} of the model's time")
    if isinstance(governor, str) and governor != "performance":
        found.add("clock-governor", f"the governor is {governor}, which changes the clock while measuring")
    return found.verdict()


class _Findings:
    def __init__(self) -> None:
        self._sentences: dict[str, str] = {}

    def add(self, code: str, sentence: str) -> None:
        self._sentences[code] = sentence

    def verdict(self) -> Verdict:
        of = {
            severity: [VERDICT[code] for code in self._sentences if VERDICT[code].severity == severity]
            for severity in ("error", "warning", "info")
        }
        status: Status = "invalid" if of["error"] else "degraded" if of["warning"] else "valid"
        grave = of["error"] + of["warning"]
        # Two codes for heat have the same advice.
        advice = dict.fromkeys(VERDICT[code].advice for code in self._sentences)
        return Verdict(
            status,
            tuple(self._sentences[reason.code] for reason in grave),
            tuple(filter(None, advice)),
            tuple(reason.code for reason in grave + of["info"]),
        )


def _count(found: _Findings, count: int, quick: bool) -> None:
    least = least_samples(90)
    if count < least:
        found.add("few-samples", f"{count} inferences; a p90 needs {least}")
    elif quick:
        found.add("quick-run", "a quick run: not for publishing")
    elif count < MIN_INFERENCES:
        found.add("short-run", f"{count} inferences; a publishable p90 needs {MIN_INFERENCES:,}")


def _heat_and_power(found: _Findings, states: Sequence[State]) -> None:
    start_s = states[0].clock_s
    # Throttling that began earlier counts from the first sample.
    for state in states:
        flags = state.throttled
        if not isinstance(flags, Unknown) and flags:
            hot = state.temperature_c
            at = "" if isinstance(hot, Unknown) else f" at {hot:.0f} C"
            after = f"after {state.clock_s - start_s:.0f} s" if state is not states[0] else "from the start"
            code = "under-voltage" if any("voltage" in flag for flag in flags) else "throttled"
            found.add(code, f"the board reports {', '.join(flags)} {after}{at}")
            break
    hottest = max((state.temperature_c for state in states if not isinstance(state.temperature_c, Unknown)), default=0)
    if hottest >= HOT_C:
        found.add("hot", f"hot: up to {hottest:.0f} C; boards slow down from about {HOT_C:.0f} C")
