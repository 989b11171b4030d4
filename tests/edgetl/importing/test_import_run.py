"""An imported model is a run like any other: quantize, evaluate, bench, compare, explain, report take it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import small
from small import Once

import edgetl
from edgetl._lib import extras
from edgetl.comparison.runs import compare_runs
from edgetl.export.conversion import float32_onnx
from edgetl.importing import pipeline
from edgetl.reports.run import write_run_report
from edgetl.runs.directory import Run, check_run_replaceable
from edgetl.runs.document import RunDocument
from edgetl.runs.predictions import FILE, read_predictions
from edgetl_device._lib import documents
from edgetl_device._lib.files import sha256_file
from edgetl_device.classifier import Classifier
from edgetl_device.errors import GateFailed, InputError


@pytest.fixture(scope="module")
def theirs(short_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as somebody else would hand it in: ONNX, channels first, of edgetl's own run."""
    path = tmp_path_factory.mktemp("theirs") / "theirs.onnx"
    path.write_bytes(float32_onnx(short_run.load_model(), layout="nchw"))
    return path


@pytest.fixture(scope="module")
def labels(theirs: Path) -> Path:
    path = theirs.with_name("labels.txt")
    path.write_text("\n".join(small.LABELS))
    return path


@pytest.fixture(scope="module")
def imported(theirs: Path, labels: Path, tiny_photos: Path, once: Once) -> Run:
    """The run of that import: do not write to it."""

    def make(folder: Path) -> None:
        edgetl.import_model(theirs, tiny_photos, out=folder, labels=str(labels), input="raw", held_out=True)

    return Run.open(once("imported", make))


@pytest.fixture(scope="module")
def quantized(imported: Run, once: Once) -> Run:
    """A copy of it with a bundle. Do not write to it."""

    def make(folder: Path) -> None:
        shutil.copytree(imported.folder, folder)
        edgetl.quantize(folder, int8=True, calibration=6)

    return Run.open(once("imported-quantized", make))


def test_the_run_says_what_it_was_imported_from(imported: Run, theirs: Path) -> None:
    record = imported.document.imported
    assert record is not None
    assert (record.name, record.format, record.layout, record.opset) == ("theirs.onnx", "onnx", "nchw", 17)
    assert record.producer.startswith("tf2onnx ")
    assert record.ends_in == "softmax"
    assert record.sha256 == sha256_file(theirs) == sha256_file(imported.folder / record.file)
    assert (record.labels_from, record.held_out) == ("file", "user")
    assert (record.input.name, record.input.chosen_by, len(record.input.tried)) == ("raw", "user", 3)
    assert record.agreement.agree == record.agreement.photos == len(imported.of("test"))
    assert record.agreement.max_abs < 1e-5
    assert imported.preprocess.fit == record.input.fit
    assert record.label_order.photos == len(imported.of("test"))
    # What is written can be read, and is free of this machine's paths.
    text = (imported.folder / "run.json").read_text()
    assert documents.read(RunDocument, imported.folder / "run.json").imported == record
    assert str(theirs.parent) not in text


def test_it_predicts_what_edgetls_own_model_does(imported: Run, short_run: Run) -> None:
    ours = {one.sha256: one for one in read_predictions(short_run.folder / FILE)}
    both = [(one, ours[one.sha256]) for one in read_predictions(imported.folder / FILE) if one.sha256 in ours]
    assert len(both) >= 5
    if imported.preprocess.fit == short_run.preprocess.fit:
        for one, other in both:
            assert one.predicted == other.predicted
            assert one.probability == pytest.approx(other.probability, abs=1e-5)


def test_half_of_the_photos_are_reported_on_and_not_chosen_on(imported: Run) -> None:
    document = imported.document
    assert document.imported is not None
    tested = len(imported.of("test"))
    assert tested == pytest.approx(len(imported.samples) / 2, abs=len(imported.samples) / 6)
    assert document.imported.input.photos == len(imported.samples) - tested
    assert document.metrics["test"].accuracy.photos == tested


def test_it_is_quantized_into_a_bundle_that_verifies(quantized: Run) -> None:
    report = json.loads((quantized.folder / "quantize.json").read_text())
    rows = {row["name"]: row for row in report["variants"]}
    assert set(rows) == {"float32", "float32-onnx", "int8", "int8-onnx"}
    assert rows["float32"]["agreement"]["max_abs"] < 1e-4
    assert edgetl.verify(quantized.folder / "bundle").ok


def test_the_device_classifies_with_it(quantized: Run) -> None:
    photo = quantized.data_root / quantized.of("test")[0].path
    found = {}
    for variant in ("float32", "int8"):
        with Classifier(quantized.folder / "bundle", variant) as classifier:
            found[variant] = {one.label: one.probability for one in classifier.classify(photo, top=3)}
    assert set(found["float32"]) == set(small.LABELS)
    # The run's own model says the same as its exported form.
    (expected,) = (one for one in read_predictions(quantized.folder / FILE) if one.path == quantized.of("test")[0].path)
    assert found["float32"][expected.predicted] == pytest.approx(expected.probability, abs=1e-4)
    difference = [abs(found["int8"][label] - found["float32"][label]) for label in small.LABELS]
    assert np.mean(difference) < 0.1


def test_other_commands_take_it(quantized: Run, tiny_photos: Path, tmp_path: Path) -> None:
    evaluated = edgetl.evaluate(quantized, tiny_photos)
    assert evaluated.metrics.accuracy.photos == len(quantized.samples)
    result = edgetl.bench(quantized, variants=["int8"], threads=[1], duration=0.05, quick=True)
    assert result.variant("int8").latency.p50_ms > 0
    page = write_run_report(quantized, tmp_path / "report.html", grad_cam=True).read_text()
    assert "theirs.onnx" in page
    compared = compare_runs([quantized.folder, quantized.folder])
    assert compared.comparisons[0].agreement.top1 == 1


def test_it_can_be_replaced_and_only_with_leave(imported: Run, theirs: Path, tiny_photos: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(imported.folder, tmp_path / "run"))
    check_run_replaceable(copy)
    with pytest.raises(InputError, match="exists already"):
        edgetl.import_model(theirs, tiny_photos, out=copy)
    with pytest.raises(InputError, match=r"has 3 classes; the photos .* have 1 classes"):
        edgetl.import_model(theirs, _one_class(tiny_photos, tmp_path), out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def _one_class(photos: Path, folder: Path) -> Path:
    shutil.copytree(photos / small.LABELS[0], folder / "photos" / small.LABELS[0])
    return folder / "photos"


def test_an_import_that_differs_is_refused(
    theirs: Path, tiny_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pipeline.finished

    def changed(network: object, scaling: object, **options: object) -> object:
        made = whole(network, scaling, **options)  # type: ignore[arg-type]
        layer = made.model.get_layer("logits")
        layer.set_weights([array + 0.01 * np.arange(array.size).reshape(array.shape) for array in layer.get_weights()])
        return made

    monkeypatch.setattr(pipeline, "finished", changed)
    with pytest.raises(GateFailed, match="differs from the original in onnxruntime"):
        edgetl.import_model(theirs, tiny_photos, out=tmp_path / "run", input="raw", fit="stretch")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def some_swapped(tiny_photos: Path, tmp_path: Path) -> Path:
    """The photos with a fifth under a wrong label: without mistakes there is no temperature."""
    target = Path(shutil.copytree(tiny_photos, tmp_path / "photos"))
    for place, label in enumerate(small.LABELS):
        other = target / small.LABELS[(place + 1) % len(small.LABELS)]
        for photo in sorted((tiny_photos / label).iterdir())[::5]:
            shutil.move(target / label / photo.name, other / f"swapped-{photo.name}")
    return target


def test_a_temperature_is_folded_into_the_model_if_asked_for(
    short_run: Run, labels: Path, some_swapped: Path, tmp_path: Path
) -> None:
    model = short_run.load_model()
    last = model.get_layer("logits")
    last.set_weights([4 * one for one in last.get_weights()])
    theirs = tmp_path / "overconfident.onnx"
    theirs.write_bytes(float32_onnx(model))
    asked = {"labels": str(labels), "input": "raw", "fit": "stretch"}
    plain = edgetl.import_model(theirs, some_swapped, out=tmp_path / "plain", **asked)
    calibrated = edgetl.import_model(theirs, some_swapped, out=tmp_path / "calibrated", temperature=True, **asked)
    assert plain.document.temperature is None
    found = calibrated.document.temperature
    assert found is not None
    assert found.why_unchanged is None
    assert found.value > 1
    assert found.photos == len(calibrated.of("train")) + len(calibrated.of("val"))
    assert found.after["test"].nll < found.before["test"].nll
    # The labels stay; the logits are divided; what was held against the original is the model before.
    weights = [run.load_model().get_layer("logits").get_weights() for run in (plain, calibrated)]
    for before, after in zip(*weights, strict=True):
        np.testing.assert_allclose(after * found.value, before, rtol=1e-5)
    answers = [[one.predicted for one in read_predictions(run.folder / FILE)] for run in (plain, calibrated)]
    assert answers[0] == answers[1]
    assert calibrated.document.imported is not None
    assert plain.document.imported is not None
    assert calibrated.document.imported.agreement == plain.document.imported.agreement
    assert f"divided by a temperature of {found.value:.2f}" in write_run_report(calibrated).read_text()


def test_a_model_without_a_dense_end_gets_no_temperature(some_swapped: Path, tmp_path: Path) -> None:
    layers = extras.keras().layers
    pixels = extras.keras().Input((32, 32, 3))
    maps = layers.Conv2D(len(small.LABELS), 3, strides=2)(pixels)
    path = tmp_path / "theirs.keras"
    extras.keras().Model(pixels, layers.Softmax()(layers.GlobalAveragePooling2D()(maps))).save(path)
    done = small.edgetl("import", path, "--data", some_swapped, "--out", tmp_path / "run", "--temperature")
    said = small.refused(done)
    assert "--temperature: the model does not end in a dense layer" in said
    assert "GlobalAveragePooling2D" in said
    assert not (tmp_path / "run").exists()


def test_a_run_is_replaced_only_when_asked_and_nothing_else_ever(
    imported: Run, theirs: Path, labels: Path, tiny_photos: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(imported.folder, tmp_path / "run"))
    asked = {"labels": str(labels), "input": "raw", "fit": "stretch"}
    with pytest.raises(InputError, match="exists"):
        edgetl.import_model(theirs, tiny_photos, out=out, **asked)
    replaced = edgetl.import_model(theirs, tiny_photos, out=out, overwrite=True, **asked)
    assert replaced.preprocess.fit == "stretch"
    assert replaced.document.created != imported.document.created
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"):
        edgetl.import_model(theirs, tiny_photos, out=out, overwrite=True, **asked)
    assert (out / "notes.txt").read_text() == "mine"
