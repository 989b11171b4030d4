"""TFLite files that others converted: read with float32, float16 and int8 weights, and equal to LiteRT."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest
import small
from tflite_graph import Graph

import edgetl
from edgetl._lib.extras import keras, tensorflow
from edgetl.importing import tflite_file
from edgetl.importing.scan import scanned
from edgetl.importing.source import open_source
from edgetl.inspection.tflite.file import describe
from edgetl.inspection.tflite.metadata import with_metadata
from edgetl.runs.directory import Run
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import InputError
from edgetl_device.input_size import square

SHAPE = (foreign.SIZE, foreign.SIZE, 3)
Build = Callable[[Any, Any], Any]


def _mobile(k: Any, x: Any) -> Any:
    """MobileNetV3 in small: strides, depthwise, squeeze and excite, hard swish, a residual sum."""
    x = k.Activation("hard_silu")(k.BatchNormalization()(k.Conv2D(8, 3, 2, "same", use_bias=False)(x)))
    y = k.ReLU(6.0)(k.BatchNormalization()(k.DepthwiseConv2D(3, padding="same")(k.Conv2D(16, 1)(x))))
    gate = k.Conv2D(16, 1, activation="hard_sigmoid")(
        k.Conv2D(4, 1, activation="relu")(k.GlobalAveragePooling2D(keepdims=True)(y))
    )
    return k.Add()([x, k.Conv2D(8, 1)(k.Multiply()([y, gate]))])


def _residual(k: Any, x: Any) -> Any:
    """ResNet in small: explicit padding, pools, a BatchNormalization after a sum."""
    x = k.MaxPooling2D(3, 2)(k.ZeroPadding2D(1)(k.Conv2D(8, 7, 2)(k.ZeroPadding2D(3)(x))))
    return k.ReLU()(k.BatchNormalization()(k.Add()([x, k.Conv2D(8, 3, padding="same", activation="relu")(x)])))


def _branches(k: Any, x: Any) -> Any:
    """Joined branches, other activations, an average pool."""
    one = k.LeakyReLU(negative_slope=0.2)(k.Conv2D(4, 3, padding="same")(x))
    two = k.Activation("silu")(k.Conv2D(4, (1, 5), padding="same")(x))
    three = k.Activation("tanh")(k.Conv2D(4, 1)(k.AveragePooling2D(3, 1, "same")(x)))
    return k.AveragePooling2D(2)(k.Concatenate()([one, two, three, k.ELU()(one)]))


def _flattened(k: Any, x: Any) -> Any:
    """The order of a flattened feature map."""
    x = k.Dense(8, activation="relu")(k.Flatten()(k.Conv2D(4, 5, 4)(x)))
    return k.Reshape((1, 1, 8))(x)


_PARTS: dict[str, Build] = {one.__name__[1:]: one for one in (_mobile, _residual, _branches, _flattened)}


def _model(part: Build = _mobile, *, classes: int = 3) -> Any:
    k = keras().layers
    pixels = k.Input(SHAPE)
    x = k.GlobalAveragePooling2D()(part(k, pixels))
    return foreign.randomized(keras().Model(pixels, k.Dense(classes, "softmax")(k.Dropout(0.2)(x))))


def _converted(model: Any, path: Path, **settings: Any) -> Path:
    """Convert as most people do."""
    converter = tensorflow().lite.TFLiteConverter.from_keras_model(model)
    for name, value in settings.items():
        setattr(converter, name, value)
    path.write_bytes(converter.convert())
    return path


def _optimized() -> dict[str, Any]:
    return {"optimizations": [tensorflow().lite.Optimize.DEFAULT]}


@pytest.mark.parametrize("part", _PARTS)
def test_a_float_file_is_equal_to_litert(tmp_path: Path, part: str) -> None:
    made = foreign.import_file(_converted(_model(_PARTS[part]), tmp_path / "theirs.tflite"))
    assert made.ends_in == "softmax"
    # Convolutions are layers with weights, which int8 preparation equalizes and rounds.
    assert "Conv2D" in foreign.kinds(made.model)


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_weights_of_fewer_bits_are_read(tmp_path: Path, kind: str) -> None:
    k = keras().layers
    # The converter leaves small kernels in float32.
    model = _model(lambda _, x: k.Conv2D(32, 3)(k.Conv2D(32, 3, 2)(x)))
    settings = _optimized() | ({"target_spec": _half()} if kind == "float16" else {})
    path = _converted(model, tmp_path / "theirs.tflite", **settings)
    found = tflite_file.read(path.read_bytes())
    assert found.weights_type == kind
    assert all(one.dtype in ("float32", "int32") for one in describe(found.floats).tensors)
    foreign.import_file(path)
    if kind == "float16":
        # LiteRT itself takes them as float32: the file is its own reference.
        whole = tflite_file.TFLiteFile(path.read_bytes(), kind, ())
        given = foreign.pixels().astype(np.float32) / 255
        one, other = (_original(file.floats, given) for file in (whole, found))
        np.testing.assert_allclose(one, other, atol=1e-6)


def _half() -> Any:
    spec = tensorflow().lite.TargetSpec()
    spec.supported_types = [tensorflow().float16]
    return spec


def _original(data: bytes, inputs: Any) -> Any:
    from edgetl.importing.original import TFLiteOriginal

    return TFLiteOriginal(data, size=square(foreign.SIZE)).outputs(inputs)


def test_a_quantized_file_is_refused(tmp_path: Path) -> None:
    photos = foreign.pixels(8).astype(np.float32) / 255
    path = _converted(
        _model(),
        tmp_path / "theirs.tflite",
        **_optimized(),
        representative_dataset=lambda: ([one[None]] for one in photos),
    )
    # Its input is float32; what is inside is not.
    with pytest.raises(InputError, match=r"it is quantized") as refused:
        tflite_file.read(path.read_bytes())
    for command in ("edgetl import FLOAT_MODEL --data PHOTOS --out RUN", "edgetl quantize RUN --int8-file"):
        assert command in refused.value.hint


def _graph(dtype: str = "float32", outputs: int = 1, operator: str = "RELU") -> bytes:
    graph = Graph()
    pixels = graph.tensor(1, 32, 32, 3, dtype=dtype, scales=())
    made = [graph.add(operator, [pixels], graph.tensor(1, 32, 32, 3, dtype=dtype, scales=())) for _ in range(outputs)]
    return graph.build(pixels, *made)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (lambda: _graph(outputs=4), "it has 1 inputs and 4 outputs"),
        (lambda: _graph("uint8"), "its input is uint8, not float32"),
        (lambda: _graph(operator="their_op"), "operators that are not of TFLite: their_op"),
        (lambda: _graph()[:-40], "damaged TFLite file"),
    ],
    ids=["detector", "uint8", "custom", "damaged"],
)
def test_what_is_no_float_classifier_says_why(data: Callable[[], bytes], what: str) -> None:
    with pytest.raises(InputError, match=what):
        tflite_file.read(data())


def test_an_operator_without_equivalent_is_named_by_the_child_process(tmp_path: Path) -> None:
    (tmp_path / "theirs.tflite").write_bytes(_graph(operator="RELU_0_TO_1"))
    with pytest.raises(InputError, match=r"theirs\.tflite: cannot be imported") as refused:
        scanned(open_source(tmp_path / "theirs.tflite"))
    assert "RELU_0_TO_1" in refused.value.why


@pytest.mark.slow
def test_it_becomes_a_run_with_the_labels_of_its_metadata(tmp_path: Path, tiny_photos: Path) -> None:
    path = _converted(_model(), tmp_path / "theirs.tflite")
    path.write_bytes(with_metadata(path.read_bytes(), name="theirs", labels=small.LABELS[::-1]))
    done = small.edgetl(
        "import", path, "--data", tiny_photos, "--input", "0..1", "--fit", "stretch", "--out", tmp_path / "run"
    )
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^imported  theirs\.tflite: tflite, ends in softmax; kept as original\.tflite$", done.stdout, re.M
    )
    run = Run.open(tmp_path / "run")
    record = run.document.imported
    assert record is not None
    assert (record.format, record.labels_from, run.labels) == ("tflite", "metadata", small.LABELS[::-1])
    assert record.sha256 == sha256_file(path) == sha256_file(run.folder / "original.tflite")
    assert record.runtime.startswith("ai-edge-litert ")
    assert record.agreement.max_abs < 1e-5
    edgetl.quantize(run, int8=True, calibration=6)
    assert edgetl.verify(run.folder / "bundle").ok
