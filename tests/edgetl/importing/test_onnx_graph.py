"""Every operator pattern of common image classifiers, as exporters write it: equal to ONNX Runtime."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable

import foreign
import numpy as np
import onnx
import pytest
from foreign import Onnx

from edgetl.importing.onnx_graph import KNOWN
from edgetl.importing.onnx_graph.convert import computed
from edgetl.importing.onnx_graph.values import Graph, Refused
from edgetl.importing.scan import Refusal
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl_device.errors import InputError

Build = Callable[[Onnx], str]


def _conv_same(m: Onnx) -> str:
    return m.head(m.add("Relu", m.conv("pixels", 3, 8, pads=[1, 1, 1, 1])), 8)


def _conv_stride(m: Onnx) -> str:
    return m.head(
        m.add("Clip", m.conv("pixels", 3, 8, pads=[1, 1, 1, 1], strides=[2, 2]), m.constant(0), m.constant(6)), 8
    )


def _conv_auto_pad(m: Onnx) -> str:
    lower = m.conv("pixels", 3, 6, auto_pad="SAME_LOWER", strides=[2, 2])
    return m.head(m.conv(lower, 6, 8, auto_pad="SAME_UPPER", strides=[2, 2]), 8)


def _conv_asymmetric(m: Onnx) -> str:
    return m.head(m.conv("pixels", 3, 8, pads=[2, 0, 1, 3], dilations=[2, 2]), 8)


def _grouped(m: Onnx) -> str:
    return m.head(m.conv(m.conv("pixels", 3, 8), 8, 12, group=4, pads=[1, 1, 1, 1]), 12)


def _depthwise(m: Onnx) -> str:
    first = m.conv("pixels", 3, 8, kernel=1)
    return m.head(m.conv(first, 8, 16, kernel=5, group=8, pads=[2, 2, 2, 2], strides=[2, 2]), 16)


def _batch_norm(m: Onnx) -> str:
    def norm(source: str, channels: int) -> str:
        parts = (m.weights(channels), m.weights(channels), m.weights(channels))
        variance = m.constant(np.linspace(0.5, 2, channels))
        return str(m.add("BatchNormalization", source, *parts, variance, epsilon=1e-3))

    one, two = m.conv("pixels", 3, 8, kernel=1), m.conv("pixels", 3, 8, pads=[1, 1, 1, 1])
    # RepVGG: a BatchNormalization after a sum, and one on the input.
    return m.head(norm(m.add("Add", norm(m.add("Add", one, two), 8), m.conv(norm("pixels", 3), 3, 8, kernel=1)), 8), 8)


def _pad_same(m: Onnx) -> str:
    """SAME goes by the padded size: 38 and not 32 pixels."""
    padded = m.add("Pad", "pixels", m.constant([0, 0, 3, 3, 0, 0, 3, 3], np.int64))
    x = m.conv(padded, 3, 8, kernel=4, strides=[4, 4], auto_pad="SAME_UPPER")
    lower = m.add("Pad", x, m.constant([0, 0, 1, 0, 0, 0, 0, 1], np.int64))
    return m.head(m.conv(lower, 8, 8, auto_pad="SAME_LOWER", strides=[2, 2]), 8)


def _of_three(m: Onnx) -> str:
    one, two, three = (m.conv("pixels", 3, 8) for _ in range(3))
    most = m.add("Max", one, two, m.constant(0.1), three)
    least = m.add("Min", m.add("Sum", one, two, three), most, m.constant(1.5))
    return m.head(m.add("Sum", m.add("Max", least), m.weights(8, 1, 1), one), 8)


def _of_map(m: Onnx) -> str:
    """A fully convolutional head without a Flatten."""
    return m.conv(m.add("GlobalAveragePool", m.conv("pixels", 3, 8)), 8, 4, kernel=1)


def _of_one_map(m: Onnx) -> str:
    return str(m.add("Sigmoid", m.conv(m.add("GlobalAveragePool", m.conv("pixels", 3, 8)), 8, 1, kernel=1)))


def _resize_coordinates(m: Onnx) -> str:
    def resize(source: str, *scales: float, **how: str) -> str:
        return str(m.add("Resize", source, "", m.constant([1, 1, *scales]), **how))

    x = m.conv("pixels", 3, 8, kernel=4, strides=[4, 4])
    x = m.conv(resize(x, 2, 2, mode="linear", coordinate_transformation_mode="pytorch_half_pixel"), 8, 8)
    x = m.conv(resize(x, 2, 2, mode="nearest", coordinate_transformation_mode="asymmetric"), 8, 8, kernel=4)
    x = m.conv(resize(x, 3, 3, nearest_mode="round_prefer_ceil"), 8, 8, kernel=4)
    x = resize(x, 3, 3, coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    return m.head(m.conv(x, 8, 8, kernel=4), 8)


def _hard_swish(m: Onnx) -> str:
    x = m.conv("pixels", 3, 8)
    return m.head(m.add("Add", m.add("HardSwish", x), m.add("Mul", x, m.add("HardSigmoid", x, alpha=1 / 6))), 8)


def _hard_swish_written_out(m: Onnx) -> str:
    x = m.conv("pixels", 3, 8)
    gate = m.add("Clip", m.add("Add", x, m.constant(3)), m.constant(0), m.constant(6))
    return m.head(m.add("Div", m.add("Mul", x, gate), m.constant(6)), 8)


def _silu(m: Onnx) -> str:
    x = m.conv("pixels", 3, 8)
    return m.head(m.add("Mul", x, m.add("Sigmoid", x)), 8)


def _squeeze_excite(m: Onnx) -> str:
    x = m.add("Relu", m.conv("pixels", 3, 8))
    pooled = m.add("ReduceMean", x, axes=[2, 3], keepdims=1)
    gate = m.conv(m.add("Relu", m.conv(pooled, 8, 4, kernel=1)), 4, 8, kernel=1)
    return m.head(m.add("Mul", x, m.add("HardSigmoid", gate, alpha=0.2, beta=0.5)), 8)


def _squeeze_excite_dense(m: Onnx) -> str:
    x = m.add("Relu", m.conv("pixels", 3, 8))
    flat = m.add("Flatten", m.add("GlobalAveragePool", x))
    gate = m.add("Sigmoid", m.add("Gemm", flat, m.weights(8, 8), m.weights(8)))
    return m.head(m.add("Mul", x, m.add("Reshape", gate, m.constant([0, 8, 1, 1], np.int64))), 8)


def _gelu_written_out(m: Onnx) -> str:
    x = m.conv("pixels", 3, 8)
    erf = m.add("Add", m.add("Erf", m.add("Div", x, m.constant(np.sqrt(2)))), m.constant(1))
    y = m.add("Mul", m.add("Mul", x, erf), m.constant(0.5))
    z = m.conv(y, 8, 8, kernel=1)
    other = m.add("Add", m.add("Erf", m.add("Mul", z, m.constant(np.sqrt(0.5)))), m.constant(1))
    return m.head(m.add("Mul", m.add("Mul", z, m.constant(0.5)), other), 8)


def _layer_norm(m: Onnx) -> str:
    """ConvNeXt: channels last between transposes, a layer scale, a residual."""
    x = m.conv("pixels", 3, 8, kernel=4, strides=[4, 4])
    last = m.add("Transpose", x, perm=[0, 2, 3, 1])
    normed = m.add("LayerNormalization", last, m.weights(8), m.weights(8), axis=-1, epsilon=1e-6)
    wide = m.add("Relu", m.add("Add", m.add("MatMul", normed, m.weights(8, 16)), m.weights(16)))
    narrow = m.add("Add", m.add("MatMul", wide, m.weights(16, 8)), m.weights(8))
    back = m.add("Transpose", m.add("Mul", narrow, m.weights(8)), perm=[0, 3, 1, 2])
    return m.head(m.add("Add", x, back), 8)


def _channel_shuffle(m: Onnx) -> str:
    x = m.conv("pixels", 3, 12)
    grouped = m.add("Reshape", x, m.constant([0, 3, 4, 30, 30], np.int64))
    shuffled = m.add("Transpose", grouped, perm=[0, 2, 1, 3, 4])
    one, two = m.add("Split", m.add("Reshape", shuffled, m.constant([0, -1, 30, 30], np.int64)), axis=1, outputs=2)
    return m.head(m.add("Concat", m.conv(one, 6, 6, kernel=1), two, axis=1), 12)


def _slice(m: Onnx) -> str:
    x = m.conv("pixels", 3, 8)
    cut = m.add("Slice", x, *(m.constant([value], np.int64) for value in (2, 8, 1)))
    return m.head(m.add("Concat", cut, m.add("Slice", x, *(m.constant([v], np.int64) for v in (0, 2, 1))), axis=1), 8)


def _pools(m: Onnx) -> str:
    x = m.conv("pixels", 3, 8)  # may be negative: padding with zeros would be wrong
    x = m.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = m.add("AveragePool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    x = m.add(
        "AveragePool", m.add("Relu", x), kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1
    )
    return m.head(m.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), 8)


def _flatten_map(m: Onnx) -> str:
    """VGG: the rows of the dense layer are in the order of [C, H, W]."""
    x = m.add("MaxPool", m.conv("pixels", 3, 4, kernel=4, strides=[4, 4]), kernel_shape=[2, 2], strides=[2, 2])
    flat = m.add("Relu", m.add("Flatten", m.add("Dropout", x)))
    return str(m.add("Gemm", flat, m.weights(64, 4), m.weights(4)))


def _reshape_matmul(m: Onnx) -> str:
    x = m.conv("pixels", 3, 4, kernel=8, strides=[8, 8])
    flat = m.add("Reshape", x, m.constant([1, -1], np.int64))
    return str(m.add("Add", m.add("MatMul", flat, m.weights(64, 4)), m.weights(4)))


def _flat_features(m: Onnx) -> str:
    """A flattened map that no dense layer reads at once."""
    x = m.conv("pixels", 3, 4, kernel=8, strides=[8, 8])
    scaled = m.add("Mul", m.add("Flatten", x), m.weights(64))
    return str(m.add("Gemm", scaled, m.weights(64, 4), m.weights(4)))


def _normalized_input(m: Onnx) -> str:
    x = m.add("Sub", "pixels", m.constant(np.reshape([0.48, 0.45, 0.4], (1, 3, 1, 1))))
    return m.head(m.conv(m.add("Div", x, m.constant(np.reshape([0.2, 0.22, 0.25], (3, 1, 1)))), 3, 8), 8)


def _arithmetic(m: Onnx) -> str:
    x = m.conv("pixels", 3, 8)
    y = m.add("Sub", m.constant(1.5), m.add("Neg", m.add("Tanh", x)))
    root = m.add("Sqrt", m.add("Max", m.add("Pow", y, m.constant(2)), m.constant(0.25)))
    return m.head(m.add("Mul", m.add("Div", x, root), m.add("Sub", x, m.weights(8, 1, 1))), 8)


def _shared_convolution(m: Onnx) -> str:
    """A convolution with two readers: one of them scales it, and must not change what the other gets."""
    x = m.conv("pixels", 3, 8)
    return m.head(m.add("Add", x, m.add("Mul", m.add("Identity", x), m.weights(8, 1, 1))), 8)


def _pad_convolution(m: Onnx) -> str:
    x = m.add("Pad", m.conv("pixels", 3, 8), m.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    x = m.conv(x, 8, 8)
    return m.head(m.add("Pad", x, m.constant([0, 0, 2, 2, 0, 0, 2, 2], np.int64), mode="reflect"), 8)


def _as_strided(m: Onnx) -> str:
    """PyTorch's as_strided: all elements in their order, in another shape."""
    x = m.add("GlobalAveragePool", m.conv("pixels", 3, 8))
    flat = m.add("Reshape", x, m.constant([-1], np.int64))
    x = m.add("Gather", flat, m.constant(np.arange(8).reshape(1, 8, 1, 1), np.int64))
    normed = m.add("LayerNormalization", m.add("Transpose", x, perm=[0, 2, 3, 1]), m.weights(8), axis=-1)
    return m.head(m.add("Transpose", normed, perm=[0, 3, 1, 2]), 8)


def _resize(m: Onnx) -> str:
    x = m.conv("pixels", 3, 8, strides=[2, 2])
    x = m.add("Resize", x, "", m.constant([1, 1, 2, 2]), mode="nearest", coordinate_transformation_mode="asymmetric")
    return m.head(x, 8)


def _dynamic_shape(m: Onnx) -> str:
    """PyTorch's view(x.size(0), -1): the shape is computed in the graph."""
    x = m.add("GlobalAveragePool", m.conv("pixels", 3, 8))
    batch = m.add("Gather", m.add("Shape", x), m.constant(0, np.int64), axis=0)
    parts = (m.add("Unsqueeze", batch, m.constant([0], np.int64)), m.constant([-1], np.int64))
    return str(m.add("Gemm", m.add("Reshape", x, m.add("Concat", *parts, axis=0)), m.weights(8, 4), m.weights(4)))


def _softmax(m: Onnx) -> str:
    return str(m.add("Softmax", m.head(m.conv("pixels", 3, 8), 8), axis=1))


def _log_softmax(m: Onnx) -> str:
    return str(m.add("LogSoftmax", m.head(m.conv("pixels", 3, 8), 8), axis=-1))


def _sigmoids(m: Onnx) -> str:
    return str(m.add("Sigmoid", m.head(m.conv("pixels", 3, 8), 8)))


def _one_logit(m: Onnx) -> str:
    return m.head(m.conv("pixels", 3, 8), 8, classes=1)


def _convolutional_head(m: Onnx) -> str:
    """SqueezeNet: a convolution to the classes, and a pool as the last operator."""
    x = m.add("Relu", m.conv("pixels", 3, 4))
    return str(m.add("Squeeze", m.add("ReduceMean", x, axes=[2, 3]), m.constant([2, 3], np.int64)))


# The end that each must be recognized as having.
PATTERNS: dict[Build, str] = {
    **dict.fromkeys(
        (
            _conv_same, _conv_stride, _conv_auto_pad, _conv_asymmetric, _grouped, _depthwise, _batch_norm, _hard_swish,
            _hard_swish_written_out, _silu, _squeeze_excite, _squeeze_excite_dense, _gelu_written_out, _layer_norm,
            _channel_shuffle, _slice, _pools, _flatten_map, _reshape_matmul, _flat_features, _normalized_input,
            _arithmetic, _shared_convolution, _pad_convolution, _as_strided, _resize, _dynamic_shape,
            _convolutional_head, _pad_same, _of_three, _of_map, _resize_coordinates,
        ),
        "logits",
    ),
    _softmax: "softmax",
    _log_softmax: "log-softmax",
    _sigmoids: "sigmoids",
    _one_logit: "one logit",
    _of_one_map: "one sigmoid",
}  # fmt: skip


@pytest.mark.parametrize("build", PATTERNS, ids=lambda build: build.__name__[1:])
def test_a_pattern_equals_onnx_runtime(build: Build) -> None:
    model = Onnx()
    made = foreign.import_onnx(model.model(build(model)))
    assert made.ends_in == PATTERNS[build]
    assert not [kind for kind in foreign.kinds(made.model) if kind in ("Lambda", "Transpose")]
    fold_batch_norm(made.model)  # what int8 begins with takes it


@pytest.mark.parametrize("end", ["Softmax", "Sigmoid"])
@pytest.mark.parametrize(
    "after",
    [
        lambda m, x: m.add("Flatten", x),
        lambda m, x: m.add("Reshape", x, m.constant([1, -1], np.int64)),
        lambda m, x: m.add("Squeeze", m.add("Unsqueeze", x, m.constant([2], np.int64)), m.constant([2], np.int64)),
        lambda m, x: m.add("Identity", x),
        lambda m, x: m.add("Unsqueeze", x, m.constant([2, 3], np.int64)),
        lambda m, x: m.add("Transpose", m.add("Unsqueeze", x, m.constant([2], np.int64)), perm=[0, 2, 1]),
    ],
    ids=["flatten", "reshape", "squeeze", "identity", "map", "transpose"],
)
def test_what_changes_no_values_does_not_hide_the_end(end: str, after: Callable[[Onnx, str], str]) -> None:
    model = Onnx()
    made = foreign.import_onnx(model.model(after(model, model.add(end, model.head(model.conv("pixels", 3, 8), 8)))))
    assert made.ends_in == {"Softmax": "softmax", "Sigmoid": "sigmoids"}[end]


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 20, 23])
def test_opsets(opset: int) -> None:
    model = Onnx(opset=opset, batch="batch")
    x = model.conv("pixels", 3, 8)
    if opset < 11:
        x = model.add("Clip", x, min=0.0, max=6.0)
        x = model.add("Squeeze", model.add("Unsqueeze", x, axes=[2]), axes=[2])
    else:
        x = model.add("Clip", x, "", model.constant(6))
    x = model.add("Gelu", x) if opset >= 20 else x
    axes = {"axes": [2, 3]} if opset < 18 else {}
    inputs = [x, model.constant([2, 3], np.int64)] if opset >= 18 else [x]
    flat = model.add("ReduceMean", *inputs, keepdims=0, **axes)
    made = foreign.import_onnx(model.model(model.add("Gemm", flat, model.weights(8, 4), model.weights(4))))
    assert made.model.output.shape == (None, 4)


def test_channels_last_needs_no_transposes() -> None:
    model = Onnx(layout="nhwc")
    x = model.add("Transpose", "pixels", perm=[0, 3, 1, 2])
    x = model.add("Transpose", model.add("Relu", model.conv(x, 3, 8)), perm=[0, 2, 3, 1])
    flat = model.add("ReduceMean", x, axes=[1, 2], keepdims=0)
    made = foreign.import_onnx(model.model(model.add("MatMul", flat, model.weights(8, 4, scale=2))))
    assert foreign.kinds(made.model) == ["Conv2D", "ReLU", "GlobalAveragePooling2D"]


def test_padding_is_merged_where_same_means_the_same() -> None:
    model = Onnx()
    x = model.conv("pixels", 3, 8, pads=[1, 1, 1, 1])
    # PyTorch pads both sides of an even size; SAME only the end.
    x = model.conv(x, 8, 8, pads=[1, 1, 1, 1], strides=[2, 2])
    made = foreign.import_onnx(model.model(model.head(x, 8)))
    first, second = [layer for layer in made.model.layers if foreign.plain.kind(layer) == "Conv2D"]
    assert (first.padding, second.padding) == ("same", "valid")
    assert foreign.kinds(made.model).count("ZeroPadding2D") == 1


def test_layers_keep_their_names() -> None:
    model = Onnx()
    made = foreign.import_onnx(model.model(_conv_same(model)))
    names = [layer.name for layer in made.model.layers]
    # A number at the end is what converters add to names that occur twice.
    assert names[:3] == ["pixels", "scale", "part.Conv.0"]
    assert names[-2:] == ["logits", "probabilities"]
    assert "pool" in names


def test_an_unknown_operator_is_refused_by_name_and_place() -> None:
    model = Onnx()
    x = model.add("LRN", model.conv("pixels", 3, 8), size=3)
    with pytest.raises(InputError, match=r"LRN '/part/LRN_1' is an unknown operator") as refused:
        foreign.import_onnx(model.model(model.head(x, 8)))
    assert refused.value.why == f"known are {', '.join(KNOWN)}"


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda m: m.head(m.add("Slice", m.conv("pixels", 3, 8), *(m.constant([v], int) for v in (0, 30, 2, 2))), 8),
         "takes every 2th element"),
        (lambda m: m.head(m.add("Pow", m.conv("pixels", 3, 8), m.constant(3)), 8), "exponent is 3"),
        (lambda m: m.head(m.conv("pixels", 3, 8, dilations=[2, 2], strides=[2, 2]), 8), "strides and dilations"),
        (lambda m: m.head(m.add("AveragePool", m.conv("pixels", 3, 8), kernel_shape=[3, 3], pads=[1, 0, 0, 0]), 8),
         "does not count what it pads"),
        *((lambda m, how=how: m.head(m.add("Resize", m.conv("pixels", 3, 8), "", m.constant([1, 1, 3, 3]), **how), 8),
           f"it is {shown}") for how, shown in (
            ({"nearest_mode": "ceil"}, "nearest with half_pixel and ceil"),
            ({"nearest_mode": "floor"}, "nearest with half_pixel and floor"),
            ({"coordinate_transformation_mode": "asymmetric"}, "nearest with asymmetric and round_prefer_floor"),
            ({"coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"}, "nearest with asymmetric and"),
            ({"coordinate_transformation_mode": "asymmetric", "mode": "linear"}, "linear with asymmetric"),
            ({"coordinate_transformation_mode": "align_corners", "mode": "linear"}, "linear with align_corners"),
            ({"mode": "cubic"}, "cubic with half_pixel"),
        )),
    ],
    ids=["slice", "pow", "conv", "pool", *(f"resize-{number}" for number in range(7))],
)  # fmt: skip
def test_a_form_that_tflite_has_not_is_refused_by_place(build: Build, why: str) -> None:
    model = Onnx()
    with pytest.raises(InputError, match=r"theirs\.onnx: \w+ '/part/\w+' cannot be imported") as refused:
        foreign.import_onnx(model.model(build(model)))
    assert why in refused.value.why


def test_dilations_of_a_pool_are_refused() -> None:
    model = Onnx(opset=19)
    x = model.add("AveragePool", model.conv("pixels", 3, 8), kernel_shape=[2, 2], dilations=[2, 2])
    with pytest.raises(InputError, match="cannot be imported") as refused:
        foreign.import_onnx(model.model(model.head(x, 8)))
    assert refused.value.why == "it has dilations"


@pytest.mark.parametrize(("operator", "mode"), [("Resize", "nearest"), ("Upsample", "nearest"), ("Resize", "linear")])
def test_resizing_without_coordinates_is_asymmetric(operator: str, mode: str) -> None:
    model = Onnx(opset=10 if operator == "Resize" else 9)
    x = model.add(operator, model.conv("pixels", 3, 8), model.constant([1, 1, 3, 3]), mode=mode)
    whole = model.model(model.head(model.conv(x, 8, 8, kernel=4), 8))
    if mode == "nearest":
        foreign.import_onnx(whole)
        return
    with pytest.raises(InputError, match="cannot be imported") as refused:
        foreign.import_onnx(whole)
    assert refused.value.why == "it is linear with asymmetric"


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("opset", [11, 13])
def test_softmax_before_opset_13_is_over_all_later_axes(operator: str, opset: int) -> None:
    model = Onnx(opset=opset)
    # Over 8 x 2 x 2 values, and over the last axis, 2.
    x = model.conv("pixels", 3, 8, kernel=17, strides=[15, 15])
    soft = model.add(operator, x)
    last = model.add(operator, x, axis=3)
    third = model.add(operator, x, axis=2)
    joined = model.add("Concat", soft, last, third, axis=1)
    if operator == "LogSoftmax":
        joined = model.add("Mul", joined, model.constant(0.05))
    made = foreign.import_onnx(model.model(model.head(model.conv(joined, 24, 8, kernel=2), 8)))
    assert made.ends_in == "logits"
    # At the end, of [1, 4, 1, 1]: the default axis is the classes, or the last one, of length 1.
    end = Onnx(opset=opset)
    scores = end.conv(end.add("GlobalAveragePool", end.conv("pixels", 3, 8)), 8, 4, kernel=1)
    made = foreign.import_onnx(end.model(end.add(operator, scores, **({} if opset < 13 else {"axis": 1}))))
    assert made.ends_in == {"Softmax": "softmax", "LogSoftmax": "log-softmax"}[operator]


def _constant_part(model: Onnx, make: Callable[[Onnx], str]) -> onnx.ModelProto:
    scores = model.head(model.conv("pixels", 3, 8), 8)
    return model.model(model.add("Add", scores, model.add("ReduceMax", make(model), keepdims=0)))


@pytest.mark.parametrize(
    "make",
    [
        lambda m: m.add("Expand", m.constant([1.0]), m.constant([40000, 40000], np.int64)),
        lambda m: m.add("ConstantOfShape", m.constant([40000, 40000], np.int64)),
        lambda m: m.add("Tile", m.constant([[1.0]]), m.constant([40000, 40000], np.int64)),
        lambda m: m.add("Add", m.constant(np.ones((40000, 1))), m.constant(np.ones((1, 40000)))),
    ],
    ids=["expand", "constant-of-shape", "tile", "broadcast"],
)
def test_a_small_file_cannot_make_large_constants(make: Callable[[Onnx], str]) -> None:
    model = _constant_part(Onnx(), make)
    with pytest.raises(Refusal, match="has 1,600,000,000 values for one photo"):
        foreign.scan_onnx(model)
    # Nor in this process, whatever the scan let through.
    node = next(one for one in model.graph.node if one.op_type in ("Expand", "ConstantOfShape", "Tile", "Add"))
    graph = Graph(Counter(), [], 17)
    for tensor in model.graph.initializer:
        graph.values[tensor.name] = onnx.numpy_helper.to_array(tensor)
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match="its constants take over 256 MB"):
            computed(graph, node)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_many_constants_are_bounded_together() -> None:
    graph = Graph(Counter(), [], 17)
    graph.values |= {"one": np.ones(1, np.float32), "shape": np.array([1 << 24], np.int64)}
    node = onnx.helper.make_node("Expand", ["one", "shape"], ["large"])
    for _ in range(4):  # of 64 MB
        (made,) = computed(graph, node) or []
        assert np.asarray(made).nbytes == 1 << 26
    with pytest.raises(Refused, match="its constants take over 256 MB"):
        computed(graph, node)


def test_a_feature_map_that_is_too_large_is_refused() -> None:
    model = Onnx()
    x = model.add("Resize", "pixels", "", model.constant([1, 1, 1000, 1000]))
    with pytest.raises(Refusal, match="has 3,072,000,000 values for one photo"):
        foreign.scan_onnx(model.model(model.head(x, 3)))


def test_a_model_that_does_not_look_at_the_photo_is_refused() -> None:
    model = Onnx()
    zero = model.add("Mul", model.add("Shape", "pixels"), model.constant(0, np.int64))
    scores = model.add("Reshape", model.add("Cast", zero, to=onnx.TensorProto.FLOAT), model.constant([1, 4], np.int64))
    with pytest.raises((InputError, ValueError), match=r"does not depend on the photo|cannot run"):
        foreign.import_onnx(model.model(scores))
