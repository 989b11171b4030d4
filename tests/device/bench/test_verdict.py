from __future__ import annotations

from typing import Any

import pytest

from edgetl_device.bench import verdict
from edgetl_device.bench.latency import STAGES, Samples

BEFORE = {"clock_s": 100.0, "busy_cpu_s": 500.0, "own_cpu_s": 1.0, "throttled": [], "temperature_c": 50.0}
AFTER = BEFORE | {"clock_s": 110.0, "busy_cpu_s": 511.0, "own_cpu_s": 10.5}
QUIET = [1000] * 1200


def samples(invoke: list[int], *, steady: bool = True) -> Samples:
    return Samples({stage: list(invoke) for stage in STAGES}, steady=steady)


def test_a_quiet_run_is_valid() -> None:
    valid = {"status": "valid", "reasons": [], "advice": []}
    assert verdict.judge(samples(QUIET), [BEFORE, AFTER], governor="performance", harness_ns=49) == valid
    unknown: dict[str, Any] = {name: {"unknown": "why"} for name in BEFORE} | {"clock_s": 100.0}
    why = {"unknown": "why"}
    assert verdict.judge(samples(QUIET), [unknown, unknown], emulated=why, governor=why) == valid


@pytest.mark.parametrize(
    ("run", "after", "options", "status", "said", "advised"),
    [
        (samples([1000] * 63), {}, {}, "invalid", "63 inferences; a p90 needs 64", "--duration"),
        (samples([1000] * 64), {}, {}, "degraded", "needs 1,024", "longer"),
        (samples(QUIET), {}, {"quick": True}, "degraded", "a quick run", "--quick"),
        (samples(QUIET), {"throttled": ["throttling"]}, {}, "invalid", "throttling after 10 s at 50 C", "fan"),
        (samples(QUIET), {"throttled": ["under-voltage"]}, {}, "invalid", "under-voltage after 10 s", "power supply"),
        (samples(QUIET), {}, {"emulated": True}, "invalid", "emulated", "board itself"),
        (samples(QUIET, steady=False), {}, {}, "degraded", "not steady", ""),
        (samples(([1000] * 10 + [1600]) * 110), {}, {}, "degraded", "noisy", ""),
        (samples([1000] * 600 + [1200] * 600), {}, {}, "degraded", "drifted", ""),
        (samples(QUIET), {"busy_cpu_s": 515.5}, {}, "degraded", "0.6 cores", "End other programs"),
        (samples(QUIET), {"temperature_c": 82.0}, {}, "degraded", "up to 82 C", "heat sink"),
        (samples(QUIET), {}, {"harness_ns": 100}, "degraded", "takes 10% of the model's time", "this bench"),
        (samples(QUIET), {}, {"governor": "ondemand"}, "valid", "", "echo performance | sudo tee"),
    ],
)
def test_a_verdict_has_reasons_and_advice(
    run: Samples, after: dict[str, Any], options: dict[str, Any], status: str, said: str, advised: str
) -> None:
    found = verdict.judge(run, [BEFORE, AFTER | after], **options)
    assert found["status"] == status
    assert said in "".join(found["reasons"][:1])
    assert len(found["reasons"]) == bool(said)
    assert advised in "".join(found["advice"])


def test_what_happened_on_the_way_counts_though_it_is_over() -> None:
    hot = BEFORE | {"clock_s": 104.0, "throttled": ["throttling"], "temperature_c": 85.0}
    found = verdict.judge(samples(QUIET), [BEFORE, hot, AFTER])
    assert found["reasons"][0] == "the board reports throttling after 4 s at 85 C"
    assert "hot: up to 85 C" in found["reasons"][1]
    weak = BEFORE | {"throttled": ["under-voltage"]}
    assert "from the start" in verdict.judge(samples(QUIET), [weak, AFTER])["reasons"][0]
