"""MLPerf's LoadGen over a real variant, where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgetl_device.bench import loadgen
from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.run import run_bench
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError, Unavailable


@pytest.mark.parametrize(("scenario", "metric"), [("single-stream", "p90_ms"), ("offline", "samples_per_s")])
def test_a_scenario_has_its_log_and_verdict(tiny: Bundle, tmp_path: Path, scenario: str, metric: str) -> None:
    pytest.importorskip("mlperf_loadgen")
    document = run_bench(
        tiny,
        BenchOptions(variants=["int8"], duration=0.2, quick=True, scenario=scenario),
        log=tmp_path / "deep" / "log",
    ).to_json()
    found = document["runs"][0]["loadgen"]
    assert (found["scenario"], found["metric"], found["verdict"]) == (scenario, metric, "VALID")
    p50_ms = document["runs"][0]["latency_ms"]["invoke"]["p50"]
    in_ms = found["value"] if metric == "p90_ms" else 1000 / found["value"]
    # LoadGen's numbers include its thread switches, so compare only the order of magnitude.
    assert p50_ms / 3 < in_ms < 30 * p50_ms
    folder = tmp_path / "deep" / "log" / "int8-1-thread"
    assert found["log"] == folder.name
    assert (folder / loadgen.SUMMARY).read_text() == found["summary"]
    assert (folder / "mlperf_log_detail.txt").stat().st_size > 1000
    assert "performance_sample_count : 12" in found["summary"]


def test_a_model_that_fails_does_not_end_the_process(tiny: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen")
    from edgetl_device.classifier import Classifier

    classifier = Classifier(tiny)
    photos = [tiny.read(photo.file) for photo in tiny.photos()]
    classifier.close()
    with pytest.raises(ValueError, match="closed"):
        loadgen.drive(
            classifier,
            photos,
            scenario="single-stream",
            duration_s=0.1,
            min_inferences=10,
            fastest_ms=0.01,
            folder=tmp_path,
        )


def test_without_loadgen_nothing_is_measured(tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="must be one of single-stream, offline"):
        run_bench(tiny, BenchOptions(scenario="server"), log=tmp_path)
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    said: list[str] = []
    with pytest.raises(Unavailable, match="pip install mlcommons-loadgen"):
        run_bench(tiny, BenchOptions(scenario="offline"), log=tmp_path, say=said.append)
    assert said == []


def test_summaries_without_an_estimate_or_a_verdict() -> None:
    found = loadgen.read_summary("Result is : INVALID\n  Min queries satisfied : NO\n")
    assert found.verdict == "INVALID"
    assert "too few" in found.value.unknown
    with pytest.raises(Unavailable, match="no verdict"):
        loadgen.read_summary("")
