"""Candidates on a small trained run: the first that passes is taken; validation photos alone decide."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small

from edgetl.cli.quantize import print_report
from edgetl.inspection.tflite.file import describe
from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.pipeline import quantize
from edgetl.runs.directory import Run
from edgetl.runs.quantize_report import QuantizeReport
from edgetl_device._lib import documents
from edgetl_device._lib.documents import to_json
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.bundle import Bundle
from edgetl_device.errors import GateFailed, InputError

IMPOSSIBLE = small.impossible(calibration=8, min_agreement=1)
FEASIBLE = replace(IMPOSSIBLE, max_drop=100, min_agreement=0)


@pytest.fixture(scope="module")
def trained(tiny_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the smallest backbone, for which all candidates take seconds; its three splits differ in size."""
    from edgetl.training import train

    config = small.options(backbone="simple_cnn", weights="none", epochs=1, size=48, augment="light", val=0.2, test=0.1)
    return train(tiny_photos, tmp_path_factory.mktemp("candidates") / "run", config)


@pytest.fixture
def copy(trained: Run, tmp_path: Path) -> Run:
    return Run.open(Path(shutil.copytree(trained.folder, tmp_path / "run")))


@pytest.fixture(scope="module")
def failed(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, Any], str, str]:
    """Return a run quantized with impossible bounds, its report, the error, and the previous bundle's digest."""
    folder = tmp_path_factory.mktemp("failed") / "run"
    run = Run.open(Path(shutil.copytree(trained.folder, folder)))
    quantize(run, QuantizeOptions(int8=False))
    before = Bundle.open(folder / "bundle").digest
    with pytest.raises(GateFailed) as caught:
        quantize(run, IMPOSSIBLE)
    assert caught.value.exit_code == 3
    return run, json.loads((folder / "quantize.json").read_text()), str(caught.value), before


def _names(report: dict[str, Any]) -> list[str]:
    return [candidate["name"] for candidate in report["candidates"]["tried"]]


def test_the_plain_files_are_taken_where_they_pass(copy: Run) -> None:
    report = to_json(quantize(copy, FEASIBLE))
    assert report["candidates"]["taken"] == "plain"
    assert _names(report) == ["plain"]
    assert report["candidates"]["tried"][0]["passed"]
    bundle = Bundle.open(copy.folder / "bundle")
    for name in ("int8", "int8-onnx"):
        variant = bundle.variant(name)
        assert variant.calibration["repair"] == "none"
        candidate = next(row for row in report["candidates"]["tried"][0]["variants"] if row["name"] == name)
        assert candidate["bytes"] == len(bundle.read(variant.file))
        # The final scores are from the test photos, which are different photos.
        assert variant.accuracy.photos == len(copy.of("test")) != candidate["accuracy"]["photos"]


@pytest.mark.slow
def test_a_bound_that_few_photos_cannot_tell_is_kept_with_a_warning(copy: Run) -> None:
    report = quantize(copy, replace(FEASIBLE, max_drop=None))
    assert report.warnings == ()
    assert report.candidates is not None
    # A bound between the estimate and the end of its interval.
    bound = min(row.agreement.top1 for row in report.candidates.tried[0].variants)
    done = small.edgetl("quantize", copy.folder, "--int8", "--calibration", 8, "--min-agreement", bound, "--overwrite")
    assert done.returncode == 0, done.stderr
    warned = json.loads((copy.folder / "quantize.json").read_text())["warnings"]
    assert "uncertain" in {one["kind"] for one in warned}
    for one in warned:
        assert f"warning: {one['message']}" in done.stderr
    assert f"on {len(copy.of('val'))} validation photos (95% CI" in done.stderr


def test_all_four_candidates_are_tried_and_reported_with_their_figures(failed: Any) -> None:
    run, report, _, _ = failed
    assert report["candidates"]["judged_on"] == "val"
    assert report["candidates"]["taken"] is None
    assert _names(report) == ["plain", "repair", "float layers", "distillation"]
    photos = len(run.of("val"))
    assert photos not in (len(run.of("train")), len(run.of("test")))
    for candidate in report["candidates"]["tried"]:
        assert not candidate["passed"]
        assert candidate["seconds"] > 0
        assert {row["name"] for row in candidate["variants"]} == {"int8", "int8-onnx"}
        for row in candidate["variants"]:
            assert row["accuracy"]["photos"] == row["agreement"]["photos"] == photos
            assert row["bytes"] > 1000
            assert row["latency_ms"] > 0
            assert 0 <= row["agreement"]["mae"] < 0.2
    plain, repair, _, _ = report["candidates"]["tried"]
    assert plain["repair"] == "none"
    assert "GPTQ" in repair["repair"]
    # A failed candidate is not in a bundle, so its files are not listed as measured.
    assert {row["name"] for row in report["variants"]} == {"float32", "float32-onnx"}


def test_the_worst_layers_are_named_and_onnx_stays_as_it_was(failed: Any) -> None:
    _, repair, forms, _ = failed[1]["candidates"]["tried"]
    layers = {layer.name for layer in failed[0].load_model().layers}
    assert 0 < len(forms["float_layers"]) <= 4
    assert set(forms["float_layers"]) <= layers
    tflite, onnx = ({row["name"]: row["bytes"] for row in candidate["variants"]} for candidate in (repair, forms))
    assert onnx["int8"] > tflite["int8"]
    assert onnx["int8-onnx"] == tflite["int8-onnx"]


def test_distillation_says_what_the_same_training_does_without_rounding(failed: Any) -> None:
    run, report, _, _ = failed
    distillation = report["candidates"]["tried"][-1]
    control = distillation["float_control"]
    assert control["accuracy"]["photos"] == len(run.of("val"))
    assert 0 <= control["agreement"]["mae"] < 0.1
    assert distillation["photos"] == len(run.of("train"))
    assert distillation["views"] == 2
    assert "distilled" in distillation["repair"]


def test_impossible_bounds_leave_the_bundle_and_say_where_the_figures_are(failed: Any) -> None:
    run, report, message, before = failed
    assert "within max_drop=-101.0 and min_agreement=1.0; tried: plain, repair" in message
    assert "plain, repair, float layers, distillation" in message
    assert "quantize.json" in message
    assert len(message.splitlines()) <= 3
    worst = min(report["candidates"]["tried"][-1]["variants"], key=lambda row: row["agreement"]["top1"])
    agreement = worst["agreement"]
    drop, agree = agreement["drop_ci95_pp"], wilson95(agreement["agree"], agreement["photos"])
    assert f"loses {agreement['drop_pp']:.2f} pp (95% CI {drop[0]:.1f} to {drop[1]:.1f}) on " in message
    assert f"{agreement['top1']:.1%} agreement (95% CI {100 * agree[0]:.0f} to {100 * agree[1]:.0f})" in message
    assert Bundle.open(run.folder / "bundle").digest == before
    assert small.left_over(run.folder) == []


def test_no_share_is_printed_without_its_interval(failed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    print_report(documents.read(QuantizeReport, failed[0].folder / "quantize.json"))
    rows = [line for line in capsys.readouterr().out.splitlines() if "int8" in line or "float32" in line]
    # Two files of each of four candidates, then the two float ones.
    assert len(rows) == 10
    for row in rows:
        shares = re.findall(r" [-+]?[\d.]+%? \([-+]?[\d.]+\.\.[-+]?[\d.]+%?\)", row)
        assert len(shares) == 3, row


def test_without_repair_there_is_the_plain_candidate_only(copy: Run) -> None:
    with pytest.raises(GateFailed, match="tried: plain"):
        quantize(copy, small.impossible(calibration=8, min_agreement=1, repair=False))
    report = json.loads((copy.folder / "quantize.json").read_text())
    assert _names(report) == ["plain"]
    assert not (copy.folder / "bundle").exists()


def test_coral_has_no_float_layers_and_no_onnx(copy: Run) -> None:
    with pytest.raises(GateFailed, match="tried: plain, repair, distillation"):
        quantize(copy, small.impossible(calibration=8, min_agreement=1, target="coral"))
    report = json.loads((copy.folder / "quantize.json").read_text())
    assert _names(report) == ["plain", "repair", "distillation"]
    assert {row["name"] for candidate in report["candidates"]["tried"] for row in candidate["variants"]} == {"int8"}


def test_a_bundle_for_microcontrollers_has_signed_pixels(copy: Run) -> None:
    report = quantize(copy, QuantizeOptions(int8=True, calibration=8, target="mcu"))
    assert report.candidates is None
    bundle = Bundle.open(copy.folder / "bundle")
    model = describe(bundle.read(bundle.variant("int8").file))
    assert [model.tensors[index].dtype for index in (*model.inputs, *model.outputs)] == ["int8", "int8"]
    assert "int8-onnx" not in {variant.name for variant in bundle.variants}
    assert bundle.variant("int8").agreement.mae < 0.05


def test_a_bound_needs_validation_photos(copy: Run) -> None:
    with open(copy.folder / "split.csv", newline="") as stream:
        rows = [row for row in csv.reader(stream) if row[2] != "val"]
    (copy.folder / "split.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="needs validation photos"):
        quantize(Run.open(copy.folder), FEASIBLE)
    assert not (copy.folder / "bundle").exists()


def test_the_command_prints_the_candidates(copy: Run) -> None:
    done = small.edgetl("quantize", copy.folder, "--int8", "--calibration", 3, "--max-drop", 100)
    assert done.returncode == 0, done.stderr
    assert f"measured on {len(copy.of('val'))} validation photos" in done.stdout
    assert "bundle" in done.stdout


def test_an_incompatibility_is_reported_and_no_bundle_written(tiny_photos: Path, tmp_path: Path) -> None:
    from edgetl.training import train

    form = {"backbone": "mobilenet_v3_small", "weights": "none", "truncate": "5", "size": 32}
    config = small.options(**form, epochs=0, augment="none", val=0.2)
    run = train(tiny_photos, tmp_path / "run", config)
    asked = {"calibration": 8, "target": "coral", "repair": False}
    for candidates, options in enumerate((QuantizeOptions(int8=True, **asked), small.impossible(**asked))):
        with pytest.raises(GateFailed, match="target='coral'") as caught:
            quantize(run, options)
        assert len(str(caught.value).splitlines()) <= 3
        report = json.loads((run.folder / "quantize.json").read_text())
        assert report["target"]["name"] == "coral"
        assert "would stay on the CPU" in report["target"]["incompatibility"]
        assert len(report["candidates"]["tried"] if candidates else []) == candidates
        assert not (run.folder / "bundle").exists()
