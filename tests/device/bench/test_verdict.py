from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgetl_device._lib.documents import Unknown
from edgetl_device.bench import verdict
from edgetl_device.bench.latency import STAGES, Samples
from edgetl_device.bench.verdict import Verdict
from edgetl_device.machine.environment import State
from edgetl_device.reasons import DOCTOR, VERDICT

BEFORE = State(
    clock_s=100.0,
    busy_cpu_s=500.0,
    own_cpu_s=1.0,
    load_average_1m=0.0,
    frequency_mhz=1800.0,
    throttled=(),
    temperature_c=50.0,
)
AFTER = replace(BEFORE, clock_s=110.0, busy_cpu_s=511.0, own_cpu_s=10.5)
QUIET = [1000] * 1200


def samples(invoke: list[int], *, steady: bool = True) -> Samples:
    return Samples({stage: list(invoke) for stage in STAGES}, steady=steady)


def test_a_quiet_run_is_valid() -> None:
    valid = Verdict("valid", (), (), ())
    assert verdict.judge(samples(QUIET), [BEFORE, AFTER], governor="performance", overhead_ns=49) == valid
    assert verdict.judge(samples(QUIET), [BEFORE, AFTER], threads=2, cores=2) == valid
    why = Unknown("why")
    unknown = replace(BEFORE, busy_cpu_s=why, throttled=why, temperature_c=why)
    assert verdict.judge(samples(QUIET), [unknown, unknown], emulated=why, governor=why) == valid


@pytest.mark.parametrize(
    ("run", "after", "options", "status", "said", "advised", "code"),
    [
        (samples([1000] * 63), {}, {}, "invalid", "63 inferences; a p90 needs 64", "--duration", "few-samples"),
        (samples([1000] * 64), {}, {}, "degraded", "needs 1,024", "longer", "short-run"),
        (samples(QUIET), {}, {"quick": True}, "degraded", "a quick run", "--quick", "quick-run"),
        (
            samples(QUIET),
            {"throttled": ("throttling",)},
            {},
            "invalid",
            "throttling after 10 s at 50 C",
            "fan",
            "throttled",
        ),
        (
            samples(QUIET),
            {"throttled": ("under-voltage",)},
            {},
            "invalid",
            "under-voltage after 10 s",
            "power supply",
            "under-voltage",
        ),
        (samples(QUIET), {}, {"emulated": True}, "invalid", "emulated", "board itself", "emulated-cpu"),
        (samples(QUIET, steady=False), {}, {}, "degraded", "not steady", "", "unsteady-warmup"),
        (samples(([1000] * 10 + [1600]) * 110), {}, {}, "degraded", "noisy", "", "noisy-latency"),
        (samples([1000] * 600 + [1200] * 600), {}, {}, "degraded", "drifted", "", "drifting-latency"),
        (samples(QUIET), {"busy_cpu_s": 515.5}, {}, "degraded", "0.6 cores", "End other programs", "busy-cores"),
        (
            samples(QUIET),
            {},
            {"threads": 16, "cores": 2},
            "degraded",
            "16 threads on 2 cores",
            "--threads",
            "more-threads-than-cores",
        ),
        (samples(QUIET), {"temperature_c": 82.0}, {}, "degraded", "up to 82 C", "heat sink", "hot"),
        (
            samples(QUIET),
            {},
            {"overhead_ns": 100},
            "degraded",
            "takes 10% of the model's time",
            "this bench",
            "harness-cost",
        ),
        (samples(QUIET), {}, {"governor": "ondemand"}, "valid", "", "echo performance | sudo tee", "clock-governor"),
    ],
)
def test_a_verdict_has_reasons_and_advice(
    run: Samples, after: dict[str, Any], options: dict[str, Any], status: str, said: str, advised: str, code: str
) -> None:
    found = verdict.judge(run, [BEFORE, replace(AFTER, **after)], **options)
    assert found.status == status
    assert said in "".join(found.reasons[:1])
    assert len(found.reasons) == bool(said)
    assert advised in "".join(found.advice)
    assert found.codes == (code,)
    assert {"error": "invalid", "warning": "degraded", "info": "valid"}[VERDICT[code].severity] == status


def test_what_happened_on_the_way_counts_though_it_is_over() -> None:
    hot = replace(BEFORE, clock_s=104.0, throttled=("throttling",), temperature_c=85.0)
    found = verdict.judge(samples(QUIET), [BEFORE, hot, AFTER])
    assert found.reasons[0] == "the board reports throttling after 4 s at 85 C"
    assert "hot: up to 85 C" in found.reasons[1]
    weak = replace(BEFORE, throttled=("under-voltage",))
    assert "from the start" in verdict.judge(samples(QUIET), [weak, AFTER]).reasons[0]
    assert found.codes == ("throttled", "hot")
    # Two heat codes have the same advice.
    assert len(found.advice) == 1


def test_every_code_says_what_it_means() -> None:
    for code, reason in {**VERDICT, **DOCTOR}.items():
        assert (reason.code, reason.meaning[-1]) == (code, ".")
    assert all(reason.advice for reason in VERDICT.values())


def test_a_run_too_short_for_thirds_does_not_drift() -> None:
    for count, drifts in ((10, False), (600, True)):
        found = verdict.judge(samples([1000] * count + [1200] * count), [BEFORE, AFTER])
        assert ("drifting-latency" in found.codes) == drifts
