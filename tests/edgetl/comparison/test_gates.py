"""``--fail-if``: parsing and checking gates, and ``edgetl bench`` with gates."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from typing import Any

import benched
import pytest
import small

from edgetl.comparison.gates import (
    COMPARISON_METRICS,
    RUN_METRICS,
    TRAINED_METRICS,
    Subject,
    judge,
    outcome_lines,
    parse_gates,
    raise_failed,
    values,
)
from edgetl.comparison.results import gate_subjects
from edgetl_device._lib.documents import Unknown
from edgetl_device.bench import result
from edgetl_device.errors import GateFailed, InputError
from edgetl_device.reasons import VERDICT


def subject(value: Any, *, variant: str = "int8", invalid: str = "") -> Subject:
    return Subject(f"{variant}, 1 thread", variant, {metric.name: value for metric in RUN_METRICS}, invalid)


def failed(text: str, *subjects: Subject) -> list[bool]:
    return [outcome.failed for outcome in judge(parse_gates([text], RUN_METRICS), subjects)]


@pytest.mark.parametrize(
    ("sign", "at_39", "at_40", "at_41"),
    [(">", False, False, True), (">=", False, True, True), ("<", True, False, False), ("<=", True, True, False)],
)
def test_signs(sign: str, at_39: bool, at_40: bool, at_41: bool) -> None:
    for space in ("", " "):
        text = f"p95_ms{space}{sign}{space}40"
        assert failed(text, subject(39), subject(40.0), subject(41)) == [at_39, at_40, at_41]


def test_a_prefix_is_one_variant() -> None:
    both = subject(5, variant="int8"), subject(5, variant="int8-onnx")
    assert failed("p95_ms>4", *both) == [True, True]
    assert failed("int8-onnx.p95_ms > 4", *both) == [True]
    assert failed("int8.p95_ms > 4e0", both[0], subject(3)) == [True, False]
    with pytest.raises(InputError, match="there is no int4") as refusal:
        failed("int4.p95_ms>4", *both)
    assert refusal.value.why == "there are int8, int8-onnx"


@pytest.mark.parametrize(
    "text", ["", "p95_ms", "p95_ms>", ">40", "p95_ms=40", "p95_ms>=>40", "p95_ms>4 ms", "40>p95_ms"]
)
def test_what_is_no_gate_is_explained(text: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_gates([text], RUN_METRICS)
    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize("text", ["p95_ms>nan", "p95_ms>inf", "p95_ms>forty"])
def test_bounds_are_numbers(text: str) -> None:
    with pytest.raises(InputError, match="is not a number"):
        parse_gates([text], RUN_METRICS)


def test_unknown_metrics_are_told_the_known_ones() -> None:
    with pytest.raises(InputError) as refusal:
        parse_gates(["int8.p95>40"], RUN_METRICS)
    for metric in RUN_METRICS:
        assert metric.name in refusal.value.why
    assert refusal.value.hint == "Did you mean p95_ms?"
    # Only a comparison has a ratio.
    assert parse_gates(["p50_ratio>1.1"], COMPARISON_METRICS)
    with pytest.raises(InputError):
        parse_gates(["p50_ratio>1.1"], RUN_METRICS)


def test_what_is_unknown_fails() -> None:
    unknown = subject(Unknown("no /proc here"))
    (outcome,) = judge(parse_gates(["peak_rss_mb>900"], RUN_METRICS), [unknown])
    assert outcome.failed
    with pytest.raises(GateFailed) as gate:
        raise_failed([outcome])
    assert "no /proc here" in gate.value.why


def test_what_is_not_a_number_fails() -> None:
    for value in (math.nan, math.inf, -math.inf):
        for gate in ("p95_ms>40", "p95_ms<40", "accuracy_pct<1"):
            assert failed(gate, subject(value)) == [True], (gate, value)


def test_an_invalid_measurement_defends_no_time_but_its_accuracy_stands() -> None:
    throttled = subject(1, invalid="the board reports throttling")
    assert failed("p95_ms>40", throttled) == [True]
    assert failed("accuracy_drop_pp>40", throttled) == [False]
    assert failed("size_mb>40", throttled) == [False]


def test_every_metric_is_a_number_with_its_unit() -> None:
    for run in benched.typed().runs:
        found = values(RUN_METRICS, run)
        assert all(isinstance(value, (int, float)) for value in found.values())
        assert found["size_mb"] == run.bytes / 1e6
        assert found["peak_rss_mb"] == run.peak_rss_bytes / 1e6
        assert found["p95_ms"] == run.latency_ms.invoke.p95_ms
        assert found["photo_p99_ms"] == run.latency_ms.total.p99_ms
        assert found["accuracy_pct"] == 100 * run.accuracy.top1
        assert found["accuracy_low_pct"] == 100 * run.accuracy.ci95[0]
        assert found["accuracy_drop_high_pp"] == run.agreement.drop_ci95_pp[1]
        assert found["agreement_low_pct"] < found["agreement_pct"] <= found["agreement_high_pct"]
    unknown = replace(run, agreement=Unknown("there is no reference for these photos"))
    for name in ("accuracy_drop_low_pp", "agreement_low_pct"):
        assert values(RUN_METRICS, unknown)[name] == unknown.agreement


def test_a_gate_says_the_interval_where_there_is_one() -> None:
    run = benched.typed().variant("int8")
    found = Subject("int8, 1 thread", "int8", values(RUN_METRICS, run))
    low, high = (100 * bound for bound in run.accuracy.ci95)
    judged = judge(parse_gates(["accuracy_pct<99", "size_mb>9"], RUN_METRICS), [found])
    accuracy, size = outcome_lines(judged)
    assert accuracy.endswith(f"({100 * run.accuracy.top1:.4g}, 95% CI {low:.3g} to {high:.3g})")
    assert size == f"gate size_mb>9: passed by int8, 1 thread ({run.bytes / 1e6:.4g})"
    unknown = subject(Unknown("there is no reference"))
    assert "CI" not in outcome_lines(judge(parse_gates(["accuracy_drop_pp>1"], RUN_METRICS), [unknown]))[0]


def test_codes_of_the_verdict_are_gates() -> None:
    def change(document: dict[str, Any]) -> None:
        document["skipped"] = [{"variant": "int8-onnx", "why": "onnxruntime is not installed"}]
        document["runs"][0]["verdict"] |= {"status": "degraded", "reasons": ["noisy"], "codes": ["noisy-latency"]}

    float32, int8, left_out = gate_subjects(benched.typed(change))
    assert (float32.variant, int8.variant, left_out.variant) == ("float32", "int8", "int8-onnx")
    # An unknown value fails its gate.
    assert failed("noisy-latency", float32, int8, left_out) == [True, False, True]
    assert failed(" int8.noisy-latency ", float32, int8) == [False]
    assert failed("hot", float32, int8) == [False, False]
    (outcome,) = judge(parse_gates(["float32.noisy-latency"], RUN_METRICS), [float32])
    (line,) = outcome_lines([outcome])
    assert line == (
        "gate float32.noisy-latency: FAILED by float32, 1 thread (p95 of the model's time is more than 1.5 times p50)"
    )
    assert outcome.judged().value is True
    passed = judge(parse_gates(["noisy-latency"], RUN_METRICS), [int8])
    assert outcome_lines(passed) == ["gate noisy-latency: passed by int8, 1 thread"]
    assert passed[0].judged().why is None
    with pytest.raises(InputError, match="there is no int4"):
        failed("int4.noisy-latency", float32, int8)


def test_results_of_earlier_versions_have_no_codes() -> None:
    old = benched.typed(lambda document: [run["verdict"].pop("codes") for run in document["runs"]])
    (outcome, _) = judge(parse_gates(["throttled"], RUN_METRICS), gate_subjects(old))
    assert outcome.failed
    assert "earlier edgetl" in outcome.why


def test_other_codes_are_told_the_known_ones() -> None:
    with pytest.raises(InputError, match="noisy-latncy") as refusal:
        parse_gates(["int8.noisy-latncy"], RUN_METRICS)
    assert refusal.value.hint == "Did you mean noisy-latency?"
    assert all(code in refusal.value.why for code in VERDICT)
    # Training runs have no verdict.
    with pytest.raises(InputError, match="not a name, a sign"):
        parse_gates(["noisy-latency"], TRAINED_METRICS, {})


def test_variants_that_were_left_out_and_invalid_ones_are_subjects() -> None:
    def change(document: dict[str, Any]) -> None:
        document["skipped"] = [{"variant": "int8-onnx", "why": "onnxruntime is not installed"}]
        document["runs"][0]["verdict"] = {"status": "invalid", "reasons": ["hot", "throttled"]}
        document["runs"][1]["verdict"] = {"status": "degraded", "reasons": ["noisy"]}

    subjects = gate_subjects(benched.typed(change))
    assert failed("p50_ms>1e9", *subjects) == [True, False, True]
    assert failed("int8-onnx.size_mb>1e9", *subjects) == [True]
    assert failed("mae>1", *subjects) == [False, False, True]


def test_bench_writes_the_result_and_fails(tmp_path: Any) -> None:
    out = tmp_path / "result.json"
    bench = ("bench", benched.TINY, "--variants", "float32,int8", "--duration", "0.05")
    done = small.edgetl(*bench, "--out", out, "--fail-if", "int8.size_mb>0.001", "--fail-if", "float32.size_mb>9")
    text = small.refused(done, 3)
    size_mb = benched.run_of(benched.result(), "int8")["bytes"] / 1e6
    assert text.splitlines() == ["1 gate failed", f"int8.size_mb>0.001: int8, 1 thread ({size_mb:.4g})"]
    assert [run["variant"] for run in result.read(out).to_json()["runs"]] == ["float32", "int8"]
    assert "model p95" in done.stdout
    assert "gate float32.size_mb>9: passed by float32, 1 thread" in done.stdout
    done = small.edgetl(*bench, "--format", "csv", "--fail-if", "size_mb>1")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["variant"] for row in rows] == ["float32", "int8"]
    assert {metric.name for metric in RUN_METRICS} <= set(rows[0])
    assert float(rows[1]["size_mb"]) == size_mb
    assert "gate size_mb>1: passed by int8, 1 thread" in done.stderr


def test_bench_as_markdown() -> None:
    done = small.edgetl("bench", benched.TINY, "--variants", "int8", "--duration", "0.05", "--format", "markdown")
    lines = done.stdout.splitlines()
    assert lines[:4] == ["### tiny.edgetl, 1 thread", "", "|  | int8 |", "| --- | ---: |"]
    assert any(line.startswith("| model p95 | ") for line in lines)
    assert all(line.startswith(("|", "- ")) for line in lines[2:] if line)


def test_wrong_gates_are_found_out_before_the_bench(tmp_path: Any) -> None:
    out = tmp_path / "result.json"
    for gate, said in (("p95>40", "p95_ms"), ("int9.p95_ms>40", "int9"), ("float32.p95_ms>40", "float32")):
        done = small.edgetl(
            "bench", benched.TINY, "--variants", "int8", "--duration", "60", "--out", out, "--fail-if", gate
        )
        assert said in small.refused(done)
        assert "measuring" not in done.stderr
        assert not out.exists()
    assert "both print" in small.refused(small.edgetl("bench", benched.TINY, "--json", "--format", "csv"))
