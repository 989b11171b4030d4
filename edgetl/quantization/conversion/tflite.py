"""int8 TFLite by TensorFlow's converter: raw uint8 pixels in, uint8 probabilities out, integer operations only.

On request some layers stay float.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgetl._lib import extras
from edgetl._lib.interrupts import uninterrupted
from edgetl._lib.quiet import quietly
from edgetl.export.conversion import converted
from edgetl.inspection.tflite.file import Tensor, TFLiteModel, describe
from edgetl.inspection.tflite.tree import pack_tree, read_tree
from edgetl.quantization.preparation.bias_correction import check_pixels
from edgetl.quantization.preparation.clip_ranges import Range
from edgetl.quantization.preparation.graph import Keras
from edgetl_device.errors import InputError

# The dimension of the output channels, by the TFLite 8-bit quantization specification.
_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}


def int8_tflite(
    model: Keras,
    pixels: npt.NDArray[np.uint8],
    *,
    dtype: Literal["uint8", "int8"] = "uint8",
    per_tensor_dense: bool = False,
    keep_float: Collection[str] = (),
    ranges: Mapping[str, Range] | None = None,
) -> bytes:
    """Return ``model`` as int8 TFLite, opened and checked by :func:`check_integer_only`.

    The input is uint8 [1, H, W, C] with scale 1 and zero point 0, so that the pixels of a photo are the tensor; the
    output is uint8 [1, classes] with scale 1/256. Weights are symmetric int8, one scale per output channel.

    Args:
        model: A flat functional model that takes raw RGB 0..255.
        pixels: Calibration photos, uint8 [n, H, W, C]. Their minimum and maximum set the range of each
            activation.
        dtype: Type of input and output. ``int8``, for microcontroller kernels, has the same scales and zero point -128.
        per_tensor_dense: One scale for all weights of a Dense layer, for hardware without per-channel Dense. Finished
            files get it from :func:`edgetl.inspection.edgetpu.dense.per_tensor_dense`, which rounds a second time.
        keep_float: Names of layers that stay float32, between DEQUANTIZE and QUANTIZE.
        ranges: Fixed range (min, max) of some layers' outputs, instead of the calibrated one.

    Raises:
        InputError: The photos do not fit the model, a part of it cannot be quantized, or a named layer is missing.
    """
    check_pixels(model, pixels)

    def configure(converter: Any) -> None:
        tf = extras.tensorflow()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([photo] for photo in calibration_inputs(pixels))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        # The converter has no options for float layers and ranges, so both are applied below.
        converter._experimental_calibrate_only = True

    calibrated = _with_ranges(converted(model, configure), ranges or {})
    data = _quantized(calibrated, dtype=dtype, per_tensor_dense=per_tensor_dense, keep_float=keep_float)
    check_integer_only(describe(data), dtype=dtype, keep_float=keep_float)
    return data


def of_layer(name: str, layers: Collection[str]) -> bool:
    """Return whether a converted tensor or node, by its name, belongs to one of these Keras layers.

    Names are paths such as ``mobilenet_v2_1/block_1_expand_1/BiasAdd``, whose trailing numbers are counters; fused
    operations join several with semicolons.
    """
    parts = {re.sub(r"_\d+$", "", part) for part in re.split("[/;]", name)} | set(re.split("[/;]", name))
    return not parts.isdisjoint(layers)


def _with_ranges(calibrated: bytes, ranges: Mapping[str, Range]) -> bytes:
    """Override the calibrated ranges of some layers' outputs."""
    if not ranges:
        return calibrated
    tree, left = read_tree(calibrated), set(ranges)
    for tensor in tree.subgraphs[0].tensors:
        if tensor.quantization is None or tensor.quantization.min is None:
            continue
        for layer in (layer for layer in ranges if of_layer(tensor.name.decode(), (layer,))):
            tensor.quantization.min, tensor.quantization.max = ([end] for end in ranges[layer])
            left.discard(layer)
    if left:
        raise missing_layer(min(left), "be given a range")
    return pack_tree(tree)


def missing_layer(layer: str, what: str) -> InputError:
    """Return the error for a layer that the converted model lacks or has under another name."""
    return InputError(f"layer {layer!r}: cannot {what}", why="the converted model has no such layer")


@uninterrupted()
def _quantized(calibrated: bytes, *, dtype: str, per_tensor_dense: bool, keep_float: Collection[str]) -> bytes:
    """Quantize a calibrated model except for some layers, the way TensorFlow's QuantizationDebugger does."""
    convert, tf = extras.require("tensorflow.lite.python.convert"), extras.tensorflow()
    operators = describe(calibrated)
    outputs = {operators.tensors[operator.outputs[0]].name for operator in operators.operators}
    kept = sorted(name for name in outputs if of_layer(name, keep_float))
    missing = [layer for layer in keep_float if not any(of_layer(name, (layer,)) for name in kept)]
    if missing:
        raise missing_layer(missing[0], "be kept in float")
    with quietly():
        data: bytes = convert.mlir_quantize(
            calibrated,
            input_data_type=getattr(tf, dtype),
            output_data_type=getattr(tf, dtype),
            disable_per_channel_for_dense_layers=per_tensor_dense,
            denylisted_nodes=kept,
        )
    return data


def calibration_inputs(pixels: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.float32]]:
    """Yield each photo as float32 [1, H, W, C], with 0 and 255 in two opposite corner pixels.

    The corners make the input range exactly 0..255 whatever the photos show, so that its scale is 1.
    """
    for photo in pixels:
        batch = photo[None].astype(np.float32)
        batch[0, 0, 0], batch[0, -1, -1] = 0, 255
        yield batch


def check_integer_only(model: TFLiteModel, *, dtype: str = "uint8", keep_float: Collection[str] = ()) -> None:
    """Check that a TFLite file has the properties that :func:`int8_tflite` guarantees.

    Raises:
        InputError: An activation is not int8 or uint8 and no layer of ``keep_float`` reads or writes it, a constant is
            not int8 or int32, a convolution has one scale for all channels, or the input does not have ``dtype``, scale
            1 and the lowest value as zero point. The tensor is named.
    """
    for operator in model.operators:
        if operator.custom:
            raise _refusal(f"has the custom operator {operator.name}")
        forms = operator.name == "DEQUANTIZE" or of_layer(model.tensors[operator.outputs[0]].name, keep_float)
        if keep_float and (forms or operator.name == "QUANTIZE"):
            continue
        for index in (*operator.inputs, *operator.outputs):
            if index < 0:
                continue
            tensor = model.tensors[index]
            allowed = ("int8", "int32") if tensor.constant else ("int8", "uint8")
            if tensor.dtype not in allowed:
                raise _refusal(f"{operator.name} reads or writes {tensor.name!r}, which is {tensor.dtype}")
        if operator.name in _CHANNEL_AXIS:
            _check_per_channel(model.tensors[operator.inputs[1]], _CHANNEL_AXIS[operator.name])
    zero_point = np.iinfo(dtype).min
    inputs, outputs = ([model.tensors[index] for index in side] for side in (model.inputs, model.outputs))
    if [(tensor.dtype, tensor.scales, tensor.zero_points) for tensor in inputs] != [(dtype, (1.0,), (zero_point,))]:
        found = ", ".join(f"{tensor.dtype} scale {tensor.scales} zero point {tensor.zero_points}" for tensor in inputs)
        raise _refusal(f"its input is {found}, not {dtype} with scale 1 and zero point {zero_point}")
    if [tensor.dtype for tensor in outputs] != [dtype]:
        raise _refusal(f"its output is {', '.join(tensor.dtype for tensor in outputs)}, not {dtype}")


def _check_per_channel(weights: Tensor, axis: int) -> None:
    channels = weights.shape[axis]
    if len(weights.scales) != channels or (channels > 1 and weights.axis != axis):
        raise _refusal(f"weights {weights.name!r} have {len(weights.scales)} scales for {channels} channels")


def _refusal(what: str) -> InputError:
    return InputError(f"the int8 TFLite file is not integer-only: {what}", hint="Use the float32 or float16 variant.")
