"""The Python API: the verbs as functions."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import pytest
import small

import edgetl
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.options import options_of

QUICK = {"calibration": 12}


@pytest.fixture(scope="module")
def run(short_run: edgetl.Run, tmp_path_factory: pytest.TempPathFactory) -> edgetl.Run:
    """A copy of the run for this module, which may be changed."""
    folder = tmp_path_factory.mktemp("api") / "run"
    shutil.copytree(short_run.folder, folder)
    return edgetl.Run.open(folder)


@pytest.fixture(scope="module")
def bundle(run: edgetl.Run) -> edgetl.Bundle:
    return edgetl.quantize(str(run.folder), int8=True, **QUICK)


def test_training_takes_options_as_keywords(tiny_photos: Path, tmp_path: Path) -> None:
    run = edgetl.train(str(tiny_photos), out=str(tmp_path / "run"), size=64, strategy="head", seed=3)
    assert isinstance(run, edgetl.Run)
    assert run.folder == tmp_path / "run"
    assert run.preprocess.size == square(64)
    assert (run.folder / "report.html").is_file()


def test_a_finished_run_is_resumed_as_it_is(run: edgetl.Run) -> None:
    with pytest.raises(InputError, match="nothing to resume"):
        edgetl.resume(run.folder)


def test_a_run_becomes_a_bundle(bundle: edgetl.Bundle, run: edgetl.Run) -> None:
    assert {variant.name for variant in bundle.variants} >= {"float32", "int8"}
    assert bundle.path == run.folder / "bundle"


def test_a_bench_is_a_typed_result(bundle: edgetl.Bundle) -> None:
    result = edgetl.bench(bundle, variants=["float32", "int8"], threads=[1], duration=0.05, quick=True)
    int8 = result.variant("int8")
    assert int8.latency.p50_ms > 0
    low, high = int8.accuracy.ci95
    assert 0 <= low <= int8.accuracy.top1 <= high <= 1
    assert result.to_json()["schema"] == "edgetl.result/1"


def test_a_bundle_verifies(bundle: edgetl.Bundle, run: edgetl.Run) -> None:
    assert edgetl.verify(bundle).ok
    assert edgetl.verify(run).ok
    assert edgetl.verify(str(bundle.path)).ok


def test_runs_and_bundles_are_evaluated(run: edgetl.Run, bundle: edgetl.Bundle, tiny_photos: Path) -> None:
    of_run = edgetl.evaluate(run, tiny_photos)
    of_bundle = edgetl.evaluate(bundle, str(tiny_photos), variant="int8")
    assert of_run.metrics.accuracy.photos == of_bundle.metrics.accuracy.photos > 0


def test_advice_names_a_strategy(tiny_photos: Path) -> None:
    advice = edgetl.advise(str(tiny_photos), size=64)
    assert advice.recommendation.reasons


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: edgetl.train("photos", lr=7), "lr=7: must be over 0 and at most 1"),
        (lambda: edgetl.train("photos", epoch=7), "Did you mean epochs?"),
        (lambda: edgetl.train("photos", fit="squash"), "fit='squash'"),
        (lambda: edgetl.quantize("run", target="phone"), "target='phone'"),
        (lambda: edgetl.bench("bundle", threads=[0]), "threads"),
        (lambda: edgetl.advise("photos", weights="none"), "weights='none'"),
        (lambda: edgetl.train("nowhere"), "nowhere"),
        (lambda: edgetl.quantize("nowhere"), "nowhere: no such run"),
        (lambda: edgetl.bench("nowhere"), "nowhere"),
    ],
)
def test_errors_speak_of_keywords(call: object, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        call()  # type: ignore[operator]
    assert said in str(refused.value)
    assert "--" not in str(refused.value)


@pytest.mark.parametrize(
    ("verb", "kind"),
    [
        (edgetl.train, edgetl.TrainOptions),
        (edgetl.quantize, edgetl.QuantizeOptions),
        (edgetl.bench, edgetl.BenchOptions),
    ],
)
def test_signatures_show_every_option(verb: object, kind: type) -> None:
    shown = inspect.signature(verb).parameters  # type: ignore[arg-type]
    assert {one.name: one.default for one in options_of(kind)}.items() <= {
        name: one.default for name, one in shown.items()
    }.items()


def test_every_name_is_there_and_listed() -> None:
    for name in edgetl.__all__:
        assert getattr(edgetl, name) is not None
        assert name in dir(edgetl)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = edgetl.trian  # type: ignore[attr-defined]


def test_importing_is_quick_and_alone() -> None:
    done = small.python("import sys, edgetl; print(*[name for name in sys.modules if name.startswith('edgetl')])")
    assert done.stdout.split() == ["edgetl"]
