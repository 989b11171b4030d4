"""Requantize FULLY_CONNECTED weights from one scale per output to one per tensor, for the Edge TPU compiler.

Since 2024 TensorFlow's converter gives the weights of dense layers one scale per output. Older kernels may then return
wrong results without an error (tensorflow/tflite-micro 2602), and the compiler, 16.0, is from 2021.

For CPUs one scale per output is more accurate. To convert a new model, use the converter's own option
(``quantization.conversion``), which rounds the float weights once. This module rounds int8 weights a second time, which
adds about 2 dB of noise unless repair has already rounded them to the common step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl.inspection.tflite.file import describe
from edgetl.inspection.tflite.tree import constant, pack_tree, read_tree

_LARGEST = 127


def per_tensor_dense(model: bytes) -> bytes:
    """Return a TFLite file whose FULLY_CONNECTED operators have one weight scale; unchanged if all have one already.

    The common scale is the largest one: weights w with scale s become round(w * s / S). The bias keeps its real values
    on the new grid, input scale * S (TFLite 8-bit quantization specification). Data behind the flatbuffer, such as
    labels, is dropped from a changed file.

    Raises:
        InputError: The file is not TFLite, or is damaged.
    """
    described = describe(model)
    dense = [
        operator
        for operator in described.operators
        if operator.name == "FULLY_CONNECTED" and len(described.tensors[operator.inputs[1]].scales) > 1
    ]
    if not dense:
        return model
    tree = read_tree(model)
    for operator in dense:
        weights = described.tensors[operator.inputs[1]]
        stored = constant(tree, operator.inputs[1], weights)
        if stored is None:
            continue
        ratios = np.array(weights.scales) / max(weights.scales)
        rounded = np.rint(stored * ratios[:, np.newaxis]).clip(-_LARGEST, _LARGEST).astype(stored.dtype)
        _store(tree, operator.inputs[1], rounded, max(weights.scales))
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            bias = constant(tree, operator.inputs[2], described.tensors[operator.inputs[2]])
            input_scale = described.tensors[operator.inputs[0]].scales[0]
            if bias is not None:
                moved = np.rint(bias * ratios).astype(bias.dtype)
                _store(tree, operator.inputs[2], moved, input_scale * max(weights.scales))
    return pack_tree(tree)


def _store(tree: Any, index: int, values: npt.NDArray[Any], scale: float) -> None:
    tensor = tree.subgraphs[0].tensors[index]
    tree.buffers[tensor.buffer].data = values.tobytes()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [float(scale)], [0]
    tensor.quantization.quantizedDimension = 0
