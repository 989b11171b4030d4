"""Empirical bias correction: each bias is shifted by what rounding the weights to int8 did to its channel's mean.

After Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv:1906.04721),
section 4.2 and its appendix on the empirical variant. Not for: the variance of that error, which only finer weights
can lower.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl import extras
from edgetl.quantize.graph import Keras, is_linear, kind, rebuild, steps, walk
from edgetl_device.errors import InputError

# More photos move the means by less than one photo's share; memory grows with each of them.
_MAX_PHOTOS = 64
# Room for the widest layer: its input, its output and one temporary, for both paths.
_BUDGET_BYTES = 2 * 1024**3
_LEVELS = 127


def correct_biases(folded: Keras, pixels: npt.NDArray[np.uint8]) -> Keras:
    """Return a copy of ``folded`` whose biases make up for int8 weights.

    Two paths run side by side through the graph, one with float weights and one with weights on their int8 grid. At
    each Conv2D, DepthwiseConv2D and Dense, in order, the quantized path's bias is shifted by the difference of the two
    per-channel means, before that path goes on: later layers see the correction of earlier ones. The kernels of the
    result are the float ones; the converters put them on the same grid.

    Args:
        folded: A flat functional model without BatchNormalization, input [n, S, S, 3] in 0..255.
        pixels: Calibration photos, uint8 [n, S, S, 3]; at most 64, evenly spaced, are used.

    Raises:
        InputError: The model still has BatchNormalization, or there are no photos of its input shape.
    """
    tf = extras.tensorflow()
    for node in steps(folded):
        if kind(node.operation) == "BatchNormalization":
            raise InputError(f"layer {node.operation.name!r}: fold BatchNormalization before correcting biases")
    check_pixels(folded, pixels)
    count = _photos(folded, len(pixels))
    chosen = pixels[np.linspace(0, len(pixels) - 1, count).round().astype(int)]
    offsets = _whole_zero_points(folded)
    weights: dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]] = {}

    def compute(operation: Keras, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if operation.name in offsets:
            exact, rounded = tf.split(args[0], 2)
            return tf.concat([operation(exact), rounded * operation.scale + offsets[operation.name]], axis=0)
        if not is_linear(operation):
            return operation(*args, **kwargs)
        kernel, *bias = operation.get_weights()
        exact, rounded = tf.split(args[0], 2)
        grid = _on_grid(kernel, depthwise=kind(operation) == "DepthwiseConv2D")
        wanted, got = _linear(operation, kernel, exact), _linear(operation, grid, rounded)
        axes = list(range(len(wanted.shape) - 1))
        shift = tf.reduce_mean(wanted, axes) - tf.reduce_mean(got, axes)
        before = bias[0] if bias else np.zeros(shift.shape, np.float32)
        weights[operation.name] = kernel, before + shift.numpy()
        outputs = tf.concat([wanted + before, got + (before + shift)], axis=0)
        return operation.activation(outputs)

    both = tf.cast(np.concatenate([chosen, chosen]), tf.float32)
    walk(folded, both, compute)
    return rebuild(folded, weights, config={name: {"offset": offset} for name, offset in offsets.items()})


def _whole_zero_points(model: Keras) -> dict[str, float]:
    """Return offsets for Rescaling layers before a linear layer with which rounding the pixels loses nothing.

    With p / 127.5 - 1 the real value 0 is pixel 127.5, which no integer zero point can say: the converters move it to
    127 or 128, and every pixel is off by half a step, to the same side. The offset that belongs to a whole zero point
    puts all 256 pixel values on the grid; the constant that this adds is what the correction of the next layer removes.
    Only where that layer pads does half a step remain.
    """
    order = steps(model)
    offsets = {}
    for node in order:
        layer = node.operation
        readers = [
            other.operation for other in order if any(tensor is node.outputs[0] for tensor in other.input_tensors)
        ]
        scalar = kind(layer) == "Rescaling" and np.ndim(layer.scale) == np.ndim(layer.offset) == 0 and layer.scale > 0
        first = scalar and node.input_tensors[0] is model.inputs[0]
        if first and readers and all(is_linear(reader) for reader in readers):
            offsets[layer.name] = -layer.scale * round(-layer.offset / layer.scale)
    return offsets


def check_pixels(model: Keras, pixels: npt.NDArray[np.uint8]) -> None:
    """Refuse calibration photos that ``model`` would not take as they are.

    Raises:
        InputError: ``pixels`` is empty, not uint8, or not of the model's input shape.
    """
    wanted = tuple(model.inputs[0].shape[1:])
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != wanted or not len(pixels):
        raise InputError(
            f"calibration photos of shape {list(pixels.shape)} and type {pixels.dtype}",
            why=f"the model needs at least one photo, uint8 [n, {', '.join(map(str, wanted))}]",
        )


def _photos(model: Keras, available: int) -> int:
    widest = max(
        int(np.prod(node.outputs[0].shape[1:])) + sum(int(np.prod(tensor.shape[1:])) for tensor in node.input_tensors)
        for node in steps(model)
    )
    both_paths_bytes = 2 * 2 * widest * np.dtype(np.float32).itemsize
    return max(1, min(_MAX_PHOTOS, available, _BUDGET_BYTES // both_paths_bytes))


def _on_grid(kernel: npt.NDArray[np.float32], *, depthwise: bool) -> npt.NDArray[np.float32]:
    """Round to -127..127 steps of max|w| / 127 per output channel: the grid of the TFLite 8-bit specification."""
    axes = (0, 1) if depthwise else tuple(range(kernel.ndim - 1))
    scale = np.abs(kernel).max(axis=axes, keepdims=True) / _LEVELS
    safe = np.where(scale > 0, scale, 1.0)
    return (np.rint(kernel / safe) * safe).astype(np.float32)


def _linear(operation: Keras, kernel: npt.NDArray[np.float32], inputs: Any) -> Any:
    """Compute ``operation`` with another kernel and without bias and activation."""
    ops = extras.keras().ops
    if kind(operation) == "Dense":
        return ops.matmul(inputs, kernel)
    convolve = ops.depthwise_conv if kind(operation) == "DepthwiseConv2D" else ops.conv
    return convolve(
        inputs,
        kernel,
        strides=operation.strides,
        padding=operation.padding,
        data_format=operation.data_format,
        dilation_rate=operation.dilation_rate,
    )
