from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.preprocess import preprocess
from edgetl_device.runtime import integer_grid, open_runtime, predict, run_batch

NULL = b'{"shape": [32, 32, 3], "classes": 4}'


def test_each_variant_gives_the_references_probabilities(tiny: Bundle, variant: str) -> None:
    chosen = tiny.variant(variant)
    runtime = open_runtime(tiny.read(chosen.file), chosen.format, threads=2)
    wanted = tiny.reference().probabilities
    for row, photo in enumerate(tiny.photos()):
        runtime.set_input(preprocess(tiny.read(photo.file), tiny.preprocess))
        runtime.invoke()
        found = runtime.probabilities()
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted[row], atol=1e-5 if chosen.precision == "float32" else 0.03)
    assert (runtime.input, runtime.output) == (chosen.input, chosen.output)
    assert runtime.threads == 2
    runtime.close()


def test_int8_takes_pixels_as_they_are(tiny: Bundle) -> None:
    for name in ("int8", "float32"):
        spec = tiny.variant(name).input
        assert spec.shape == (1, 32, 32, 3)
        assert (spec.dtype, spec.scale, spec.zero_point) == (
            ("uint8", 1.0, 0) if name == "int8" else ("float32", None, None)
        )


def test_probabilities_belong_to_the_caller(tiny: Bundle, variant: str) -> None:
    chosen = tiny.variant(variant)
    runtime = open_runtime(tiny.read(chosen.file), chosen.format)
    runtime.set_input(np.zeros((32, 32, 3), np.uint8))
    runtime.invoke()
    first = runtime.probabilities()
    kept = first.copy()
    runtime.set_input(np.full((32, 32, 3), (200, 50, 40), np.uint8))
    runtime.invoke()
    assert (first == kept).all()
    assert (runtime.probabilities() != kept).any()


def test_int8_products_of_onnx_do_not_saturate() -> None:
    """Without VNNI, ONNX Runtime's fast kernels for x86 add pairs of products in 16 bits, and would give 97 and 97."""
    onnx = pytest.importorskip("onnx", reason="onnxruntime is not installed here")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed here")
    weights = np.full((192, 2), 127, np.int8)
    weights[96:, 1] = 64
    constants = {
        "shape": np.array([1, 192]),
        "zero": np.uint8(0),
        "pixel_scale": np.float32(1 / 255),
        "weights": weights,
        "scales": np.full(2, 1 / 127, np.float32),
        "zeros": np.zeros(2, np.int8),
        "sum_scale": np.float32(192 / 255),
    }
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            node("Reshape", ["pixels", "shape"], ["row"]),
            node("DequantizeLinear", ["row", "pixel_scale", "zero"], ["values"]),
            node("DequantizeLinear", ["weights", "scales", "zeros"], ["kernel"], axis=1),
            node("MatMul", ["values", "kernel"], ["sums"]),
            node("QuantizeLinear", ["sums", "sum_scale", "zero"], ["rounded"]),
            node("DequantizeLinear", ["rounded", "sum_scale", "zero"], ["output"]),
        ],
        "saturating",
        [tensor("pixels", onnx.TensorProto.UINT8, [1, 8, 8, 3])],
        [tensor("output", onnx.TensorProto.FLOAT, [1, 2])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    runtime = open_runtime(model.SerializeToString(), "onnx")
    runtime.set_input(np.full((8, 8, 3), 255, np.uint8))
    runtime.invoke()
    np.testing.assert_allclose(runtime.probabilities(), [192, 96 + 96 * 64 / 127], atol=192 / 255)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_what_is_not_a_model_is_refused(format: str) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed here")
    for data in (b"", b"This is a text file.\n" * 50):
        with pytest.raises(InputError) as caught:
            open_runtime(data, format)
        assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_truncated_model_is_refused(tiny: Bundle, format: str) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed here")
    elif importlib.util.find_spec("ai_edge_litert") is None:
        pytest.skip("tflite-runtime reads past the end of a truncated model; a bundle checks its SHA-256 first")
    model = tiny.read(f"models/float32{'-onnx' if format == 'onnx' else ''}.{format}")
    with pytest.raises(InputError, match="not a model"):
        open_runtime(model[: len(model) // 3], format)


@pytest.mark.parametrize("threads", [0, -1, 257, 1.5, "2", True])
def test_threads_are_a_whole_number(threads: object) -> None:
    with pytest.raises(InputError, match="threads"):
        open_runtime(NULL, "null", threads=threads)  # type: ignore[arg-type]


def test_pixels_of_another_shape_or_type_are_refused(tiny: Bundle) -> None:
    runtime = open_runtime(tiny.read("models/int8.tflite"), "tflite")
    for shape, dtype in (((32, 31, 3), np.uint8), ((32, 32, 3), np.float32), ((1, 32, 32, 3), np.uint8)):
        pixels = np.zeros(shape, dtype)
        with pytest.raises(InputError, match="pixels"):
            runtime.set_input(pixels)


def test_null_runtime_finds_all_classes_equal() -> None:
    runtime = open_runtime(NULL, "null")
    runtime.set_input(np.zeros((32, 32, 3), np.uint8))
    runtime.invoke()
    assert runtime.probabilities().tolist() == [0.25] * 4


@pytest.mark.parametrize("model", [b"", b"{}", b"[]", b'{"shape": [32, 32, 3], "classes": "many"}'])
def test_what_the_null_runtime_cannot_read(model: bytes) -> None:
    with pytest.raises(InputError, match="not a model in the null format"):
        open_runtime(model, "null")


def test_unknown_format_and_runtime_are_named() -> None:
    with pytest.raises(InputError, match="pickle"):
        open_runtime(b"", "pickle")
    with pytest.raises(InputError, match="torch"):
        open_runtime(b"", "tflite", prefer="torch")


def test_an_absent_runtime_says_how_to_install_it(tiny: Bundle) -> None:
    packages = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
    absent = [name for name, package in packages.items() if importlib.util.find_spec(package) is None]
    if not absent:
        pytest.skip("both TFLite runtimes are installed here")
    with pytest.raises(Unavailable, match=f"pip install {absent[0]}"):
        open_runtime(tiny.read("models/int8.tflite"), "tflite", prefer=absent[0])


def test_tflite_runtime_with_numpy_2_is_refused_before_it_crashes(tmp_path: Path) -> None:
    if int(np.__version__.split(".")[0]) < 2:
        pytest.skip("needs NumPy 2")
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "__init__.py").write_text("raise SystemExit('imported')\n")
    script = "from edgetl_device.runtime import open_runtime; open_runtime(b'', 'tflite', prefer='tflite-runtime')"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {script}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "NumPyTooNew: tflite-runtime cannot be loaded with NumPy 2" in done.stderr
    assert "numpy<2" in done.stderr


def test_pixels_of_an_int8_input() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    found = integer_grid.shifted(pixels)
    assert found.dtype == np.int8
    assert found.tolist() == list(range(-128, 128))
    # The files that edgetl makes have scale 1: what they read is the pixel.
    assert (integer_grid.to_real(found, 1.0, -128) == pixels).all()


def test_photos_in_batches_are_predicted_as_one_by_one(tiny: Bundle) -> None:
    pixels = [preprocess(tiny.read(photo.file), tiny.preprocess) for photo in tiny.photos()][:7]
    taken: list[int] = []
    with Classifier(tiny, "float32", batch=3) as classifier:
        found = classifier.predict(iter(pixels), advance=taken.append)
    assert taken == [3, 3, 1]
    assert len(found.inference_ns) == 3
    assert found.probabilities.shape == (7, len(tiny.labels))
    runtime = open_runtime(tiny.read("models/float32.tflite"), "tflite")
    alone = predict(partial(run_batch, runtime), pixels)
    np.testing.assert_allclose(found.probabilities, alone.probabilities, atol=1e-6)
    assert (alone.probabilities.argmax(1) == [photo.index for photo in tiny.photos()[:7]]).all()


def test_probabilities_beside_0_and_1_are_within() -> None:
    answers = [np.array([-1e-7, 1 + 1e-7], np.float32)]
    found = predict(lambda photos: answers * len(photos), [np.zeros((16, 16, 3), np.uint8)] * 2, batch=2)
    assert found.probabilities.tolist() == [[0, 1], [0, 1]]
