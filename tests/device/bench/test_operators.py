"""Times of operators: by the real profiler of LiteRT, and what is said where there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgetl_device._lib import documents
from edgetl_device._lib.documents import Unknown
from edgetl_device.bench.operators import OperatorTimes, operator_times, why_not
from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.result import Result, checked
from edgetl_device.bench.run import run_bench
from edgetl_device.bench.sweep import Setup
from edgetl_device.bundle import Bundle
from edgetl_device.delegates.delegate import parse_delegates
from edgetl_device.errors import Unavailable
from edgetl_device.runtime import tflite_runtime

try:
    LITERT = tflite_runtime().startswith("ai-edge-litert")
except Unavailable:
    LITERT = False
needs_litert = pytest.mark.skipif(not LITERT, reason="ai-edge-litert is not installed")


def setup(tiny: Bundle, variant: str = "int8", *, delegate: str = "", threads: int = 1, batch: int = 1) -> Setup:
    chosen = parse_delegates((delegate,))[0] if delegate else None
    return Setup(tiny.variant(variant), chosen, threads, batch)


@needs_litert
@pytest.mark.parametrize("delegate", ["", "xnnpack", "none"])
@pytest.mark.parametrize(("variant", "kernel"), [("float32", "F32"), ("int8", "QC8")])
def test_operators_are_timed_in_order(tiny: Bundle, variant: str, kernel: str, delegate: str) -> None:
    one = setup(tiny, variant, delegate=delegate)
    found = operator_times(tiny.read(one.variant.file), one)
    assert isinstance(found, OperatorTimes), found
    names = [operator.name for operator in found.operators]
    if delegate == "none":
        assert names.count("CONV_2D") == 3
    else:
        assert len([name for name in names if name.startswith("Convolution") and kernel in name]) == 3
        assert any(name.startswith("Fully Connected") for name in names)
    assert found.inferences >= 20
    assert found.total_ms == pytest.approx(sum(operator.ms for operator in found.operators), abs=1e-5)
    assert 0 < found.total_ms < 20 * found.interpreter_ms
    assert found.consistent == (abs(found.total_ms - found.interpreter_ms) <= 0.1 * found.interpreter_ms)


@needs_litert
def test_a_crash_of_the_profiler_is_a_message(tiny: Bundle) -> None:
    one = setup(tiny)
    for model in (b"", b"TFL3", tiny.read(one.variant.file)[:2000]):
        found = operator_times(model, one)
        assert isinstance(found, Unknown)
        assert "LiteRT's profiler" in found.unknown
        assert "\n" not in found.unknown


@needs_litert
def test_a_bench_has_them_where_they_can_be_had(tiny: Bundle) -> None:
    options = BenchOptions(variants=("int8", "int8-onnx"), quick=True, duration=0.05, profile=True)
    try:
        result = run_bench(tiny, options)
    except Unavailable:  # no ONNX Runtime
        result = run_bench(tiny, replace(options, variants=("int8",)))
    assert isinstance(result.variant("int8").operators, OperatorTimes)
    for run in result.runs[1:]:
        assert run.operators == Unknown("only of TFLite variants: they come from LiteRT's profiler")
    read = documents.parse(Result, documents.dumps(result).encode(), name="it")
    assert checked(read, name="it") == result


@needs_litert
def test_a_bench_without_the_option_has_none(tiny: Bundle) -> None:
    result = run_bench(tiny, BenchOptions(variants=("int8",), quick=True, duration=0.05))
    assert result.runs[0].operators is None
    assert "operators" not in documents.to_json(result)["runs"][0]


def test_what_cannot_be_profiled_is_refused_before_measuring(tiny: Bundle) -> None:
    said: list[str] = []
    options = BenchOptions(variants=("int8",), batch=(2,), profile=True)
    with pytest.raises(Unavailable, match="batch of 1") as refused:
        run_bench(tiny, options, say=said.append)
    assert refused.value.exit_code == 4
    assert said == []
    assert why_not(setup(tiny, "int8-onnx")) is not None


@pytest.mark.skipif(LITERT, reason="ai-edge-litert is installed")
def test_another_runtime_has_no_profiler(tiny: Bundle) -> None:
    with pytest.raises(Unavailable, match="times of operators") as refused:
        run_bench(tiny, BenchOptions(variants=("int8",), quick=True, duration=0.05, profile=True))
    assert "--profile" in refused.value.for_command_line()
