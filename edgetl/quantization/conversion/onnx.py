"""int8 ONNX by ONNX Runtime's static quantization (QDQ): raw uint8 pixels in, float32 probabilities out.

Activations are uint8, weights int8 with one scale per output channel. QuantizeLinear and DequantizeLinear pairs mark
the operations as quantized; the runtime fuses them into integer kernels. On x86 without VNNI those saturate, unless the
session option ``session.x64quantprecision`` is 1, as :mod:`edgetl_device.runtime.onnx` sets it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib import extras
from edgetl._lib.quiet import quietly
from edgetl.export.conversion import INPUT_NAME, Layout, float32_onnx
from edgetl.quantization.conversion.tflite import calibration_inputs, missing_layer, of_layer
from edgetl.quantization.preparation.bias_correction import check_pixels
from edgetl.quantization.preparation.clip_ranges import Range
from edgetl.quantization.preparation.graph import Keras
from edgetl_device._lib.files import naming
from edgetl_device.errors import InputError

_WEIGHTED = ("Conv", "MatMul", "Gemm")
# Operators that write into a linear stream.
_SUMMING = ("Conv", "Add")


def int8_onnx(
    model: Keras,
    pixels: npt.NDArray[np.uint8],
    *,
    layout: Layout = "nhwc",
    ranges: Mapping[str, Range] | None = None,
) -> bytes:
    """Return ``model`` as int8 ONNX, opset 17, opened and checked by :func:`check_quantized`.

    The input ``pixels`` is uint8 [1, H, W, C]: its QuantizeLinear has scale 1 and zero point 0 and is removed. The
    output ``probabilities`` is float32 [1, classes].

    Args:
        model: A flat functional model that takes raw RGB 0..255.
        pixels: Calibration photos, uint8 [n, H, W, C]. Their minimum and maximum set the range of each
            activation.
        layout: ``nchw`` makes the input [1, C, H, W].
        ranges: Fixed range (min, max) of some layers' outputs, instead of the calibrated one.

    Raises:
        InputError: The photos do not fit the model, a part of it cannot be quantized, or a named layer is missing.
    """
    check_pixels(model, pixels)
    onnx = extras.require("onnx")
    quantization = extras.require("onnxruntime.quantization")
    proto = onnx.load_from_string(float32_onnx(model, layout=layout))
    photos = calibration_inputs(pixels)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, Any] | None:
            batch = next(photos, None)
            if batch is None:
                return None
            return {INPUT_NAME: batch if layout == "nhwc" else batch.transpose(0, 3, 1, 2)}

    with tempfile.TemporaryDirectory(prefix="edgetl-") as folder, naming(folder), quietly():
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            proto,
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={"TensorQuantOverrides": _overrides(proto, ranges or {})},
        )
        quantized = onnx.load(path)
    _take_raw_pixels(quantized)
    onnx.checker.check_model(quantized, full_check=True)
    check_quantized(quantized)
    data: bytes = quantized.SerializeToString(deterministic=True)
    return data


def _overrides(proto: Any, ranges: Mapping[str, Range]) -> dict[str, list[dict[str, Any]]]:
    """Return the ONNX Runtime option that overrides the calibrated output ranges of some layers."""
    found: dict[str, list[dict[str, Any]]] = {}
    outputs = [name for node in proto.graph.node if node.op_type in _SUMMING for name in node.output]
    for layer, (low, high) in ranges.items():
        names = [name for name in outputs if of_layer(name.removesuffix(":0"), (layer,))]
        if not names:
            raise missing_layer(layer, "be given a range")
        found |= {name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name in names}
    return found


def check_quantized(proto: Any) -> None:
    """Check that every Conv, MatMul and Gemm of a QDQ graph reads quantized activations and per-channel int8 weights.

    Raises:
        InputError: One of them reads floats, or the graph's input is not uint8. The node is named.
    """
    onnx = extras.require("onnx")
    makers = {output: node for node in proto.graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    if proto.graph.input[0].type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        raise _refusal("its input is not uint8")
    for node in proto.graph.node:
        if node.op_type not in _WEIGHTED:
            continue
        for name in node.input[:2]:
            if name not in makers or makers[name].op_type != "DequantizeLinear":
                raise _refusal(f"{node.op_type} {node.name!r} reads {name!r} in float")
        values, scale = makers[node.input[1]].input[:2]
        if constants[values].data_type != onnx.TensorProto.INT8:
            raise _refusal(f"{node.op_type} {node.name!r} has weights that are not int8")
        if not constants[scale].dims:
            raise _refusal(f"{node.op_type} {node.name!r} has one scale for all channels")


def _take_raw_pixels(proto: Any) -> None:
    """Make the graph's input uint8 by removing its QuantizeLinear, which may follow a Transpose."""
    onnx = extras.require("onnx")
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    pixels = INPUT_NAME
    readers = [node for node in proto.graph.node if pixels in node.input]
    if [node.op_type for node in readers] == ["Transpose"]:
        # If the first layer is a convolution. A Transpose works on uint8 as well.
        pixels = readers[0].output[0]
        readers = [node for node in proto.graph.node if pixels in node.input]
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear":
        raise _refusal(f"its input goes to {', '.join(node.op_type for node in readers)}")
    quantize = readers[0]
    scale, zero_point = (constants[name] for name in quantize.input[1:3])
    if scale != 1 or zero_point != 0 or zero_point.dtype != np.uint8:
        raise _refusal(f"its input has scale {scale} and zero point {zero_point}, not 1 and 0")
    for node in proto.graph.node:
        for index, name in enumerate(node.input):
            if name == quantize.output[0]:
                node.input[index] = pixels
    proto.graph.node.remove(quantize)
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    del proto.graph.value_info[:]


def _refusal(what: str) -> InputError:
    return InputError(f"the int8 ONNX graph is not fully quantized: {what}", hint="Use the float32-onnx variant.")
