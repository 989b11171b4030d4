"""A model is imported without photos: what is proved on drawn pictures, and that none of it is called accuracy."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import foreign
import numpy as np
import onnx
import pytest
import small
from claims import claims, words_of
from PIL import Image
from small import Once
from typer.testing import CliRunner

import edgetl
from edgetl._lib import extras
from edgetl.cli import app
from edgetl.cli.console.bench import print_result, records, short_table
from edgetl.cli.quantize import legend_lines, variants_table
from edgetl.comparison import gates
from edgetl.comparison.results import gate_subjects
from edgetl.importing.drawn import PICTURES
from edgetl.reports.write import write_report
from edgetl.runs.directory import Run, check_run_replaceable
from edgetl.runs.quantize_report import QuantizeReport
from edgetl.synthetic import COMMENT
from edgetl.training.more_photos import with_more_photos
from edgetl_device import console
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Unknown
from edgetl_device.bench.result import Result
from edgetl_device.bundle import Bundle, Manifest
from edgetl_device.classifier import Classifier
from edgetl_device.errors import InputError
from edgetl_device.monitor import Monitor, read_records
from edgetl_device.truth import NOT_KNOWN
from edgetl_device.verify import raise_failures

CLASSES = 4


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file whose answer depends on colours and texture."""
    build = foreign.Onnx(batch="n")
    maps = build.add("Relu", build.conv("pixels", 3, 12, strides=[2, 2]))
    path = tmp_path_factory.mktemp("theirs") / "theirs.onnx"
    onnx.save(build.model(build.add("Softmax", build.head(maps, 12, CLASSES))), path)
    return path


@pytest.fixture(scope="module")
def imported(theirs: Path, once: Once) -> Run:
    """The run of that import: do not write to it."""

    def make(folder: Path) -> None:
        edgetl.import_model(theirs, out=folder, input="-1..1")

    return Run.open(once("drawn-imported", make))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos without labels."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    for number in range(12):
        cells = random.integers(0, 256, (5, 5, 3)).astype(np.uint8)
        Image.fromarray(cells).resize((64, 48)).save(folder / f"{number}.jpg")
    return folder


@pytest.fixture(scope="module")
def labelled(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same photos in folders of two classes."""
    folder = tmp_path_factory.mktemp("labelled")
    for place, photo in enumerate(sorted(photos.iterdir())):
        target = folder / str(place % 2) / photo.name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(photo, target)
    return folder


@pytest.fixture(scope="module")
def quantized(imported: Run, photos: Path, once: Once) -> Run:
    """A copy of the run with a bundle: do not write to it."""

    def make(folder: Path) -> None:
        shutil.copytree(imported.folder, folder)
        edgetl.quantize(folder, calibration_photos=str(photos))

    return Run.open(once("drawn-quantized", make))


@pytest.fixture(scope="module")
def benched(quantized: Run) -> Result:
    return edgetl.bench(quantized, variants=["float32", "int8"], threads=[1], duration=0.05, quick=True)


def test_the_run_says_what_it_is_proved_on(imported: Run) -> None:
    document = imported.document
    record = document.imported
    assert record is not None
    assert (imported.truth, record.label_order, record.held_out) == ("model", None, "unknown")
    found = record.input
    assert (found.chosen_by, found.fit, found.photos, found.tried) == ("user", "stretch", 0, ())
    assert (record.labels_from, imported.labels) == ("numbers", ("0", "1", "2", "3"))
    assert record.agreement.agree == record.agreement.photos == PICTURES == len(imported.of("test"))
    assert record.agreement.max_abs < 1e-5
    # Else the same answers would prove little.
    assert len(document.dataset.labels) > 1
    assert imported.labelled == ()
    assert documents.to_json(document)["dataset"]["truth"] == "model"


def test_the_run_has_its_pictures(imported: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(imported.folder, tmp_path / "elsewhere"))
    assert {Path(sample.path).suffix for sample in imported.samples} == {".jpg", ".png"}
    assert not (copy / "data_root.txt").exists()
    for sample in Run.open(copy).samples:
        with Image.open(Run.open(copy).photos_folder() / sample.path) as picture:
            comment = picture.info["Comment"] if sample.path.endswith(".png") else picture.info["comment"].decode()
            assert comment == COMMENT
    check_run_replaceable(copy)


def test_two_imports_are_the_same(imported: Run, theirs: Path, tmp_path: Path) -> None:
    again = edgetl.import_model(theirs, out=tmp_path / "again", input="-1..1")
    assert again.samples == imported.samples
    assert again.document.dataset == imported.document.dataset
    for name in ("predictions.csv", "split.csv", "confusion.csv", "original.onnx"):
        assert (again.folder / name).read_bytes() == (imported.folder / name).read_bytes()


def _keras(path: Path) -> None:
    layers = extras.keras().layers
    pixels = extras.keras().Input((32, 32, 3))
    maps = layers.Conv2D(8, 3, strides=2, activation="relu")(layers.Rescaling(1 / 127.5, -1)(pixels))
    scores = layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(maps))
    foreign.randomized(extras.keras().Model(pixels, scores)).save(path)


@pytest.mark.parametrize("format", ["keras", "h5", "tflite"])
def test_other_formats(format: str, tmp_path: Path) -> None:
    path, labels = tmp_path / f"theirs.{format}", tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\n")
    if format == "tflite":
        _keras(tmp_path / "made.keras")
        model = extras.keras().models.load_model(tmp_path / "made.keras")
        path.write_bytes(extras.tensorflow().lite.TFLiteConverter.from_keras_model(model).convert())
        stated = {"input": "raw"}
    else:
        _keras(path)
        # The model scales pixels itself.
        stated = {}
    run = edgetl.import_model(path, out=tmp_path / "run", labels=str(labels), **stated)
    record = run.document.imported
    assert record is not None
    assert record.agreement.agree == record.agreement.photos == PICTURES
    assert (record.input.name, record.labels_from, run.labels) == ("raw", "file", ("a", "b", "c", "d"))
    assert record.input.chosen_by == ("user" if stated else "model")


def test_grey_rectangles(tmp_path: Path) -> None:
    build = foreign.Onnx(size=24, width=40, channels=1)
    maps = build.add("Relu", build.conv("pixels", 1, 6, strides=[2, 2]))
    onnx.save(build.model(build.head(maps, 6, CLASSES)), tmp_path / "grey.onnx")
    run = edgetl.import_model(tmp_path / "grey.onnx", out=tmp_path / "run", mean=("0.13",), std=("0.31",), fit="crop")
    record = run.document.imported
    assert record is not None
    assert run.preprocess.size.shape == (24, 40, 1)
    assert (record.input.name, record.input.fit) == ("custom", "crop")
    assert record.agreement.agree == PICTURES


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "found by trying, on labelled photos"),
        ({"input": "raw", "val": 0.2}, "val=0.2 without photos"),
        ({"input": "raw", "test": 0.3}, "test=0.3 without photos"),
        ({"input": "raw", "on_conflict": "drop"}, "on_conflict='drop' without photos"),
        ({"input": "raw", "temperature": True}, "temperature=True without photos"),
        ({"input": "raw", "held_out": True}, "held_out=True without photos"),
        ({"input": "raw", "seed": 3}, "seed=3 without photos"),
    ],
)
def test_what_needs_photos_is_refused(theirs: Path, tmp_path: Path, options: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError) as refused:
        edgetl.import_model(theirs, out=tmp_path / "run", **options)
    assert why in str(refused.value)
    assert "photos: data" in refused.value.hint
    assert not (tmp_path / "run").exists()


def test_the_command_line_says_what_is_not_known(theirs: Path, tmp_path: Path) -> None:
    said = small.refused(small.edgetl("import", theirs, "--out", tmp_path / "run"))
    assert "--input raw, 0..1, -1..1, imagenet or caffe" in said
    done = CliRunner().invoke(app, ["import", str(theirs), "--input", "-1..1", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0
    assert "60 of 60 drawn pictures with the same label" in done.output
    assert re.search(r"^accuracy  not known: the model was imported without photos$", done.output, re.MULTILINE)
    assert "--calibration-photos DIR" in done.output
    assert "top-1" not in done.output


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({}, "int8 needs photos"),
        ({"max_drop": 1.0}, "max_drop=1.0"),
        ({"min_agreement": 0.9}, "min_agreement=0.9"),
        ({"unknown": True}, "unknown=True"),
        ({"explain": True}, "explain=True"),
        ({"int8": False, "data": "photos"}, "--data photos"),
    ],
)
def test_quantizing_refuses_what_needs_photos(
    imported: Run, photos: Path, tmp_path: Path, options: dict[str, Any], what: str
) -> None:
    run = Run.open(Path(shutil.copytree(imported.folder, tmp_path / "run")))
    given = {"calibration_photos": str(photos)} if options.keys() & {"max_drop", "min_agreement", "unknown"} else {}
    with pytest.raises(InputError, match=re.escape(what)) as refused:
        edgetl.quantize(run, **given, **options)
    assert "import" in refused.value.hint
    assert not (run.folder / "bundle").exists()


def test_float_files_need_no_photos(imported: Run, tmp_path: Path) -> None:
    run = Run.open(Path(shutil.copytree(imported.folder, tmp_path / "run")))
    bundle = edgetl.quantize(run, int8=False, float16=True, dynamic=True)
    assert [one.name for one in bundle.variants] == ["float32", "float32-onnx", "float16", "dynamic"]
    assert edgetl.verify(bundle).ok


@dataclass(frozen=True)
class _Before(Manifest):
    """The manifest as edgetl read it before there were bundles without photos."""

    SCHEMA: ClassVar[str] = "edgetl.bundle/2"
    OLDER: ClassVar[Any] = {"edgetl.bundle/1": lambda document: document}


def test_an_earlier_edgetl_refuses_the_bundle_by_its_schema(quantized: Run) -> None:
    bundle = Bundle.open(quantized.folder)
    data = bundle.descriptions()["bundle.json"]
    assert (json.loads(data)["schema"], json.loads(data)["truth"], bundle.truth) == (
        "edgetl.bundle/3",
        "model",
        "model",
    )
    with pytest.raises(InputError, match=r"edgetl\.bundle/3"):
        documents.parse(_Before, data, name="bundle.json")


def test_the_bundle_is_verified_and_says_what_is_not_known(quantized: Run) -> None:
    report = edgetl.verify(quantized)
    raise_failures(report)
    assert [(one.status, one.detail) for one in report.checks if one.name == "accuracy"] == [("skipped", NOT_KNOWN)]
    assert len(Bundle.open(quantized.folder).reference().golden_rows) == 4
    with Classifier(quantized.folder / "bundle", "int8") as classifier:
        assert len(classifier.classify(quantized.photos_folder() / "00.jpg", top=2)) == 2


def test_the_table_of_quantize_shows_agreement(quantized: Run) -> None:
    report = documents.read(QuantizeReport, quantized.folder / "quantize.json")
    assert report.truth == "model"
    table = variants_table(report)
    assert table.columns == ("variant", "as original (95% CI)", "agree (95% CI)", "MB", "MAE")
    assert {len(row) for row in table.rows} == {5}
    assert claims(" ".join([table.title, *table.columns, *legend_lines(report)])) == []
    assert NOT_KNOWN in legend_lines(report)


def test_pages_and_cards_claim_no_accuracy(quantized: Run, benched: Result, tmp_path: Path) -> None:
    for page in (quantized.folder / "report.html", quantized.folder / "MODEL_CARD.md"):
        assert claims(words_of(page)) == []
        assert NOT_KNOWN.capitalize() in page.read_text()
        assert "60 of 60" in page.read_text()
    (tmp_path / "result.json").write_text(documents.dumps(benched))
    write_report([tmp_path / "result.json"], tmp_path / "page.html", bundle=quantized.folder / "bundle")
    assert claims(words_of(tmp_path / "page.html")) == []
    assert NOT_KNOWN.capitalize() in words_of(tmp_path / "page.html")


def test_a_bench_measures_agreement(benched: Result, labelled: Path, quantized: Run) -> None:
    found = documents.to_json(benched)
    assert (found["schema"], found["evalset"]["truth"]) == ("edgetl.result/2", "model")
    assert claims(" ".join(console.result_lines(benched))) == []
    of_folder = edgetl.bench(quantized, variants=["int8"], threads=[1], duration=0.05, quick=True, data=labelled)
    found = documents.to_json(of_folder)
    assert (found["schema"], found["evalset"].get("truth")) == ("edgetl.result/1", None)
    assert any("top-1" in line for line in console.result_lines(of_folder))


@pytest.mark.parametrize("form", ["table", "csv"])
def test_printed_results_claim_no_accuracy(benched: Result, tmp_path: Path, form: str) -> None:
    (tmp_path / "result.json").write_text(documents.dumps(benched))
    compared = CliRunner().invoke(app, ["compare", str(tmp_path / "result.json"), "--format", form])
    assert compared.exit_code == 0, compared.output
    if form == "table":
        assert claims(compared.output) == []
        assert NOT_KNOWN in compared.output
        return
    assert "accuracy_pct" in compared.output
    (row, _) = records(benched)
    assert row["photos"] == "drawn"
    assert row["accuracy_pct"] == row["accuracy_drop_pp"] == Unknown(NOT_KNOWN)
    assert not isinstance(row["agreement_pct"], Unknown)


def test_the_table_of_a_bench_claims_no_accuracy(benched: Result, capsys: pytest.CaptureFixture[str]) -> None:
    print_result(benched)
    printed = capsys.readouterr().out
    assert claims(printed) == []
    assert "as original" in printed
    assert claims(" ".join(short_table("here", {"": benched}).columns)) == []


def test_gates_on_accuracy_fail_as_unknown(benched: Result, quantized: Run) -> None:
    report = documents.read(QuantizeReport, quantized.folder / "quantize.json")
    for subjects, metrics in (
        (gate_subjects(benched), gates.BENCH_METRICS),
        (gates.quantized_subjects(report), gates.QUANTIZED_METRICS),
    ):
        wanted = gates.parse_gates(["accuracy_low_pct<1", "accuracy_drop_pp>50", "agreement_low_pct<1"], metrics, {})
        for outcome in gates.judge(wanted, subjects):
            known = outcome.gate.text.startswith("agreement")
            assert outcome.failed != known
            assert known or NOT_KNOWN in outcome.why


def test_inspect_and_pack_say_it(quantized: Run, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["inspect", str(quantized.folder / "bundle")]).output
    assert claims(shown) == []
    assert NOT_KNOWN in shown
    packed = tmp_path / "theirs.edgetl"
    done = CliRunner().invoke(app, ["pack", str(quantized.folder), "--out", str(packed), "--evalset", "8"])
    assert done.exit_code == 0, done.output
    bundle = Bundle.open(packed)
    assert (bundle.truth, len(bundle.photos())) == ("model", 8)
    assert claims(bundle.read("README.txt").decode()) == []


def test_labelled_photos_give_an_accuracy(quantized: Run, labelled: Path) -> None:
    for target in (quantized, Bundle.open(quantized.folder)):
        accuracy = edgetl.evaluate(target, labelled).metrics.accuracy
        assert accuracy.photos == 12


def test_training_starts_from_it_and_knows_no_photos(imported: Run, labelled: Path, tmp_path: Path) -> None:
    run = edgetl.train(labelled, out=tmp_path / "run", from_run=str(imported.folder), epochs=1)
    assert run.document.started_from is not None
    assert run.document.started_from.kept.all == 0
    assert run.earlier == ()
    assert run.truth == "labels"
    with pytest.raises(InputError, match="was imported without photos, so there are none to add to"):
        with_more_photos(imported, labelled, tmp_path / "table.csv")


def test_a_monitor_has_nothing_to_see_drift_from(quantized: Run, tmp_path: Path) -> None:
    with Classifier(quantized.folder / "bundle", "int8") as classifier:
        with Monitor(tmp_path / "field", classifier) as monitor:
            for photo in sorted(quantized.photos_folder().iterdir())[:3]:
                classifier.classify(photo, observer=monitor)
        (record,) = read_records(tmp_path / "field").records
    assert isinstance(record.drift, Unknown)
    assert "drawn pictures are not like those of the field" in record.drift.unknown
