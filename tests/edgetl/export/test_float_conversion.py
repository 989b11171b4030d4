"""Float exports: the same predictions as Keras, no output, and no operations that devices lack."""

from __future__ import annotations

import os
import sys
from typing import Any

import lively
import numpy as np
import onnx
import onnxruntime
import pytest

from edgetl._lib import extras
from edgetl._lib.quiet import quietly
from edgetl.export import conversion
from edgetl.inspection.tflite.file import describe
from edgetl_device.errors import InputError

pytestmark = pytest.mark.no_cover

_PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@pytest.mark.parametrize("name", lively.EACH)
def test_float32_variants_answer_as_keras_does(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = lively.build(name)
    photos = lively.photos(6)
    expected = lively.predictions(model, photos)
    capfd.readouterr()
    files = {"tflite": conversion.float32_tflite(model), "onnx": conversion.float32_onnx(model)}
    assert capfd.readouterr() == ("", ""), "a converter wrote to the terminal"
    for format, data in files.items():
        np.testing.assert_allclose(lively.run(data, format, photos), expected, atol=1e-4)


def test_float16_is_half_the_size_and_nearly_the_same() -> None:
    model = lively.pretrained()
    photos = lively.photos(6)
    half, full = conversion.float16_tflite(model), conversion.float32_tflite(model)
    assert len(half) < 0.52 * len(full)
    found = describe(half)
    weights = [tensor for tensor in found.tensors if tensor.bytes > 1000]
    assert {tensor.dtype for tensor in weights} == {"float16"}
    assert [found.tensors[index].dtype for index in found.inputs + found.outputs] == ["float32", "float32"]
    difference = np.abs(lively.run(half, "tflite", photos) - lively.predictions(model, photos))
    assert 0 < difference.mean() < 0.005


def test_dynamic_has_int8_weights_and_float_activations() -> None:
    model = lively.build("mobilenet_v1")
    photos = lively.photos(6)
    found = describe(conversion.dynamic_tflite(model))
    weights = [found.tensors[operator.inputs[1]] for operator in found.operators if operator.name in _PRODUCTS]
    # The converter leaves kernels of fewer than 1024 weights in float.
    assert {tensor.dtype for tensor in weights if tensor.bytes > 4096} == {"int8"}
    assert [found.tensors[index].dtype for index in found.inputs + found.outputs] == ["float32", "float32"]
    assert {found.tensors[operator.outputs[0]].dtype for operator in found.operators} == {"float32"}
    difference = np.abs(
        lively.run(conversion.dynamic_tflite(model), "tflite", photos) - lively.predictions(model, photos)
    )
    assert 0 < difference.mean() < 0.1


def test_names_shapes_and_opset() -> None:
    model = lively.build("mobilenet_v2")
    graph = onnx.load_from_string(conversion.float32_onnx(model))
    assert [
        (value.name, [side.dim_value for side in value.type.tensor_type.shape.dim]) for value in graph.graph.input
    ] == [("pixels", [1, 96, 96, 3])]
    assert [value.name for value in graph.graph.output] == ["probabilities"]
    assert {entry.domain: entry.version for entry in graph.opset_import}[""] == 17
    found = describe(conversion.float32_tflite(model))
    assert [(found.tensors[index].name, found.tensors[index].shape) for index in found.inputs] == [
        ("pixels", (1, 96, 96, 3))
    ]


def test_the_same_model_gives_the_same_bytes() -> None:
    model = lively.build("mobilenet_v1")
    assert conversion.float32_tflite(model) == conversion.float32_tflite(model)


@pytest.mark.parametrize(
    "convert",
    [conversion.float32_tflite, conversion.float16_tflite, conversion.dynamic_tflite, conversion.float32_onnx],
)
def test_an_operation_without_counterpart_is_named(convert: Any, capfd: pytest.CaptureFixture[str]) -> None:
    tf, keras = extras.tensorflow(), extras.keras()

    class Digamma(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any) -> Any:
            return tf.math.digamma(inputs + 1.0)

    pixels = keras.Input((8, 8, 3), name="pixels")
    model = keras.Model(pixels, keras.layers.Flatten()(Digamma()(pixels)))
    capfd.readouterr()
    with pytest.raises(InputError, match="Digamma") as error:
        convert(model)
    assert len(str(error.value).splitlines()) <= 3
    assert capfd.readouterr() == ("", "")


def test_what_a_defect_printed_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stderr

    @quietly()
    def fail() -> None:
        os.write(2, b"the native library says why\n")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "the native library says why" in capfd.readouterr().err
    assert sys.stderr is before
    with quietly():
        os.write(2, b"chatter\n")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_grouped_convolutions_and_exact_gelu_become_standard_onnx() -> None:
    keras = extras.keras()
    keras.utils.set_random_seed(3)
    layers = keras.layers
    pixels = keras.Input((16, 16, 3), name="pixels")
    x = layers.Conv2D(8, 3, strides=2, padding="same", groups=4)(layers.Conv2D(8, 1)(pixels))
    x = layers.GlobalAveragePooling2D()(layers.Activation("gelu")(x))
    model = keras.Model(pixels, layers.Softmax()(layers.Dense(3)(x)))
    exported = conversion.float32_onnx(model)
    graph = onnx.load_from_string(exported).graph
    groups = [one.i for node in graph.node for one in node.attribute if one.name == "group"]
    assert 4 in groups
    assert "Erf" in {node.op_type for node in graph.node}
    photo = np.random.default_rng(0).uniform(0, 1, (1, 16, 16, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"pixels": photo})[0], model.predict_on_batch(photo), atol=1e-6)
