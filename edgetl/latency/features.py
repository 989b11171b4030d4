"""What decides the time of an operator: multiply-adds in whole tiles, and bytes that are read and written.

Kernels compute whole tiles of channels, so 17 channels take as long as 32 where a tile has 16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgetl.inspection.tflite.file import Operator, Tensor, TFLiteModel
from edgetl_device.errors import InputError

MATMUL, CONVOLUTION, DEPTHWISE = "matmul", "convolution", "depthwise"
# Channels in a tile of XNNPACK's integer kernels on processors with 512-bit or 128-bit vectors.
_TILE_OUT, _TILE_IN = 16, 8
_MULTIPLYING = {
    "CONV_2D": MATMUL,
    "FULLY_CONNECTED": MATMUL,
    "DEPTHWISE_CONV_2D": DEPTHWISE,
}
# They move no data, or are folded into others.
_FREE = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SHAPE", "PACK", "STRIDED_SLICE"}
_INT8 = {"int8", "uint8"}


@dataclass(frozen=True)
class Work:
    """One operator of a file.

    Attributes:
        kind: Operators of one kind are predicted by one formula.
        names: Names of its features.
        values: Their values: millions of multiply-adds, millions of bytes, or 1.
    """

    kind: str
    names: tuple[str, ...]
    values: tuple[float, ...]


def work_of(model: TFLiteModel, *, shown: str) -> list[Work]:
    """Return the work of each operator, in the order of the file; without those that take no time.

    Raises:
        InputError: The model is not integer only, or an operator has a tensor of unknown size.
    """
    found = []
    for operator in model.operators:
        if operator.name in _FREE:
            continue
        inputs = [model.tensors[index] for index in operator.inputs if index >= 0]
        output = model.tensors[operator.outputs[0]]
        activations = [one for one in inputs if not one.constant]
        if operator.name in _MULTIPLYING and output.dtype not in _INT8:
            raise InputError(
                f"{shown}: {operator.name} computes in {output.dtype}",
                why="latency is predicted for int8 files only",
                hint="Give an int8 file, or measure this one with edgetl bench.",
            )
        found.append(_work(operator, inputs, activations, output, shown))
    return found


def _work(
    operator: Operator, inputs: Sequence[Tensor], activations: Sequence[Tensor], output: Tensor, shown: str
) -> Work:
    read = sum(_elements(one, shown) for one in activations) / 1e6
    written = _elements(output, shown) / 1e6
    if operator.name not in _MULTIPLYING:
        return Work(operator.name, ("bytes", "call"), (read + written, 1.0))
    weights = inputs[1].shape
    stored = math.prod(weights) / 1e6
    channels = output.shape[-1]
    pixels = _elements(output, shown) / channels
    if operator.name == "DEPTHWISE_CONV_2D":
        kernel = weights[1] * weights[2]
        macs = pixels * _whole(channels, _TILE_OUT) * kernel / 1e6
        kind = f"{DEPTHWISE} {weights[1]}x{weights[2]}"
        return Work(kind, ("multiply-adds", "read", "written", "call"), (macs, read, written, 1.0))
    taps = math.prod(weights[1:-1]) if len(weights) == 4 else 1
    macs = pixels * _whole(channels, _TILE_OUT) * _whole(weights[-1], _TILE_IN) * taps / 1e6
    names = ("multiply-adds", "read", "written", "weights", "call")
    kind = MATMUL if taps == 1 else CONVOLUTION
    return Work(kind, names, (macs, read * taps, written, stored, 1.0))


def _whole(channels: int, tile: int) -> int:
    return -(-channels // tile) * tile


def _elements(tensor: Tensor, shown: str) -> float:
    """Return the elements of one photo's tensor; the batch may be open."""
    if any(size < 0 for size in tensor.shape[1:]):
        raise InputError(f"{shown}: the tensor {tensor.name} has no fixed size", why="latency depends on it")
    return float(math.prod(abs(size) for size in tensor.shape)) if tensor.shape else 1.0
