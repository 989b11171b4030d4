"""Round weights to their int8 grid with GPTQ, then correct biases.

Rounding after Frantar et al. 2022 (:mod:`edgetl.quantization.preparation.gptq`); biases after Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction" (arXiv:1906.04721), section 4.2 and its
appendix on the empirical variant.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib import extras
from edgetl.quantization.preparation import gptq
from edgetl.quantization.preparation.graph import Keras, is_linear, kind, rebuild, steps, walk
from edgetl_device.errors import InputError

# More photos hardly change the means but need more memory.
_MAX_PHOTOS = 64
# Memory for the widest layer: input, output and one temporary, on both paths.
_BUDGET_BYTES = 2 * 1024**3
# Maximum rows per Gram matrix, and minimum photos they come from; more do not change the rounding.
_MAX_ROWS = 8_000
_MIN_PHOTOS = 16
# Larger matrices take minutes to invert: such layers are rounded to nearest.
_MAX_INPUTS = 2_048


def correct_weights(
    folded: Keras, pixels: npt.NDArray[np.uint8], *, per_tensor_dense: bool = False, keep_float: Collection[str] = ()
) -> Keras:
    """Return a copy of ``folded`` with kernels on their int8 grid and corrected biases.

    The graph is evaluated with float and with new weights side by side. At each Conv2D, DepthwiseConv2D and Dense, in
    order, the kernel is rounded for its inputs on the new path, then the bias is shifted by the difference of the two
    per-channel output means. Later layers thus see, and correct, the errors of earlier ones. The converters derive the
    same grid from the result and round nothing more.

    Args:
        folded: A flat functional model without BatchNormalization, input [n, H, W, C] in 0..255.
        pixels: Calibration photos, uint8 [n, H, W, C]; at most 64, evenly spaced, are used.
        per_tensor_dense: Quantize Dense weights per tensor.
        keep_float: Names of layers whose kernel is not rounded.

    Raises:
        InputError: The model still has BatchNormalization, or there are no photos of its input shape.
    """
    tf = extras.tensorflow()
    for node in steps(folded):
        if kind(node.operation) == "BatchNormalization":
            raise InputError(f"layer {node.operation.name!r}: fold BatchNormalization before correcting weights")
    check_pixels(folded, pixels)
    count = _photos(folded, len(pixels))
    chosen = pixels[np.linspace(0, len(pixels) - 1, count).round().astype(int)]
    scalings = {scaling.layer: scaling for scaling in _input_scalings(folded)}
    weights: dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]] = {}

    def compute(operation: Keras, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if operation.name in scalings:
            scaling = scalings[operation.name]
            exact, rounded = tf.split(args[0], 2)
            return tf.concat([operation(exact), (rounded - scaling.zero_point) * scaling.scale], axis=0)
        if not is_linear(operation):
            return operation(*args, **kwargs)
        kernel, *bias = operation.get_weights()
        exact, rounded = tf.split(args[0], 2)
        keep = operation.name in keep_float
        grid = kernel if keep else _rounded(operation, kernel, rounded, per_tensor_dense=per_tensor_dense)
        wanted, got = _linear(operation, kernel, exact), _linear(operation, grid, rounded)
        axes = list(range(len(wanted.shape) - 1))
        shift = tf.reduce_mean(wanted, axes) - tf.reduce_mean(got, axes)
        before = bias[0] if bias else np.zeros(shift.shape, np.float32)
        weights[operation.name] = grid, before + shift.numpy()
        outputs = tf.concat([wanted + before, got + (before + shift)], axis=0)
        return operation.activation(outputs)

    both = tf.cast(np.concatenate([chosen, chosen]), tf.float32)
    walk(folded, both, compute)
    for scaling in scalings.values():
        for name in scaling.readers:
            kernel, bias = weights[name]
            weights[name] = kernel * np.float32(scaling.scale), bias
    settings = {name: {"scale": 1.0, "offset": -float(scaling.zero_point)} for name, scaling in scalings.items()}
    return rebuild(folded, weights, config=settings)


@dataclass(frozen=True)
class _InputScaling:
    """A Rescaling of the pixels that can be replaced by subtracting an integer zero point.

    Attributes:
        layer: Name of the layer.
        scale: Factor of the pixels.
        zero_point: Integer pixel value, 0..255, nearest to the one mapped to 0.
        readers: Names of the linear layers that read its output.
    """

    layer: str
    scale: float
    zero_point: int
    readers: tuple[str, ...]


def _input_scalings(model: Keras) -> Iterator[_InputScaling]:
    """Yield the Rescaling between the input and the first linear layers, if the model has one.

    With p / 127.5 - 1 the real value 0 is pixel 127.5, which no integer zero point can represent. The converters use
    127 or 128, which shifts every pixel by half a step in the same direction. TensorFlow's converter also gives the
    scaled pixels a coarser scale than the pixels have. p - 128, with the factor moved into the next kernel, represents
    all 256 values exactly. It adds a constant, which bias correction of the next layer removes, except where that layer
    pads: there half a step remains.
    """
    order = steps(model)
    for node in order:
        layer = node.operation
        readers = [
            other.operation for other in order if any(tensor is node.outputs[0] for tensor in other.input_tensors)
        ]
        scalar = kind(layer) == "Rescaling" and np.ndim(layer.scale) == np.ndim(layer.offset) == 0 and layer.scale > 0
        first = scalar and node.input_tensors[0] is model.inputs[0]
        if first and readers and all(is_linear(reader) for reader in readers):
            zero_point = round(-layer.offset / layer.scale)
            yield _InputScaling(layer.name, layer.scale, zero_point, tuple(reader.name for reader in readers))


def check_pixels(model: Keras, pixels: npt.NDArray[np.uint8]) -> None:
    """Check that calibration photos match the input of ``model``.

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


def _rounded(
    operation: Keras, kernel: npt.NDArray[np.float32], inputs: Any, *, per_tensor_dense: bool
) -> npt.NDArray[np.float32]:
    """Return the kernel rounded to its grid for the layer's ``inputs``."""
    depthwise = kind(operation) == "DepthwiseConv2D"
    # [groups, inputs, outputs]: each channel of a depthwise convolution sees only its own patches.
    matrices = (
        kernel.reshape(-1, *kernel.shape[2:]).transpose(1, 0, 2)
        if depthwise
        else kernel.reshape(1, -1, kernel.shape[-1])
    )
    step = gptq.step_of(matrices, per_tensor=per_tensor_dense and kind(operation) == "Dense")
    if matrices.shape[1] > _MAX_INPUTS or getattr(operation, "groups", 1) != 1:
        rounded = gptq.nearest(matrices, step)
    else:
        rows = _patches(operation, inputs)
        # Contiguous, so that the product uses BLAS.
        rows = np.ascontiguousarray(rows.reshape(len(rows), -1, len(matrices)).transpose(2, 0, 1))
        gram = np.matmul(rows.transpose(0, 2, 1), rows).astype(np.float64) / rows.shape[1]
        rounded = gptq.round_gptq(matrices, step, gram)
    return rounded.transpose(1, 0, 2).reshape(kernel.shape)


def _patches(operation: Keras, inputs: Any) -> npt.NDArray[np.float32]:
    """Return the kernel's input patches at evenly spaced positions, float32 [positions, taps * input channels]."""
    if kind(operation) == "Dense":
        rows = np.asarray(inputs)
    else:
        # Not all photos: patches of a whole early layer would not fit in memory.
        wanted = max(_MIN_PHOTOS, _MAX_ROWS // math.prod(operation.output.shape[1:3]))
        every = max(1, len(inputs) // wanted)
        rows = np.asarray(
            extras.tensorflow().image.extract_patches(
                inputs[::every],
                sizes=(1, *operation.kernel_size, 1),
                strides=(1, *operation.strides, 1),
                rates=(1, *operation.dilation_rate, 1),
                padding=operation.padding.upper(),
            )
        )
    rows = rows.reshape(-1, rows.shape[-1])
    return rows[:: max(1, len(rows) // _MAX_ROWS)]


def _linear(operation: Keras, kernel: npt.NDArray[np.float32], inputs: Any) -> Any:
    """Compute ``operation`` with another kernel, without bias and activation."""
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
