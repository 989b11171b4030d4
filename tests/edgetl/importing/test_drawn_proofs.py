"""Models and documents that are hard on an import without photos: odd networks, odd documents, kills, a full disk."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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
from edgetl._lib.extras import keras, tensorflow
from edgetl.cli import app
from edgetl.importing.drawn import PICTURES
from edgetl.reports.write import write_report
from edgetl.runs.directory import Run
from edgetl.runs.document import RunDocument
from edgetl_device._lib import documents
from edgetl_device.bundle import Manifest, read_manifest
from edgetl_device.errors import InputError
from edgetl_device.verify import raise_failures


def _constant(path: Path) -> None:
    """A model that gives each picture the second of three classes."""
    build = foreign.Onnx()
    maps = build.add("Relu", build.conv("pixels", 3, 4, strides=[2, 2]))
    shifted = build.add("Add", build.head(maps, 4, 3), build.constant([0, 1e4, 0]))
    onnx.save(build.model(build.add("Softmax", shifted)), path)


def _one_logit(path: Path) -> None:
    build = foreign.Onnx()
    maps = build.add("Relu", build.conv("pixels", 3, 8, strides=[2, 2]))
    onnx.save(build.model(build.head(maps, 8, 1)), path)


def _grey(path: Path) -> None:
    build = foreign.Onnx(size=24, width=40, channels=1)
    maps = build.add("Relu", build.conv("pixels", 1, 6, strides=[2, 2]))
    onnx.save(build.model(build.add("Sigmoid", build.head(maps, 6, 3))), path)


ODD = {"constant": _constant, "one-logit": _one_logit, "grey": _grey}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos without labels."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    for number in range(12):
        cells = random.integers(0, 256, (5, 5, 3)).astype(np.uint8)
        Image.fromarray(cells).resize((64, 48)).save(folder / f"{number}.jpg")
    return folder


@pytest.fixture(scope="module", params=ODD)
def odd(request: pytest.FixtureRequest, photos: Path, once: Once) -> Run:
    """The run of an odd model, with a bundle: do not write to it."""

    def make(folder: Path) -> None:
        model = folder.with_name(f"{request.param}.onnx")
        ODD[request.param](model)
        edgetl.import_model(model, out=folder, input="0..1")
        edgetl.quantize(folder, calibration_photos=str(photos))

    return Run.open(once(f"odd-{request.param}", make))


def test_odd_models_are_proved_and_nothing_is_called_accuracy(odd: Run, tmp_path: Path) -> None:
    record = odd.document.imported
    assert record is not None
    assert record.agreement.agree == record.agreement.photos == PICTURES
    raise_failures(edgetl.verify(odd))
    benched = edgetl.bench(odd, variants=["float32", "int8"], threads=[1], duration=0.05, quick=True)
    assert benched.evalset.truth == "model"
    (tmp_path / "result.json").write_text(documents.dumps(benched))
    write_report([tmp_path / "result.json"], tmp_path / "page.html", bundle=odd.folder / "bundle")
    for page in (odd.folder / "report.html", odd.folder / "MODEL_CARD.md", tmp_path / "page.html"):
        assert claims(words_of(page)) == []
    if odd.folder.name.endswith("constant"):
        assert list(odd.document.dataset.labels) == ["1"]


def test_comparisons_of_odd_runs_claim_nothing(odd: Run) -> None:
    done = CliRunner().invoke(app, ["compare", str(odd.folder), str(odd.folder)])
    assert done.exit_code == 0, done.output
    assert claims(done.output) == []
    shown = CliRunner().invoke(app, ["compare", str(odd.folder), str(odd.folder), "--json"])
    document = json.loads(shown.stdout)
    assert {one["truth"] for one in document["sources"]} == {"model"}
    known = document["comparisons"][0]["metrics"]
    assert not [name for name, value in known.items() if "accuracy" in name and not isinstance(value, dict)]


def _theirs(size: tuple[int, int, int]) -> Any:
    layers = keras().layers
    pixels = keras().Input(size)
    maps = layers.Conv2D(8, 3, strides=2, activation="relu6")(layers.Rescaling(1 / 127.5, -1)(pixels))
    return foreign.randomized(
        keras().Model(pixels, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(maps)))
    )


@pytest.mark.parametrize("size", [(32, 32, 3), (24, 40, 1)])
def test_an_int8_file_by_others_joins_a_run_without_photos(size: tuple[int, int, int], tmp_path: Path) -> None:
    model = _theirs(size)
    model.save(tmp_path / "theirs.keras")
    run = edgetl.import_model(tmp_path / "theirs.keras", out=tmp_path / "run")
    given = np.random.default_rng(0).integers(0, 256, (16, *size)).astype(np.float32)
    given[:, 0, 0], given[:, -1, -1] = 0, 255
    tf = tensorflow()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([one[None]] for one in given)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    (tmp_path / "theirs.tflite").write_bytes(converter.convert())
    bundle = edgetl.quantize(run, int8_file=str(tmp_path / "theirs.tflite"))
    assert (bundle.truth, [one.name for one in bundle.variants if one.precision == "int8"]) == ("model", ["int8"])
    raise_failures(edgetl.verify(bundle))
    shown = CliRunner().invoke(app, ["inspect", str(run.folder / "bundle")]).output
    assert claims(shown) == []


STRANGE = [None, True, 1, "photos", "Model", "", ["model"], {"model": 1}, {"unknown": "why"}]


@pytest.mark.parametrize("truth", STRANGE)
def test_a_strange_truth_is_refused_by_its_field(odd: Run, truth: Any) -> None:
    run = json.loads((odd.folder / "run.json").read_text())
    run["dataset"]["truth"] = truth
    with pytest.raises(InputError, match=r"dataset\.truth"):
        documents.parse(RunDocument, json.dumps(run).encode(), name="run.json")
    manifest = json.loads((odd.folder / "bundle" / "bundle.json").read_text())
    manifest["truth"] = truth
    with pytest.raises(InputError, match="truth"):
        documents.of_json(Manifest, manifest, name="bundle.json")
    with pytest.raises(InputError):
        read_manifest(json.dumps(manifest).encode(), name="bundle.json")


def test_a_bundle_cannot_lose_its_truth(odd: Run, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(odd.folder / "bundle", tmp_path / "bundle"))
    manifest = json.loads((copy / "bundle.json").read_text())
    del manifest["truth"]
    (copy / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="digest"):
        edgetl.Bundle.open(copy)
    assert documents.of_json(Manifest, manifest, name="it").truth == "labels"


def test_a_full_disk_in_mid_import_leaves_nothing(tmp_path: Path) -> None:
    _grey(tmp_path / "grey.onnx")

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(scratch), "EDGETL_CACHE": str(tmp_path / "cache")}
    command = ("import", tmp_path / "grey.onnx", "--input", "0..1", "--out", tmp_path / "out" / "run")
    done = small.edgetl(*command, env=environment, before=full)
    assert "Free some space" in small.refused(done, 4)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
    assert list(scratch.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("after", ["Drawing pictures", "Converting"])
def test_a_kill_in_mid_import_leaves_no_run(after: str, tmp_path: Path) -> None:
    _grey(tmp_path / "grey.onnx")
    out = tmp_path / "run"
    command = [sys.executable, "-m", "edgetl", "import", tmp_path / "grey.onnx", "--input", "0..1", "--out", out]
    killed = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert killed.stderr is not None
    seen, ends = b"", time.monotonic() + 120
    while after.encode() not in seen and time.monotonic() < ends:
        seen += killed.stderr.read1()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert killed.returncode == -signal.SIGKILL, seen
    assert not out.exists()
    again = small.edgetl(*[str(word) for word in command[3:]])
    assert again.returncode == 0, again.stderr
    assert Run.open(out).truth == "model"
