"""An int8 file that another program made: bundled as it is, beside its float model, or refused with the reason."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from foreign import randomized
from small import Once
from tflite_graph import Graph

import edgetl
from edgetl._lib.extras import keras, tensorflow
from edgetl.data.pixels import decode_files
from edgetl.inspection.tflite.metadata import with_metadata
from edgetl.quantization.pipeline import quantize as run_quantize
from edgetl.reports.run import write_run_report
from edgetl.runs.directory import Run
from edgetl_device._lib import child
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.errors import GateFailed, InputError, OptionError
from edgetl_device.runtime import trial_run

SIZE = 32
# The model takes pixel * factor + offset.
SCALINGS = {"0..1": (1 / 255, 0.0), "-1..1": (1 / 127.5, -1.0), "raw": (1.0, 0.0)}


def _model(*, classes: int = 3, size: int = SIZE, ends_in: str = "softmax", roll: int = 0) -> Any:
    """Return a network with an opinion on each photo; ``roll`` moves each score to another class."""
    k = keras().layers
    pixels = k.Input((size, size, 3))
    x = k.Conv2D(16, 3, 2, activation="relu6")(k.Conv2D(8, 3, 2, activation="relu6")(pixels))
    model = randomized(keras().Model(pixels, k.Dense(classes, ends_in)(k.GlobalAveragePooling2D()(x))))
    kernel, bias = model.layers[-1].get_weights()
    # Around what these features are on average, so that photos differ.
    model.layers[-1].set_weights([np.roll(8 * kernel, roll, axis=1), np.roll(bias, roll)])
    return model


def _photos(run: Run) -> Any:
    samples = run.of("train")
    files = {one.sha256: run.data_root / one.path for one in samples}
    cache = decode_files(files, run.preprocess)
    return np.asarray(cache.array[cache.rows(samples)])


def _int8(
    model: Any, photos: Any, *, scaling: str = "0..1", dtype: str = "int8", inside: bool = False, **settings: Any
) -> bytes:
    """Convert as most people do, with photos as representative data; ``inside`` puts the scaling into the model."""
    factor, offset = SCALINGS[scaling]
    tf, side = tensorflow(), model.input.shape[1]
    given = np.resize(photos, (len(photos), side, side, 3)).astype(np.float32)
    # What real photos have.
    given[:, 0, 0], given[:, -1, -1] = 0, 255
    if inside:
        whole = keras().Sequential([keras().layers.Input((side, side, 3)), keras().layers.Rescaling(factor, offset)])
        whole.add(model)
        model = whole
    else:
        given = given * np.float32(factor) + np.float32(offset)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([one[None]] for one in given)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = getattr(tf, dtype)
    for name, value in settings.items():
        setattr(converter, name, value)
    made: bytes = converter.convert()
    return made


@pytest.fixture(scope="module")
def runs(tiny_photos: Path, once: Once) -> dict[str, Run]:
    """Runs of one float model, imported as one for pixels of 0 to 1 and of -1 to 1: do not write to them."""

    def imported(scaling: str) -> Callable[[Path], object]:
        def make(folder: Path) -> None:
            path = folder.with_name(f"{folder.name}.keras")
            _model().save(path)
            edgetl.import_model(path, tiny_photos, out=folder, input=scaling, fit="stretch")

        return make

    names = {"0..1": "int8-of-unit", "-1..1": "int8-of-centred"}
    return {scaling: Run.open(once(name, imported(scaling))) for scaling, name in names.items()}


@pytest.fixture
def run(runs: dict[str, Run], tmp_path: Path) -> Run:
    """A copy of the first run, to write to."""
    return Run.open(Path(shutil.copytree(runs["0..1"].folder, tmp_path / "run")))


@pytest.fixture(scope="module")
def theirs(runs: dict[str, Run], once: Once) -> Path:
    """The int8 file of the first run's model, int8 in and out."""
    return once("theirs-int8", lambda path: path.write_bytes(_int8(_model(), _photos(runs["0..1"]))))


@pytest.mark.parametrize(
    ("dtype", "scaling", "inside", "scale", "zero_point"),
    [
        ("int8", "0..1", False, 1 / 255, -128),
        ("uint8", "0..1", False, 1 / 255, 0),
        ("int8", "-1..1", False, 1 / 127.5, -1),
        ("uint8", "-1..1", False, 1 / 127.5, 127),
        ("uint8", "0..1", True, 1.0, 0),
        ("int8", "-1..1", True, 1.0, -128),
    ],
)
def test_it_is_bundled_byte_for_byte_and_gets_the_pixels_that_it_expects(
    runs: dict[str, Run], tmp_path: Path, dtype: str, scaling: str, inside: bool, scale: float, zero_point: int
) -> None:
    run = Run.open(Path(shutil.copytree(runs[scaling].folder, tmp_path / "run")))
    path = tmp_path / "theirs.tflite"
    path.write_bytes(_int8(_model(), _photos(run), scaling=scaling, dtype=dtype, inside=inside))
    bundle = edgetl.quantize(run, int8_file=path)
    assert [one.name for one in bundle.variants] == ["float32", "float32-onnx", "int8"]
    variant = bundle.variant("int8")
    assert bundle.read(variant.file) == path.read_bytes()
    assert (variant.input.dtype, variant.input.zero_point) == (dtype, zero_point)
    assert variant.input.scale == pytest.approx(scale, rel=1e-3)
    assert variant.calibration is None
    assert variant.agreement is not None
    assert variant.agreement.top1 > 0.8
    assert edgetl.verify(bundle).ok
    # As a program does it that reads scale and zero point from the file.
    factor, offset = (1.0, 0.0) if inside else SCALINGS[scaling]
    files = [bundle.read(photo.file) for photo in bundle.photos()]
    with Classifier(bundle, "int8") as classifier:
        ours = np.stack([classifier.probabilities(one) for one in files])
        pixels = np.stack([classifier.pixels(one) for one in files])
    expected = _litert(path.read_bytes(), pixels.astype(np.float32) * factor + offset)
    np.testing.assert_allclose(ours, expected, atol=0.02)
    assert np.ptp(expected, axis=0).max() > 0.1


def _litert(data: bytes, given: Any) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    (pixels,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
    (scale, zero), ends = pixels["quantization"], np.iinfo(pixels["dtype"])
    found = []
    for one in given:
        grid = np.clip(np.round(one / scale) + zero, ends.min, ends.max)
        interpreter.set_tensor(pixels["index"], grid[None].astype(pixels["dtype"]))
        interpreter.invoke()
        step, middle = scores["quantization"]
        found.append((interpreter.get_tensor(scores["index"])[0].astype(np.float32) - middle) * step)
    return np.stack(found)


def _quantized(run: Run, path: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    return small.edgetl("quantize", run.folder, "--int8-file", path, *flags)


def test_the_command_measures_it_and_other_commands_take_it(run: Run, theirs: Path, tmp_path: Path) -> None:
    done = _quantized(run, theirs, "--max-drop", 100, "--fail-if", "int8.agreement_pct<50")
    assert done.returncode == 0, done.stderr
    report = json.loads((run.folder / "quantize.json").read_text())
    assert [row["name"] for row in report["variants"]] == ["float32", "float32-onnx", "int8"]
    assert report["calibration"] is None
    (candidate,) = report["candidates"]["tried"]
    assert (candidate["name"], candidate["passed"], candidate["repair"]) == (theirs.name, True, "none")
    assert candidate["variants"][0]["accuracy"]["photos"] == len(run.of("val"))
    bundle = Bundle.open(run.folder)
    provenance = bundle.provenance["quantize"]
    assert isinstance(provenance, dict)
    assert provenance["int8_file"] == theirs.name
    evaluated = edgetl.evaluate(run, run.data_root, variant="int8")
    assert evaluated.metrics.accuracy.photos == len(run.samples)
    result = edgetl.bench(bundle, variants=["float32", "int8"], threads=[1], duration=0.05, quick=True)
    assert result.variant("int8").latency.p50_ms > 0
    assert f"int8      {theirs.name}, as it is\n" in done.stdout
    assert theirs.name in write_run_report(run, tmp_path / "report.html").read_text()


def test_it_takes_the_place_of_edgetls_own_int8_files_only_with_leave(run: Run, theirs: Path) -> None:
    edgetl.quantize(run, calibration=4, repair=False)
    text = small.refused(_quantized(run, theirs))
    assert "its int8 files were made and measured with other settings" in text
    assert f"--int8-file {theirs} now, None then" in text
    bundle = edgetl.quantize(run, int8_file=theirs, overwrite=True)
    # The ONNX file is not of the same int8 model.
    assert [one.name for one in bundle.variants] == ["float32", "float32-onnx", "int8"]
    # Files of other kinds can be added, and it stays.
    bundle = edgetl.quantize(run, int8=False, float16=True)
    assert bundle.read(bundle.variant("int8").file) == theirs.read_bytes()


def test_a_file_beyond_the_bounds_is_refused_without_a_bundle(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "theirs.tflite"
    path.write_bytes(_int8(_model(roll=1), _photos(run)))
    text = small.refused(_quantized(run, path, "--min-agreement", 0.5), code=3)
    assert "no int8 candidate is within --min-agreement 0.5; tried: theirs.tflite" in text
    assert "0.0% agreement" in text
    assert "quantize.json" in text
    assert not (run.folder / "bundle").exists()
    with pytest.raises(GateFailed, match="does not fit target='mediapipe'"):
        edgetl.quantize(run, int8_file=path, target="mediapipe")
    assert not (run.folder / "bundle").exists()


def _classes(run: Run) -> bytes:
    return _int8(_model(classes=4), _photos(run))


def _size(run: Run) -> bytes:
    return _int8(_model(size=48), _photos(run))


def _float(run: Run) -> bytes:
    made: bytes = tensorflow().lite.TFLiteConverter.from_keras_model(_model()).convert()
    return made


def _dynamic(run: Run) -> bytes:
    converter = tensorflow().lite.TFLiteConverter.from_keras_model(_model())
    converter.optimizations = [tensorflow().lite.Optimize.DEFAULT]
    made: bytes = converter.convert()
    return made


def _int16(run: Run) -> bytes:
    wide = tensorflow().lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    spec = tensorflow().lite.TargetSpec(supported_ops=[wide])
    return _int8(_model(), _photos(run), dtype="float32", target_spec=spec)


def _detector(run: Run) -> bytes:
    graph = Graph()
    pixels = graph.tensor(1, SIZE, SIZE, 3)
    return graph.build(pixels, *(graph.add("RELU", [pixels], graph.tensor(1, SIZE, SIZE, 3)) for _ in range(4)))


def _custom(run: Run) -> bytes:
    graph = Graph()
    pixels = graph.tensor(1, SIZE, SIZE, 3)
    return graph.build(pixels, graph.add("edgetpu-custom-op", [pixels], graph.tensor(1, 3)))


def _labels(run: Run) -> bytes:
    return with_metadata(_int8(_model(), _photos(run), dtype="uint8"), name="theirs", labels=run.labels[::-1])


REFUSED: list[tuple[Callable[[Run], bytes], str]] = [
    (_classes, "it has 4 outputs\nthe run's model tells 3 classes apart: bolt, gear, washer"),
    (_size, "it takes photos of 48 x 48 pixels\nthe run's model takes 32 px"),
    (_float, "it is a float file"),
    (_dynamic, "it is a float file"),
    (_int16, "it is not int8\nits activations are int16"),
    (_detector, "it has 1 inputs and 4 outputs"),
    (_custom, "operators that are not of TFLite: edgetpu-custom-op"),
    (_labels, "labels in another order: washer, gear, bolt\nthe run has bolt, gear, washer"),
    (lambda run: _int8(_model(), _photos(run))[:-400], "damaged TFLite file"),
    (lambda _: b"no model", "not a TFLite file"),
    (
        lambda run: _int8(_model(), _photos(run), scaling="-1..1"),
        "its int8 input is for pixels scaled to -0.9961 to 1.004\n"
        "scale 0.00784314, zero point -1; the run's model takes them scaled to 0 to 1 (0..1)",
    ),
    (
        lambda run: _int8(_model(), _photos(run), dtype="float32"),
        "its float32 input is for pixels scaled to 0 to 1\ndevices do not scale pixels",
    ),
    (lambda run: _int8(_model(ends_in="linear"), _photos(run)), "the model outputs numbers from -1."),
]


@pytest.mark.parametrize(("made", "said"), REFUSED)
def test_a_file_that_does_not_fit_the_run_is_refused_with_numbers(
    runs: dict[str, Run], tmp_path: Path, made: Callable[[Run], bytes], said: str
) -> None:
    run, path = runs["0..1"], tmp_path / "theirs.tflite"
    path.write_bytes(made(run))
    with pytest.raises(InputError) as refused:
        edgetl.quantize(run, int8_file=path)
    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)
    assert not (run.folder / "bundle").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"channels": "BGR"}, "scaled to 0 to 1 (0..1, BGR)"),
        (
            {"name": "imagenet", "factor": (0.01712, 0.01751, 0.01743), "offset": (-2.118, -2.036, -1.804)},
            "scaled to -2.118 to 2.248, -2.036 to 2.429, -1.804 to 2.641 (imagenet)",
        ),
    ],
    ids=["bgr", "imagenet"],
)
def test_what_devices_cannot_do_for_the_file_is_refused(
    runs: dict[str, Run], theirs: Path, changes: dict[str, Any], said: str
) -> None:
    run = runs["0..1"]
    imported = run.document.imported
    assert imported is not None
    scaled = replace(imported, input=replace(imported.input, **changes))
    with pytest.raises(InputError) as refused:
        edgetl.quantize(replace(run, document=replace(run.document, imported=scaled)), int8_file=theirs)
    assert "its int8 input is for pixels scaled to 0 to 1\n" in str(refused.value)
    assert said in str(refused.value)


def test_a_file_that_is_not_there_is_named(runs: dict[str, Run], tmp_path: Path) -> None:
    text = small.refused(_quantized(runs["0..1"], tmp_path / "none.tflite"))
    assert "none.tflite: no such file" in text


def test_a_file_that_crashes_litert_is_found_in_another_process(
    runs: dict[str, Run], theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(trial_run, "_survived", set())
    crashed = subprocess.CompletedProcess([], -11, b"", b"")
    monkeypatch.setattr(child, "run_module", lambda *_, **__: crashed)
    with pytest.raises(InputError, match=r"the model crashes ai-edge-litert .* \(SIGSEGV\)"):
        edgetl.quantize(runs["0..1"], int8_file=theirs)


@pytest.mark.parametrize(
    "other",
    [
        {"int8": False},
        {"repair": False},
        {"calibration": 10},
        {"calibration_photos": "own"},
        {"unknown": True},
        {"explain": True},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_would_change_or_explain_the_file_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"int8_file='theirs\.tflite' with"):
        edgetl.QuantizeOptions(int8_file="theirs.tflite", **other)


@pytest.mark.slow
def test_a_run_that_edgetl_trained_takes_a_file_for_raw_pixels(tiny_bundle: Path, tmp_path: Path) -> None:
    """edgetl's own file of the same model, for microcontrollers: int8 in and out."""
    run = Run.open(Path(shutil.copytree(tiny_bundle.parent, tmp_path / "run")))
    path = tmp_path / "own.tflite"
    path.write_bytes(Bundle.open(tiny_bundle).read("models/int8.tflite"))
    report = run_quantize(run, edgetl.QuantizeOptions(int8_file=str(path)), overwrite=True)
    before = Bundle.open(tiny_bundle).variant("int8")
    (row,) = (one for one in report.variants if one.name == "int8")
    assert (row.sha256, row.accuracy, row.agreement) == (before.sha256, before.accuracy, before.agreement)
