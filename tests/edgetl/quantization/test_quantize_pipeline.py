"""From a run to a bundle: each part comes from the right split, its record is correct, and gates work."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from programs import cannot_run

from edgetl.export.edgetpu_variant import add_compiled
from edgetl.export.signature import generate, sign
from edgetl.quantization.kept import bundled
from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.pipeline import FLOAT_TOLERANCE, quantize
from edgetl.runs.calibration_error import calibration_error
from edgetl.runs.directory import Run, write_data_root
from edgetl_device._lib import documents
from edgetl_device._lib.documents import Unknown, to_json
from edgetl_device._lib.files import sha256_bytes, sha256_file
from edgetl_device.bundle import Bundle, Compilation, CompiledFrom, Manifest
from edgetl_device.classifier import Classifier
from edgetl_device.errors import GateFailed, InputError
from edgetl_device.packing import pack
from edgetl_device.photo_metadata import without_metadata
from edgetl_device.verify import verify

ROOT = Path(__file__).parents[3]
FLOAT_ONLY = QuantizeOptions(int8=False)


@pytest.fixture
def copy(short_run: Run, tmp_path: Path) -> Run:
    return Run.open(Path(shutil.copytree(short_run.folder, tmp_path / "run")))


@pytest.fixture(scope="module")
def report(tiny_bundle: Path) -> dict[str, Any]:
    return dict(json.loads((tiny_bundle.parent / "quantize.json").read_text()))


def test_the_bundle_verifies_with_four_variants(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert {(one.name, one.format, one.precision) for one in bundle.variants} == {
        ("float32", "tflite", "float32"), ("float32-onnx", "onnx", "float32"),
        ("int8", "tflite", "int8"), ("int8-onnx", "onnx", "int8"),
    }  # fmt: skip
    checks = verify(bundle)
    assert checks.ok, checks


def test_the_oldest_runtimes_run_every_variant(tiny_bundle: Path) -> None:
    """In the environment that make test-tflite makes, which has them and no edgetl."""
    python = ROOT / ".venv-tflite" / "bin" / "python"
    if sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime has no wheel for this Python")
    if not python.exists():
        cannot_run("no .venv-tflite here: make .venv-tflite/.installed")
    done = subprocess.run(
        [python, "-m", "edgetl_device", "verify", tiny_bundle, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    checks = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    for name in ("float32", "float32-onnx", "int8", "int8-onnx"):
        assert checks[f"reference, {name}"]["status"] == "ok", checks
        used = "onnxruntime 1.18." if name.endswith("onnx") else "tflite-runtime 2.14.0"
        assert used in checks[f"reference, {name}"]["detail"]


def test_held_out_photos_are_the_test_split_and_calibration_is_training(tiny_bundle: Path, tiny_run: Run) -> None:
    bundle = Bundle.open(tiny_bundle)
    for photo, sample in zip(bundle.photos(), tiny_run.of("test"), strict=True):
        data = (tiny_run.data_root / sample.path).read_bytes()
        assert sha256_bytes(data) == sample.sha256
        # Synthetic photos say so in a comment.
        assert (bundle.read(photo.file), "") == without_metadata(data, tiny_run.preprocess, name="")
    assert [bundle.labels[photo.index] for photo in bundle.photos()] == [sample.label for sample in tiny_run.of("test")]
    train = {sample.sha256: sample.label for sample in tiny_run.of("train")}
    for name in ("int8", "int8-onnx"):
        calibration = bundle.variant(name).calibration
        assert calibration["repair"] == "cross-layer equalization, GPTQ, bias correction, clipped ranges"
        assert "files" not in calibration  # file names stay in the run
        assert len(set(calibration["sha256"])) == calibration["photos"] == 12
        assert set(calibration["sha256"]) <= set(train)
        counts = [sum(train[one] == label for one in calibration["sha256"]) for label in small.LABELS]
        assert max(counts) - min(counts) <= 1
    assert bundle.variant("float32").calibration is None


def test_the_reference_is_model_keras(tiny_bundle: Path, tiny_run: Run) -> None:
    bundle = Bundle.open(tiny_bundle)
    reference = bundle.reference()
    from edgetl_device.preprocess import preprocess

    pixels = np.stack([preprocess(bundle.read(photo.file), bundle.preprocess) for photo in bundle.photos()])
    predictions = tiny_run.load_model().predict(pixels.astype(np.float32), verbose=0)
    np.testing.assert_allclose(reference.probabilities, predictions, atol=1e-5)
    exponentials = np.exp(reference.logits - reference.logits.max(1, keepdims=True))
    np.testing.assert_allclose(exponentials / exponentials.sum(1, keepdims=True), predictions, atol=1e-5)


def test_the_report_is_what_the_bundle_says(report: dict[str, Any], tiny_bundle: Path, tiny_run: Run) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert report["schema"] == "edgetl.quantize/2"
    assert report["held_out"] == {"split": "test", "photos": len(tiny_run.of("test"))}
    assert report["candidates"] is None, "there was no bound"
    assert report["reference"]["correct"] == tiny_run.document.metrics["test"].accuracy.correct
    assert len(report["variants"]) == len(bundle.variants)
    for row in report["variants"]:
        variant = bundle.variant(row["name"])
        assert (row["accuracy"], row["agreement"]) == (to_json(variant.accuracy), to_json(variant.agreement))
        assert row["bytes"] == len(bundle.read(variant.file))
        assert row["sha256"] == variant.sha256
        with Classifier(bundle, row["name"]) as classifier:
            answers = np.stack([classifier.probabilities(bundle.read(photo.file)) for photo in bundle.photos()])
        right = answers.argmax(1) == [photo.index for photo in bundle.photos()]
        assert row["calibration"]["ece"] == pytest.approx(calibration_error(answers.max(1), right).ece, abs=1e-6)
        if row["name"].startswith("float32"):
            assert row["agreement"]["max_abs"] <= FLOAT_TOLERANCE
        else:
            assert 0 < row["agreement"]["mae"] < 0.1
            drop = report["reference"]["correct"] - row["accuracy"]["correct"]
            assert row["agreement"]["drop_pp"] == pytest.approx(100 * drop / report["held_out"]["photos"])


def test_provenance_leads_back_to_the_run(tiny_bundle: Path, tiny_run: Run) -> None:
    provenance = Bundle.open(tiny_bundle).provenance
    assert provenance["run"]["model_sha256"] == sha256_file(tiny_run.folder / "model.keras")
    assert provenance["dataset_fingerprint"] == tiny_run.document.dataset.fingerprint
    assert provenance["weights"] == vars(tiny_run.document.weights)
    assert provenance["held_out"] == "test"
    assert provenance["quantize"]["calibration"] == 12


def test_a_gate_refuses_with_a_report_and_leaves_the_old_bundle(copy: Run) -> None:
    quantize(copy, FLOAT_ONLY)
    before = Bundle.open(copy.folder / "bundle").digest
    (copy.folder / "quantize.json").unlink()
    with pytest.raises(GateFailed) as caught:
        quantize(copy, small.impossible(repair=False, calibration=3))
    text = caught.value.for_command_line()
    assert "no int8 candidate is within --max-drop -101.0; tried: plain" in text
    assert "no int8 candidate is within max_drop=-101.0; tried: plain" in str(caught.value)
    assert "quantize.json" in text
    written = json.loads((copy.folder / "quantize.json").read_text())
    assert [row["name"] for row in written["variants"]] == ["float32", "float32-onnx"]
    (candidate,) = written["candidates"]["tried"]
    assert [row["name"] for row in candidate["variants"]] == ["int8", "int8-onnx"]
    assert written["config"]["max_drop_pp"] == -101
    assert Bundle.open(copy.folder / "bundle").digest == before
    assert small.left_over(copy.folder) == []


def test_float16_and_dynamic_come_on_request_and_are_measured_too(tiny_run: Run, tmp_path: Path) -> None:
    # Use the whole network: in a truncated one, the overhead besides weights is too large.
    copy = Run.open(Path(shutil.copytree(tiny_run.folder, tmp_path / "run")))
    report = quantize(copy, QuantizeOptions(int8=False, float16=True, dynamic=True))
    assert report.candidates is None
    assert report.calibration is None
    rows = {row.name: row for row in report.variants}
    assert list(rows) == ["float32", "float32-onnx", "float16", "dynamic"]
    size = {name: row.bytes / rows["float32"].bytes for name, row in rows.items()}
    assert size["float16"] < 0.55
    assert size["dynamic"] < 0.35
    for name in ("float16", "dynamic"):
        assert 0 < rows[name].agreement.mae < 0.1
    bundle = Bundle.open(copy.folder / "bundle")
    assert {variant.name: variant.precision for variant in bundle.variants}["dynamic"] == "dynamic"
    checks = verify(bundle)
    assert checks.ok, checks


def test_a_float_export_that_differs_is_refused(copy: Run) -> None:
    """Logits of 1e6 that barely differ: float32 cannot separate them, so runtimes predict different classes."""
    model = copy.load_model()
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel * 1e-3 + 1e6 * np.abs(kernel[:, :1]), bias])
    model.save(copy.folder / "model.keras")
    document = json.loads((copy.folder / "run.json").read_text())
    document["model"]["sha256"] = sha256_file(copy.folder / "model.keras")
    (copy.folder / "run.json").write_text(json.dumps(document))
    with pytest.raises(GateFailed, match=r"differs from model\.keras") as caught:
        quantize(Run.open(copy.folder), FLOAT_ONLY)
    assert "0.0001" in str(caught.value)
    assert (copy.folder / "quantize.json").is_file()
    assert not (copy.folder / "bundle").exists()


def test_a_data_set_that_moved_is_found_with_data(copy: Run, tiny_photos: Path, tmp_path: Path) -> None:
    write_data_root(copy.folder, tmp_path / "where-they-were")
    text = small.refused(small.edgetl("quantize", copy.folder))
    assert "is missing" in text
    assert "--data FOLDER" in text
    assert not (copy.folder / "quantize.json").exists()
    quantize(Run.open(copy.folder), FLOAT_ONLY, data=tiny_photos)
    assert verify(Bundle.open(copy.folder / "bundle")).ok


@pytest.mark.parametrize("split", ["test", "train"])
def test_a_photo_that_changed_is_refused(copy: Run, tiny_photos: Path, tmp_path: Path, split: Any) -> None:
    photos = Path(shutil.copytree(tiny_photos, tmp_path / "photos"))
    for sample in copy.of(split):
        path = photos / sample.path
        path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match="was changed since training"):
        quantize(copy, QuantizeOptions(int8=True, calibration=3), data=photos)
    assert not (copy.folder / "bundle").exists()


def test_without_held_out_photos_there_is_no_bundle(copy: Run) -> None:
    with open(copy.folder / "split.csv", newline="") as stream:
        rows = [row for row in csv.reader(stream) if row[2] in ("split", "train")]
    (copy.folder / "split.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="no photos were held out"):
        quantize(Run.open(copy.folder), FLOAT_ONLY)


def test_export_writes_one_file(copy: Run, tmp_path: Path) -> None:
    out = tmp_path / "half.tflite"
    done = small.edgetl("export", copy.folder, "--variant", "float16", "-o", out)
    assert done.returncode == 0, done.stderr
    assert str(out) in done.stdout
    assert out.read_bytes()[4:8] == b"TFL3"
    assert "float16, dynamic" in small.refused(small.edgetl("export", copy.folder, "--variant", "int4"))


def _compiled(bundle: Path) -> bytes:
    """Put a compiled twin of int8 into the bundle, which no runtime here can load; return it."""
    opened = Bundle.open(bundle)
    source = opened.variant("int8")
    data = opened.read(source.file)
    known: Any = Unknown("not said")
    report = Compilation(known, known, known, known, known, CompiledFrom("int8", source.sha256))
    add_compiled(opened, source, data, report)
    return data


def test_a_second_quantize_adds_and_refreshes_and_drops_nothing(copy: Run) -> None:
    first = quantize(copy, QuantizeOptions(repair=False, calibration=3))
    before = Bundle.open(copy.folder / "bundle")
    compiled = _compiled(before.path)
    second = quantize(copy, QuantizeOptions(int8=False, float16=True))
    bundle = Bundle.open(before.path)
    names = ["float32", "float32-onnx", "float16", "int8", "int8-onnx", "int8-edgetpu"]
    assert [variant.name for variant in bundle.variants] == names
    for name in ("int8", "int8-onnx"):
        assert bundle.variant(name) == before.variant(name)
        assert bundle.read(bundle.variant(name).file) == before.read(before.variant(name).file)
    assert bundle.read(bundle.variant("int8-edgetpu").file) == compiled
    # The report is of the bundle: measured then or now, with the settings of the int8 files.
    assert {row.name: row.sha256 for row in second.variants} == {
        variant.name: variant.sha256 for variant in bundle.variants if variant.name != "int8-edgetpu"
    }
    assert {row.name: row for row in second.variants}["int8"] == {row.name: row for row in first.variants}["int8"]
    assert second.calibration == first.calibration
    assert (second.config["int8"], second.config["repair"], second.config["calibration"]) == (True, False, 3)
    assert bundle.provenance["quantize"] | {"float16": False} == before.provenance["quantize"]
    # The same settings again: refreshed, and what was compiled from the same bytes stays.
    quantize(copy, QuantizeOptions(repair=False, calibration=3))
    refreshed = Bundle.open(before.path)
    assert [variant.name for variant in refreshed.variants] == names
    assert refreshed.variant("int8").sha256 == before.variant("int8").sha256
    assert verify(refreshed).ok


def test_int8_files_of_other_settings_are_replaced_only_when_told_to(copy: Run) -> None:
    quantize(copy, QuantizeOptions(repair=False, calibration=3, float16=True))
    _compiled(copy.folder / "bundle")
    before = {path: path.read_bytes() for path in copy.folder.rglob("*") if path.is_file()}
    text = small.refused(small.edgetl("quantize", copy.folder, "--calibration", 4, "--no-repair"))
    assert "its int8 files were made and measured with other settings" in text
    assert "--calibration 4 now, 3 then" in text
    assert "--overwrite" in text
    assert {path: path.read_bytes() for path in copy.folder.rglob("*") if path.is_file()} == before
    quantize(copy, QuantizeOptions(repair=False, calibration=4, target="coral"), overwrite=True)
    bundle = Bundle.open(copy.folder / "bundle")
    # int8-onnx is not for the target, and int8-edgetpu was compiled from what is gone; float16 has no settings.
    assert [variant.name for variant in bundle.variants] == ["float32", "float32-onnx", "float16", "int8"]
    assert bundle.provenance["quantize"]["target"] == "coral"


def test_a_bundle_of_another_model_is_replaced_only_when_told_to(
    copy: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quantize(copy, FLOAT_ONLY)
    sign(copy.folder / "bundle", [generate(tmp_path / "me").private])
    capsys.readouterr()
    quantize(copy, FLOAT_ONLY)
    assert Bundle.open(copy.folder).signatures() == ()
    assert "the new bundle is not signed" in capsys.readouterr().err
    manifest = json.loads((copy.folder / "bundle" / "bundle.json").read_text())
    manifest["provenance"]["run"]["model_sha256"] = "0" * 64
    path = copy.folder / "bundle" / "bundle.json"
    documents.write(path, documents.sealed(documents.of_json(Manifest, manifest, name="it")))
    with pytest.raises(InputError, match="is a bundle of another model") as caught:
        quantize(copy, FLOAT_ONLY)
    assert "--overwrite" in str(caught.value)
    quantize(copy, FLOAT_ONLY, overwrite=True)
    assert verify(Bundle.open(copy.folder / "bundle")).ok


def test_export_takes_the_measured_file_of_the_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_bundle.parent, tmp_path / "run"))
    # Nothing is loaded or converted.
    (run / "model.keras").unlink()
    bundle = Bundle.open(tiny_bundle)
    for name in ("int8", "float32-onnx"):
        out = tmp_path / name
        done = small.edgetl("export", run, "--variant", name, "-o", out)
        assert done.returncode == 0, done.stderr
        assert out.read_bytes() == bundle.read(bundle.variant(name).file)
        accuracy = bundle.variant(name).accuracy
        assert accuracy is not None
        assert f"bundle: {name}, {accuracy.correct} of {accuracy.photos} photos right" in done.stdout
    # Of another target, of a variant that is not there, or in another layout, it has to be made.
    opened = Run.open(tiny_bundle.parent)
    assert bundled(opened, "int8", "coral") is None
    assert bundled(opened, "float16", "generic") is None
    assert "model.keras" in small.refused(small.edgetl("export", run, "--variant", "int8", "--target", "coral"))
    assert "model.keras" in small.refused(small.edgetl("export", run, "--variant", "float32-onnx", "--layout", "nchw"))


def test_the_same_run_gives_the_same_bundle_byte_by_byte(copy: Run, tmp_path: Path) -> None:
    digests, packed = [], []
    for seed in ("1", "2"):
        # tf2onnx iterates over sets, whose order depends on the seed of hashes.
        env = {"PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": "1700000000"}
        done = small.edgetl("quantize", copy.folder, "--calibration", 4, env=env)
        assert done.returncode == 0, done.stderr
        bundle = Bundle.open(copy.folder)
        assert {"int8", "int8-onnx"} <= {one.name for one in bundle.variants}
        digests.append(bundle.digest)
        packed.append(pack(bundle.path, tmp_path / f"{seed}.edgetl").read_bytes())
        shutil.rmtree(copy.folder / "bundle")
    assert digests[0] == digests[1]
    assert packed[0] == packed[1]
