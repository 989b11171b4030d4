"""Latency models: fitted to real times of small architectures here, and to made-up ones whose costs are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import latencies
import pytest
import small
from latencies import COSTS
from small import Once

from edgetl import latency
from edgetl.comparison.results import compare_results
from edgetl.export.conversion import float32_tflite
from edgetl.inspection.tflite.file import describe
from edgetl.latency.architectures import Architecture, int8_model, spread
from edgetl.latency.features import CONVOLUTION, MATMUL, work_of
from edgetl.latency.fit import Profiled, fit, profiled
from edgetl.latency.measure import fit_here
from edgetl.runs.directory import Run
from edgetl_device._lib import documents, jsonfile
from edgetl_device._lib.documents import Unknown
from edgetl_device.bench import result
from edgetl_device.bench.operators import OperatorTime
from edgetl_device.errors import InputError, Unavailable


@pytest.fixture(scope="module")
def tiny_int8(once: Once) -> Path:
    """The int8 file of the smallest architecture."""
    return once("latency-tiny.tflite", lambda path: path.write_bytes(int8_model(Architecture("simple_cnn", 32))))


@pytest.fixture(scope="module")
def made_up() -> list[Profiled]:
    return latencies.made_up()


def test_known_costs_are_found(made_up: list[Profiled]) -> None:
    found = fit(made_up, threads=2)
    costs = {one.kind: dict(zip(one.features, one.ms, strict=True)) for one in found.kinds}
    assert costs["matmul"]["multiply-adds"] == pytest.approx(COSTS["matmul"], rel=1e-3)
    assert costs["depthwise 3x3"]["multiply-adds"] == pytest.approx(COSTS["depthwise"], rel=1e-3)
    assert costs["ADD"]["bytes"] == pytest.approx(COSTS["rest"], rel=1e-3)
    assert found.factor == pytest.approx(1, rel=1e-3)
    assert found.error95 < 1e-3
    assert (found.threads, len(found.fitted_on)) == (2, 12)
    assert all(one.held_out_ms == pytest.approx(one.p50_ms, rel=1e-3) for one in found.fitted_on)


def test_a_group_is_predicted_without_itself(made_up: list[Profiled]) -> None:
    """One backbone is ten times slower than all others: no model that has not seen it can know."""
    slow = [
        replace(
            one,
            times=replace(
                one.times,
                operators=tuple(OperatorTime(each.name, 10 * each.ms) for each in one.times.operators),
                total_ms=10 * one.times.total_ms,
                interpreter_ms=10 * one.times.interpreter_ms,
            ),
        )
        if one.group == "d"
        else one
        for one in made_up
    ]
    found = {one.name: one for one in fit(slow, threads=1).fitted_on}
    assert all(found[f"d {place}"].held_out_ms < 0.2 * found[f"d {place}"].p50_ms for place in range(3))
    model = fit(slow, threads=1)
    assert model.error95 > 0.5
    assert model.high > 2


def test_too_few_architectures_and_other_kernels_are_refused(made_up: list[Profiled]) -> None:
    with pytest.raises(InputError, match="5 architectures"):
        fit(made_up[:5], threads=1)
    cut = replace(made_up[0], times=replace(made_up[0].times, operators=made_up[0].times.operators[1:]))
    with pytest.raises(Unavailable, match="but the file has"):
        fit([cut, *made_up[1:]], threads=1)


def test_the_work_of_a_file(tiny_int8: Path) -> None:
    work = work_of(describe(tiny_int8.read_bytes()), shown="it")
    assert [one.kind for one in work].count(CONVOLUTION) == 4
    assert [one.kind for one in work].count("MAX_POOL_2D") == 4
    (dense,) = [one for one in work if one.kind == MATMUL]
    # 5 classes are computed as 16.
    features = describe(tiny_int8.read_bytes()).tensors
    width = next(one.shape[1] for one in features if len(one.shape) == 2 and one.shape[0] == 5)
    assert dict(zip(dense.names, dense.values, strict=True))["multiply-adds"] == pytest.approx(16 * width / 1e6)
    assert not any(one.kind == "RESHAPE" for one in work)


def test_real_operators_are_matched_with_their_kernels(tiny_int8: Path) -> None:
    found = profiled("tiny", "simple_cnn", tiny_int8.read_bytes())
    assert isinstance(found, Profiled), found
    named = [replace(found, name=f"tiny {place}", group=str(place)) for place in range(6)]
    model = fit(named, threads=1)
    # All are the same, so each predicts the others.
    assert model.error95 < 0.05
    assert {"convolution", "matmul", "MAX_POOL_2D"} <= {one.kind for one in model.kinds}


@pytest.fixture(scope="module")
def document(once: Once) -> Path:
    return once("made-up.latency.json", lambda path: latencies.write_model(path))


def test_a_prediction_says_that_it_is_one(document: Path, tiny_int8: Path) -> None:
    model = latency.load(document)
    found = latency.predict(model, tiny_int8)
    as_json = documents.to_json(found)
    assert as_json["predicted"] is True
    assert as_json["schema"] == "edgetl.predicted-latency/1"
    assert found.ci95_ms[0] <= found.p50_ms <= found.ci95_ms[1]
    assert found.latency_model == model.digest
    # The made-up architectures had none of these.
    assert set(found.unseen) >= {"convolution", "MAX_POOL_2D"}
    by_architecture = latency.predict(model, Architecture("simple_cnn", 32))
    assert by_architecture.p50_ms == pytest.approx(found.p50_ms)
    assert by_architecture.model == "simple_cnn 32 px"


def test_a_prediction_is_no_result(document: Path, tiny_int8: Path, tmp_path: Path) -> None:
    documents.write(tmp_path / "predicted.json", latency.predict(latency.load(document), tiny_int8))
    with pytest.raises(InputError, match=r"edgetl\.predicted-latency/1"):
        result.read(tmp_path / "predicted.json")
    with pytest.raises(InputError):
        compare_results([tmp_path / "predicted.json", tmp_path / "predicted.json"])


def test_larger_inputs_take_longer(document: Path) -> None:
    model = latency.load(document)
    assert latency.predict(model, Architecture("simple_cnn", 64)).p50_ms > 2 * (
        latency.predict(model, Architecture("simple_cnn", 32)).p50_ms
    )


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("factor", 0, "factor"),
        ("low", 9.0, "low is above high"),
        ("kinds", [], "kinds"),
        ("ms", [1.0], r"kinds\[0\] has"),
        ("ms", [-1.0], r"kinds\[0\]\.ms"),
        ("threads", "many", "threads"),
        ("schema", "edgetl.latency-model/9", "edgetl.latency-model/9"),
    ],
)
def test_damaged_models_are_refused(document: Path, tmp_path: Path, field: str, value: Any, why: str) -> None:
    changed = json.loads(document.read_text()) | {field: value}
    if field == "ms":
        changed["kinds"][0]["ms"] = value
    # As somebody would who edits it on purpose.
    changed["digest"] = jsonfile.digest(changed)
    (tmp_path / "damaged.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match=why):
        latency.load(tmp_path / "damaged.json")


def test_an_edited_model_is_refused(document: Path, tmp_path: Path) -> None:
    changed = json.loads(document.read_text())
    changed["kinds"][0]["ms"][0] = 1e-9
    (tmp_path / "edited.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match="digest"):
        latency.load(tmp_path / "edited.json")


def test_a_float_file_is_refused(document: Path, short_run: Run, tmp_path: Path) -> None:
    (tmp_path / "float.tflite").write_bytes(float32_tflite(short_run.load_model()))
    with pytest.raises(InputError, match="computes in float32"):
        latency.predict(latency.load(document), tmp_path / "float.tflite")


def test_the_command_predicts(document: Path, tiny_int8: Path, tmp_path: Path) -> None:
    done = small.edgetl("latency", "predict", document, tiny_int8)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("predicted ")
    assert "not measured" in done.stdout
    assert "not fitted on" in done.stderr
    done = small.edgetl("latency", "predict", document, tiny_int8, "--json")
    assert json.loads(done.stdout)["predicted"] is True
    (tmp_path / "no.tflite").write_bytes(b"nothing")
    assert "not a TFLite file" in small.refused(small.edgetl("latency", "predict", document, tmp_path / "no.tflite"))
    small.refused(small.edgetl("latency", "predict", tiny_int8, document))
    small.refused(small.edgetl("latency", "predict", document, tmp_path / "missing.tflite"))


def test_the_command_refuses_wrong_backbones(tmp_path: Path) -> None:
    text = small.refused(small.edgetl("latency", "fit", "--out", tmp_path / "x.json", "--backbones", "mobilenet_v9"))
    assert "mobilenet_v9" in text
    assert not (tmp_path / "x.json").exists()


def test_the_spread_of_architectures() -> None:
    found = list(spread(("mobilenet_v2", "simple_cnn")))
    assert len({str(one) for one in found}) == len(found) == 7
    assert len({one.size for one in found}) >= 3


@pytest.mark.slow
def test_a_model_is_fitted_here() -> None:
    said: list[str] = []
    found = fit_here(("simple_cnn", "mobilenet_v3_small_minimalistic"), say=said.append)
    assert {one.group for one in found.fitted_on} == {"simple_cnn", "mobilenet_v3_small_minimalistic"}
    assert 0 < found.low <= found.high
    assert not isinstance(found.runtime, Unknown)
