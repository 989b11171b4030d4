"""int8 TFLite by TensorFlow's converter: raw uint8 pixels in, uint8 probabilities out, integer operations only.

Not for: repairing accuracy; give it a folded and corrected model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl import extras
from edgetl.export import converted
from edgetl.quantize.correct import check_pixels
from edgetl.quantize.graph import Keras
from edgetl.tflite_file import Tensor, TFLiteModel, describe
from edgetl_device.errors import InputError

# The dimension of the output channels, by the TFLite 8-bit quantization specification.
_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}


def int8_tflite(model: Keras, pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return ``model`` as int8 TFLite, opened and checked by :func:`check_integer_only`.

    The input is uint8 [1, S, S, 3] with scale 1 and zero point 0, so that the pixels of a photo are the tensor; the
    output is uint8 [1, classes] with scale 1/256. Weights are symmetric int8, one scale per output channel.

    Args:
        model: A flat functional model that takes raw RGB 0..255.
        pixels: Calibration photos, uint8 [n, S, S, 3]. They set the range of each activation by minimum and maximum.

    Raises:
        InputError: The photos do not fit the model, or some part of it has no integer form.
    """
    check_pixels(model, pixels)

    def configure(converter: Any) -> None:
        tf = extras.tensorflow()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([photo] for photo in calibration_inputs(pixels))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8

    data = converted(model, configure)
    check_integer_only(describe(data))
    return data


def calibration_inputs(pixels: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.float32]]:
    """Yield each photo as float32 [1, S, S, 3], with 0 and 255 in two opposite corner pixels.

    The corners make the input range exactly 0..255 whatever the photos show, so that its scale is 1.
    """
    for photo in pixels:
        batch = photo[None].astype(np.float32)
        batch[0, 0, 0], batch[0, -1, -1] = 0, 255
        yield batch


def check_integer_only(model: TFLiteModel) -> None:
    """Check that a TFLite file is what :func:`int8_tflite` promises.

    Raises:
        InputError: An activation is not int8 or uint8, a constant is not int8 or int32, a convolution has one scale
            for all channels, or the input is not uint8 with scale 1 and zero point 0. The tensor is named.
    """
    for operator in model.operators:
        if operator.custom:
            raise _refusal(f"has the custom operator {operator.name}")
        for index in (*operator.inputs, *operator.outputs):
            if index < 0:
                continue
            tensor = model.tensors[index]
            allowed = ("int8", "int32") if tensor.constant else ("int8", "uint8")
            if tensor.dtype not in allowed:
                raise _refusal(f"{operator.name} touches {tensor.name!r}, which is {tensor.dtype}")
        if operator.name in _CHANNEL_AXIS:
            _check_per_channel(model.tensors[operator.inputs[1]], _CHANNEL_AXIS[operator.name])
    inputs, outputs = ([model.tensors[index] for index in side] for side in (model.inputs, model.outputs))
    if [(tensor.dtype, tensor.scales, tensor.zero_points) for tensor in inputs] != [("uint8", (1.0,), (0,))]:
        found = ", ".join(f"{tensor.dtype} scale {tensor.scales} zero point {tensor.zero_points}" for tensor in inputs)
        raise _refusal(f"its input is {found}, not uint8 with scale 1 and zero point 0")
    if [tensor.dtype for tensor in outputs] != ["uint8"]:
        raise _refusal(f"its output is {', '.join(tensor.dtype for tensor in outputs)}, not uint8")


def _check_per_channel(weights: Tensor, axis: int) -> None:
    channels = weights.shape[axis]
    if len(weights.scales) != channels or (channels > 1 and weights.axis != axis):
        raise _refusal(f"weights {weights.name!r} have {len(weights.scales)} scales for {channels} channels")


def _refusal(what: str) -> InputError:
    return InputError(f"the int8 TFLite file is not integer only: {what}", hint="Use the float32 or float16 variant.")
