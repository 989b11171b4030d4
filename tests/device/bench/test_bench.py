from __future__ import annotations

import importlib.util
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgetl_device._lib import documents, jsonfile
from edgetl_device._lib.documents import Unknown, to_json
from edgetl_device.bench import latency, memory, result, sweep
from edgetl_device.bench import run as bench
from edgetl_device.bench.latency import STAGES, Samples
from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.run import run_bench
from edgetl_device.bundle import Bundle
from edgetl_device.delegates.delegate import parse_delegates
from edgetl_device.errors import InputError
from edgetl_device.machine import environment

HAS_ONNX = importlib.util.find_spec("onnxruntime") is not None


@pytest.fixture(scope="module")
def document(tiny: Bundle) -> dict[str, Any]:
    return run_bench(tiny, BenchOptions(threads=(1, 2), duration=0.05, quick=True)).to_json()


def test_all_variants_are_measured_or_named(document: dict[str, Any], tiny: Bundle) -> None:
    wanted = [v.name for v in tiny.variants if HAS_ONNX or v.format != "onnx"]
    assert [(run["variant"], run["threads"]) for run in document["runs"]] == [(n, t) for n in wanted for t in (1, 2)]
    assert [row["variant"] for row in document["skipped"]] == [v.name for v in tiny.variants if v.name not in wanted]
    assert all("not installed" in row["why"] for row in document["skipped"])


def test_samples_and_what_is_made_of_them(document: dict[str, Any], tiny: Bundle) -> None:
    for run in document["runs"]:
        assert set(run["samples_ns"]) == set(STAGES)
        assert {len(column) >= bench.QUICK_INFERENCES for column in run["samples_ns"].values()} == {True}
        assert all(isinstance(value, int) and value >= 0 for value in run["samples_ns"]["invoke"])
        assert run["latency_ms"] == to_json(latency.summary_ms(Samples(run["samples_ns"])))
        assert run["bytes"] == tiny.variant(run["variant"]).bytes
        assert run["load_ms"] > 0
        assert run["first_inference_ms"] > 0
        assert not {"energy", "operators", "loadgen"} & set(run)
        assert run["verdict"]["status"] in ("degraded", "invalid")
        assert any(reason.startswith("a quick run") for reason in run["verdict"]["reasons"])
        assert "quick-run" in run["verdict"]["codes"]
        low, high = run["latency_ci95_ms"]["invoke"]["p50"]
        assert low <= run["latency_ms"]["invoke"]["p50"] <= high
        assert len(run["windows"]) == 5
        assert sum(window["inferences"] for window in run["windows"]) == len(run["samples_ns"]["invoke"])


def test_accuracy_is_that_of_the_bundle(document: dict[str, Any], tiny: Bundle) -> None:
    for run in document["runs"]:
        recorded = tiny.variant(run["variant"])
        assert run["accuracy"] == to_json(recorded.accuracy)
        assert run["agreement"]["agree"] == recorded.agreement.agree
        assert run["agreement"]["max_abs"] == pytest.approx(recorded.agreement.max_abs, abs=0.02)
        assert [row["label"] for row in run["per_class"]] == list(tiny.labels)


def test_peak_memory_is_that_of_a_process_with_one_variant(document: dict[str, Any]) -> None:
    for run in document["runs"]:
        assert 20e6 < run["peak_rss_bytes"] < 150e6


def test_peak_memory_is_not_that_of_this_process(tiny: Bundle) -> None:
    ballast = b"x" * (200 << 20)
    found = memory.peak_rss_bytes(tiny.path, "int8", 1)
    assert isinstance(found, int)
    assert found < 150e6 < len(ballast) < memory.own_peak_bytes()


def test_nothing_is_null_or_made_up(document: dict[str, Any]) -> None:
    def walk(value: Any) -> None:
        assert value is not None
        if isinstance(value, dict):
            assert "unknown" not in value or (set(value) == {"unknown"} and value["unknown"])
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    walk(document)
    assert document["environment"]["cores"] >= 1
    assert {"temperature_c", "throttled", "load_average_1m"} <= set(document["environment"]["after"])


def test_runs_are_found_by_what_they_are(document: dict[str, Any]) -> None:
    found = documents.of_json(result.Result, document, name="result.json")
    int8 = found.variant("int8", threads=2)
    assert (int8.variant, int8.threads, found.variant("int8").threads) == ("int8", 2, 1)
    assert int8.latency.p95_ms == int8.latency_ms.invoke.of(95) == int8.latency_ms.invoke.p95_ms
    with pytest.raises(InputError, match="no run of 'int88'") as refusal:
        found.variant("int88")
    assert refusal.value.hint == "Did you mean int8?"
    with pytest.raises(InputError, match=r"no run of 'int8', threads=3\nit has .*int8 \(threads=2, batch=1\)"):
        found.variant("int8", threads=3)


def test_a_result_reads_back(document: dict[str, Any], tmp_path: Path) -> None:
    jsonfile.write_json(tmp_path / "result.json", document)
    assert result.read(tmp_path / "result.json").to_json() == document


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            lambda d: d["runs"][0]["latency_ms"]["invoke"].update(p95=0.001),
            "runs[0].latency_ms.invoke.p95 does not match",
        ),
        (
            lambda d: d["runs"][1]["latency_ms"]["invoke"].update(p50={"unknown": "not enough samples: 5 of 11"}),
            "runs[1].latency_ms.invoke.p50 does not match",
        ),
        (lambda d: d["runs"][0]["latency_ms"]["total"].pop("p99"), "runs[0].latency_ms.total.p99 is missing"),
        (lambda d: d["runs"][0]["samples_ns"]["invoke"].pop(), "runs[0].samples_ns must have every stage"),
        (lambda d: d["runs"][0]["verdict"].update(status="perfect"), "runs[0].verdict.status must be"),
        (lambda d: d["runs"][0].pop("agreement"), "runs[0].agreement is missing"),
        (lambda d: d["runs"][0]["agreement"].pop("mae"), "runs[0].agreement.mae is missing"),
        (lambda d: d["environment"].update(governor=None), "environment.governor cannot be null"),
        (lambda d: [column.clear() for column in d["runs"][0]["samples_ns"].values()], "runs[0].samples_ns is empty"),
        (lambda d: d.update(runs=[]), "runs is empty"),
    ],
)
def test_an_edited_result_is_refused(
    document: dict[str, Any], tmp_path: Path, edit: Callable[[dict[str, Any]], None], said: str
) -> None:
    edited = json.loads(json.dumps(document))
    edit(edited)
    jsonfile.write_json(tmp_path / "result.json", edited)
    with pytest.raises(InputError, match="digest"):
        result.read(tmp_path / "result.json")
    edited["digest"] = jsonfile.digest(edited)
    jsonfile.write_json(tmp_path / "result.json", edited)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'result.json'}: {said}")):
        result.read(tmp_path / "result.json")


def test_wrong_requests(tiny: Bundle) -> None:
    for wrong in (
        {"duration": 0},
        {"duration": float("nan")},
        {"duration": 1e9},
        {"sustained": 0},
        {"sustained": 61},
        {"sustained": float("inf")},
        {"sustained": 1, "quick": True},
        {"sustained": 1, "duration": 10},
        {"sustained": 0.01, "variants": ["int8", "float32"]},
        {"threads": ()},
        {"threads": (0,)},
        {"variants": ["int9"]},
        {"variants": []},
    ):
        with pytest.raises(InputError):
            run_bench(tiny, BenchOptions(**wrong))


def test_a_bench_that_is_not_quick_has_a_p90_to_publish(tiny: Bundle) -> None:
    document = run_bench(tiny, BenchOptions(variants=["int8"], duration=0.01)).to_json()
    (run,) = document["runs"]
    assert len(run["samples_ns"]["invoke"]) >= 1024
    assert all(isinstance(value, float) for value in run["latency_ms"]["invoke"].values())
    assert not any("quick" in reason for reason in run["verdict"]["reasons"])


def test_the_bench_knows_its_own_cost(document: dict[str, Any], tiny: Bundle) -> None:
    cost = document["harness"]["latency_ms"]["invoke"]
    assert 0 < cost["p50"] <= cost["p90"]
    # The null runtime runs nothing, so it must be faster than any model.
    assert cost["p50"] < min(run["latency_ms"]["invoke"]["p50"] for run in document["runs"])


def test_delegates_are_measured_side_by_side(tiny: Bundle) -> None:
    pytest.importorskip("ai_edge_litert", reason="builds of tflite-runtime may apply no XNNPACK by themselves")
    document = run_bench(
        tiny, BenchOptions(variants=["int8", "float32"], delegates=["none", "xnnpack"], duration=0.05, quick=True)
    ).to_json()
    assert document["settings"]["delegates"] == ["none", "xnnpack"]
    found = {(run["variant"], run["delegate"]): run["delegated"]["operators"] for run in document["runs"]}
    assert found == {
        ("int8", "none"): 0,
        ("float32", "none"): 0,
        ("int8", "xnnpack"): 7,
        ("float32", "xnnpack"): 8,
    }
    p50 = {run["delegate"]: run["latency_ms"]["invoke"]["p50"] for run in document["runs"] if run["variant"] == "int8"}
    # Four times on x86, for which TFLite's reference kernels are not optimized.
    assert p50["none"] > p50["xnnpack"]
    # The order of runs varies.
    turns = [
        [
            run["delegate"] + run["variant"]
            for run in sorted(document["runs"], key=lambda r: r["windows"][number]["clock_s"])
        ]
        for number in range(5)
    ]
    assert len({tuple(turn) for turn in turns}) > 1


def test_what_a_delegate_cannot_run_is_left_out(tiny: Bundle) -> None:
    if not HAS_ONNX:
        pytest.skip("onnxruntime is not installed here")
    plan = sweep.plan(tiny, variants=None, threads=(1, 2), delegates=parse_delegates(["none,xnnpack"]))
    assert [str(one) for one in plan.setups][:3] == [
        "float32, 1 thread, none",
        "float32, 2 threads, none",
        "int8, 1 thread, none",
    ]
    assert {(row.variant, row.delegate) for row in plan.skipped} == {
        (variant, delegate) for variant in ("float32-onnx", "int8-onnx") for delegate in ("none", "xnnpack")
    }
    for variants, delegates, said in (
        (["float32-onnx", "int8"], ["none"], "onnx"),
        (["int8"], ["xnnpack,edgetpu"], "here on edgetpu"),
    ):
        with pytest.raises(InputError, match=said):
            sweep.plan(tiny, variants=variants, threads=(1,), delegates=parse_delegates(delegates))
    mixed = parse_delegates(["none"])
    assert len(sweep.plan(tiny, variants=["float32-onnx", "int8"], threads=(1,), delegates=[None, *mixed]).setups) == 3


def test_delegates_are_read_from_lists() -> None:
    assert parse_delegates([]) == parse_delegates([" , "]) == [None]
    assert [str(one) for one in parse_delegates(["none, xnnpack,none"])] == ["none", "xnnpack"]
    one = parse_delegates(["a/b.so:key=1,other=2", "none"])
    assert [str(part) for part in one] == ["a/b.so:key=1,other=2", "none"]
    for wrong in (["edgetpu", "b.so"], ["edgetpu:0,edgetpu:1"]):
        with pytest.raises(InputError, match="at most one library"):
            parse_delegates(wrong)


def test_a_sustained_bench_keeps_times_and_heat(tiny: Bundle, tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("cpu-thermal\n")
    temperatures = iter(range(50_000, 99_000, 1000))
    ended = threading.Event()

    def heat() -> None:
        for value in temperatures:
            (zone / "temp.new").write_text(f"{value}\n")
            (zone / "temp.new").replace(zone / "temp")
            if ended.wait(0.1):
                return

    (zone / "temp").write_text("45000\n")
    heater = threading.Thread(target=heat)
    heater.start()
    try:
        document = run_bench(tiny, BenchOptions(variants=["int8"], sustained=0.05), root=tmp_path).to_json()
    finally:
        ended.set()
        heater.join()
    (run,) = document["runs"]
    environment = document["environment"]
    assert document["settings"]["sustained"] is True
    assert len(run["windows"]) == len(environment["during"]) + 1 == 5
    measured = [
        state["temperature_c"] for state in [environment["before"], *environment["during"], environment["after"]]
    ]
    assert measured == sorted(measured)
    assert measured[-1] > measured[0]
    assert 2.5 < run["windows"][-1]["clock_s"] + run["windows"][-1]["duration_s"] - run["windows"][0]["clock_s"] < 20


def test_memory_that_cannot_be_measured_says_why(tiny_file: Path) -> None:
    found = memory.peak_rss_bytes(tiny_file, "int9", 1)
    assert isinstance(found, Unknown)
    assert "int9" in found.unknown or "code 1" in found.unknown


def test_memory_that_takes_too_long_to_measure_says_so(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_TIMEOUT_S", 0.01)
    found = memory.peak_rss_bytes(tiny_file, "int8", 1)
    assert isinstance(found, Unknown)
    assert "timed out after 0.01 seconds" in found.unknown


def test_throttle_flags_are_read_from_vcgencmd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "vcgencmd"
    fake.write_text("#!/bin/sh\necho throttled=0x50005\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert environment.state().throttled == ("under-voltage", "throttling")
    fake.write_text("#!/bin/sh\necho throttled=0x50000\n")
    assert environment.state().throttled == ()
    fake.write_text("#!/bin/sh\nexit 1\n")
    assert isinstance(environment.state().throttled, Unknown)


def test_ctrl_c_ends_a_bench_with_130(tiny_file: Path) -> None:
    command = [sys.executable, "-m", "edgetl_device", "bench", str(tiny_file), "--sustained", "1", "--variants", "int8"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "measuring" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err


def test_the_cpu_time_of_other_programs_is_seen() -> None:
    before = environment.state()
    # This process's own work does not count as another program's; a busy loop in another process does.
    spin = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    with subprocess.Popen([sys.executable, "-c", spin]):
        pass
    others = environment.others_cpu(before, environment.state())
    assert others is not None
    assert others > 0.3
