"""``edgetl bench``: delegates side by side, quick and sustained runs, and output."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import benched
import pytest
import small

from edgetl.cli.console.bench import print_result
from edgetl.comparison import compare_results
from edgetl.comparison.results import gate_subjects
from edgetl.comparison.text import conclusion_lines
from edgetl.reports import write_report
from edgetl_device._lib import jsonfile
from edgetl_device._lib.documents import Unknown, to_json
from edgetl_device.bench import latency, result
from edgetl_device.bench.result import Result


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A quick sweep of delegates, its file and its table."""
    out = tmp_path_factory.mktemp("bench") / "result.json"
    done = small.edgetl(
        "bench", benched.TINY, "--variants", "int8,float32", "--delegates", "none,xnnpack", "--quick", "--duration",
        "0.05", "--profile", "--energy", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def printed(found: Result) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_result(found)
    return out.getvalue()


def test_a_sweep_is_one_table_a_delegate_and_one_of_all(swept: tuple[Path, str]) -> None:
    out, text = swept
    document = result.read(out).to_json()
    assert document["settings"]["quick"] is True
    assert [(run["variant"], run["delegate"]) for run in document["runs"]] == [
        ("int8", "none"), ("float32", "none"), ("int8", "xnnpack"), ("float32", "xnnpack"),
    ]  # fmt: skip
    for title in ("tiny.edgetl, 1 thread, no delegate", "tiny.edgetl, 1 thread, xnnpack", "Model p50, ms"):
        assert title in text
    assert "degraded: a quick run: not for publishing (all)" in text
    assert "advice: Measure without --quick." in text
    assert "the bench itself takes" in text
    for title, kernel in (
        ("int8, 1 thread, no delegate", "CONV_2D"),
        ("int8, 1 thread", "Convolution (NHWC, QC8) IGEMM"),
    ):
        assert re.search(rf"^operators of {title}$", text, re.MULTILINE)
        assert kernel in text
    # On a machine without a sensor; with one, there is a row instead.
    assert ("energy: unknown: " in text) != (" mJ" in text)


def test_runs_of_two_delegates_are_compared_each_with_its_own(swept: tuple[Path, str], tmp_path: Path) -> None:
    document = json.loads(swept[0].read_text())
    for run in document["runs"]:
        run["verdict"]["status"] = "degraded"
    document["runs"].reverse()
    document["digest"] = jsonfile.digest(document)
    jsonfile.write_json(tmp_path / "other.json", document)
    found = compare_results([swept[0], tmp_path / "other.json"])
    assert [(one.baseline.delegate, one.other.delegate) for one in found.comparisons] == [
        ("xnnpack", "xnnpack"), ("xnnpack", "xnnpack"), ("none", "none"), ("none", "none"),
    ]  # fmt: skip
    assert all(one.ratios.model.ratio > 0 for one in found.comparisons)
    assert any("int8, 1 thread, no delegate" in line for line in conclusion_lines(found))


def test_what_one_delegate_cannot_run_does_not_fail_the_gates_of_another() -> None:
    def change(document: dict[str, Any]) -> None:
        document["skipped"] = [
            {"variant": "int8", "delegate": "edgetpu", "why": "not compiled"},
            {"variant": "int8-edgetpu", "delegate": "xnnpack", "why": "compiled"},
        ]

    typed = benched.typed(change)
    assert [subject.name for subject in gate_subjects(typed)] == [
        "float32, 1 thread",
        "int8, 1 thread",
        "int8-edgetpu",
    ]
    assert "left out: int8 on edgetpu: not compiled" in printed(typed)


def few(document: dict[str, Any]) -> None:
    """Leave 70 samples of each run: enough for p90, not for p95."""
    for run in document["runs"]:
        run["samples_ns"] = {stage: column[:70] for stage, column in run["samples_ns"].items()}
        samples = latency.Samples(run["samples_ns"])
        run["latency_ms"], run["latency_ci95_ms"] = map(
            to_json, (latency.summary_ms(samples), latency.intervals_ms(samples))
        )


def test_too_few_samples_are_a_dash_everywhere(tmp_path: Path) -> None:
    path = benched.save(tmp_path / "few.json", few)
    found = result.read(path)
    assert found.runs[0].latency.p95_ms == Unknown("not enough samples: 70 of 130")
    rows = {line[1:16].strip(): line.split()[2:] for line in printed(found).splitlines() if line.startswith(" ")}
    assert rows["model p95"] == rows["model p99"] == rows["photo p95"] == ["-", "-"]
    assert "-" not in rows["model p90"]
    write_report([path], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "not enough samples: 70 of 130" in page
    assert "model, p90" in page
    done = small.edgetl("compare", path, benched.save(tmp_path / "whole.json"), "--fail-if", "p95_ms>1e9")
    # Gates use the complete run, which has a p95.
    assert done.returncode == 0, done.stderr
    assert "unknown -> " in done.stdout


def test_results_of_before_are_read_and_shown(tmp_path: Path) -> None:
    """They have all percentiles even with few samples, and none of the newer fields."""

    def old(document: dict[str, Any]) -> None:
        few(document)
        document.pop("harness")
        for key in ("delegates", "quick", "sustained", "order"):
            document["settings"].pop(key)
        for key in ("soc", "clusters"):
            document["environment"].pop(key)
        for run in document["runs"]:
            for key in ("windows", "latency_ci95_ms", "delegated"):
                run.pop(key)
            run["verdict"].pop("advice", None)
            run["delegate"] = {"unknown": "not told"}
            columns = run["samples_ns"] | {"total": latency.Samples(run["samples_ns"]).total_ns()}
            for stage, column in columns.items():
                run["latency_ms"][stage]["p95"] = sorted(column)[66] / 1e6
                run["latency_ms"][stage]["p99"] = sorted(column)[69] / 1e6

    path = benched.save(tmp_path / "old.json", old)
    assert "1 thread" in printed(result.read(path))
    write_report([path], tmp_path / "page.html")
    assert "not recorded by the edgetl that measured this" in (tmp_path / "page.html").read_text()


def test_lines_about_the_board_energy_and_loadgen() -> None:
    unknown = {"unknown": "no cpufreq"}
    others = {"capacity": 1024, "governor": unknown, "frequency_min_mhz": unknown}

    def change(document: dict[str, Any]) -> None:
        document["environment"]["after"]["throttled_since_boot"] = ["under-voltage"]
        document["environment"]["clusters"] = [
            {"cpus": [4, 5], "core": "Cortex-A72", "frequency_max_mhz": 1800.0} | others,
            {"cpus": [0, 1, 2, 3], "core": "Cortex-A53", "frequency_max_mhz": unknown} | others,
        ]
        for run in document["runs"]:
            run["energy"] = {
                "sensor": "RAPL", "covers": "the CPU", "idle_w": 2.0, "busy_w": 6.0, "seconds": 1.0, "inferences": 300,
                "joules_per_inference": 0.02, "joules_per_inference_above_idle": 0.0123,
            }  # fmt: skip
        document["runs"][0]["loadgen"] = {
            "scenario": "single-stream", "verdict": "VALID", "metric": "p90_ms", "value": 4.25, "log": "a/b",
            "version": "5", "summary": "",
        }  # fmt: skip

    text = printed(benched.typed(change))
    assert "since the board started: under-voltage" in text
    assert "cores: 2 x Cortex-A72 up to 1800 MHz, 4 x Cortex-A53\n" in text
    assert "12.3 mJ" in text
    assert "LoadGen, single-stream: VALID, 4.25 ms at p90 (float32, 1 thread); log: a/b" in text


def test_a_place_that_cannot_be_written_is_refused_before_the_bench() -> None:
    for arguments in (("--out", "/proc/result.json"), ("--out", "/proc")):
        done = small.edgetl("bench", benched.TINY, "--duration", "600", *arguments)
        assert "/proc" in small.refused(done)
        assert done.stdout == ""


def test_wrong_requests(tmp_path: Path) -> None:
    for arguments, said in (
        (("--sustained", "1", "--threads", "1,2"), "--sustained 1.0 with 8 runs"),
        (("--sustained", "1", "--quick"), "--sustained with --duration or --quick"),
        (("--delegates", "none,gpu"), "delegate 'gpu'"),
        (("--scenario", "server"), "must be one of single-stream, offline"),
    ):
        assert said in small.refused(small.edgetl("bench", benched.TINY, *arguments))
