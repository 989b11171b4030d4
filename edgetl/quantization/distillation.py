"""Short quantization-aware distillation: fit the trainable tail to the float model's predictions.

Weights and activations are fake-quantized in the forward pass, with the straight-through estimator in the backward pass
(Jacob et al. 2018, arXiv:1712.05877; soft targets: Hinton et al. 2015, arXiv:1503.02531).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib import extras
from edgetl._lib.progress import track
from edgetl.backbones.spec import SCALE_LAYER
from edgetl.quantization.preparation.graph import Keras, is_linear, kind, rebuild, steps, walk
from edgetl_device.errors import InputError

# Larger rates overfit the rounding to the training photos.
_LEARNING_RATE = 1e-5
_EPOCHS = 4
_BATCH = 32
_CALIBRATION_PHOTOS = 64
# Layers that pass values through: output and input share the quantization grid.
_NO_GRID_OF_THEIR_OWN = ("ZeroPadding2D", "Dropout", "Reshape", "Flatten", "MaxPooling2D", "Softmax")


@dataclass(frozen=True, eq=False)
class Teaching:
    """Data for distillation.

    Attributes:
        pixels: Training photos, uint8 [n, H, W, C].
        probabilities: The float model's predictions, float32 [n, classes].
        calibration: Photos that set the activation ranges, uint8 [m, H, W, C].
    """

    pixels: npt.NDArray[np.uint8]
    probabilities: npt.NDArray[np.float32]
    calibration: npt.NDArray[np.uint8]


def distill(folded: Keras, trained: frozenset[str], teaching: Teaching, *, rounded: bool, seed: int) -> Keras:
    """Return a copy of ``folded`` with its tail fitted to the float model's predictions.

    Adam at 1e-5 with cosine decay, 4 epochs, Kullback-Leibler divergence from the float predictions.

    Args:
        folded: A flat functional model without BatchNormalization.
        trained: Names of the trained layers. All linear layers from the first of these on are fitted, except the
            scaling of the pixels.
        teaching: Photos and predictions.
        rounded: Round weights and activations as int8 does. False is the control.
        seed: Random seed of the photo order.

    Raises:
        InputError: None of ``trained`` is in the model.
    """
    tf, keras = extras.tensorflow(), extras.keras()
    cut = _cut(folded, trained)
    tail = keras.Model(cut, folded.output)
    ranges = _ranges(folded, teaching.calibration) if rounded else {}
    inputs = _before(folded, cut, teaching.pixels, ranges)
    variables = {
        node.operation.name: [tf.Variable(array) for array in _kernel_and_bias(node.operation)]
        for node in steps(tail)
        if is_linear(node.operation) and node.operation.name != SCALE_LAYER
    }
    flat = [variable for pair in variables.values() for variable in pair]
    batch = min(_BATCH, len(inputs))
    total = _EPOCHS * (len(inputs) // batch)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, total))
    optimizer.build(flat)

    def compute(operation: Keras, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if operation.name in variables:
            kernel, bias = variables[operation.name]
            output = _apply(operation, args[0], _rounded_weights(operation, kernel) if rounded else kernel, bias)
        else:
            output = operation(*args, **kwargs)
        return _rounded_activation(output, ranges.get(operation.name))

    @tf.function(autograph=False)
    def learn(batch_inputs: Any, wanted: Any) -> Any:
        with tf.GradientTape() as tape:
            predictions = tf.clip_by_value(walk(tail, batch_inputs, compute), 1e-7, 1.0)
            loss = tf.reduce_mean(
                tf.reduce_sum(wanted * (tf.math.log(wanted + 1e-7) - tf.math.log(predictions)), axis=-1)
            )
        optimizer.apply_gradients(zip(tape.gradient(loss, flat), flat, strict=True))
        return loss

    random = np.random.default_rng(seed)
    with track("Distilling" if rounded else "Distilling, control", total, unit="steps") as advance:
        for _ in range(_EPOCHS):
            order = random.permutation(len(inputs))[: len(inputs) // batch * batch]
            for rows in order.reshape(-1, batch):
                learn(tf.constant(inputs[rows], tf.float32), tf.constant(teaching.probabilities[rows]))
                advance(1)
    return rebuild(folded, {name: [variable.numpy() for variable in pair] for name, pair in variables.items()})


def _cut(folded: Keras, trained: frozenset[str]) -> Keras:
    """Return the input tensor of the first trained layer; the model input if only pixel scaling comes before it."""
    before: list[Keras] = []
    for node in steps(folded):
        if node.operation.name in trained:
            from_pixels = not any(is_linear(layer) and layer.name != SCALE_LAYER for layer in before)
            return folded.inputs[0] if from_pixels else node.input_tensors[0]
        before.append(node.operation)
    raise InputError("nothing to distill", why="the model has none of the trained layers")


def _kernel_and_bias(operation: Keras) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    kernel, *bias = operation.get_weights()
    return kernel, bias[0] if bias else np.zeros(operation.output.shape[-1], np.float32)


def _ranges(folded: Keras, pixels: npt.NDArray[np.uint8]) -> dict[str, tuple[float, float]]:
    """Return the activation range (min, max), including 0, of each operation with its own quantization grid."""
    order = steps(folded)
    readers: dict[int, list[Keras]] = {}
    for node in order:
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node.operation)
    own = {
        node.operation.name
        for node in order
        if kind(node.operation) not in _NO_GRID_OF_THEIR_OWN
        and not (is_linear(node.operation) and any(map(_is_fused, readers.get(id(node.outputs[0]), ()))))
    }
    found: dict[str, tuple[float, float]] = {}

    def compute(operation: Keras, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = operation(*args, **kwargs)
        if operation.name in own:
            low, high = found.get(operation.name, (0.0, 0.0))
            values = np.asarray(output)
            found[operation.name] = min(low, float(values.min())), max(high, float(values.max()))
        return output

    chosen = pixels[np.linspace(0, len(pixels) - 1, min(_CALIBRATION_PHOTOS, len(pixels))).round().astype(int)]
    for start in range(0, len(chosen), _BATCH):
        walk(folded, chosen[start : start + _BATCH].astype(np.float32), compute)
    return found


def _is_fused(operation: Keras) -> bool:
    """Return whether converters fuse an operation into the preceding convolution: ReLU or ReLU6, as any layer type."""
    activations = extras.keras().activations
    by_name = kind(operation) == "Activation" and operation.activation in (activations.relu, activations.relu6)
    return by_name or kind(operation) == "ReLU"


def _before(
    folded: Keras, cut: Keras, pixels: npt.NDArray[np.uint8], ranges: dict[str, tuple[float, float]]
) -> npt.NDArray[np.float32] | npt.NDArray[np.uint8]:
    """Return the input of the first trained layer, rounded as int8 does; uint8 if that is the photo itself."""
    if cut is folded.inputs[0]:
        return pixels
    prefix = extras.keras().Model(folded.input, cut)

    def compute(operation: Keras, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _rounded_activation(operation(*args, **kwargs), ranges.get(operation.name))

    parts = []
    with track("Frozen part, int8" if ranges else "Frozen part", len(pixels)) as advance:
        for start in range(0, len(pixels), _BATCH):
            part = pixels[start : start + _BATCH]
            parts.append(np.asarray(walk(prefix, part.astype(np.float32), compute)))
            advance(len(part))
    return np.concatenate(parts)


def _rounded_activation(output: Any, limits: tuple[float, float] | None) -> Any:
    if limits is None or limits[0] == limits[1]:
        return output
    return extras.tensorflow().quantization.fake_quant_with_min_max_args(output, *limits)


def _rounded_weights(operation: Keras, kernel: Any) -> Any:
    """Round a kernel to int8, symmetric in -127..127, per output channel."""
    tf = extras.tensorflow()
    if kind(operation) == "DepthwiseConv2D":
        by_channel = tf.reshape(kernel, (*kernel.shape[:2], -1))
        return tf.reshape(_per_channel(by_channel), kernel.shape)
    return _per_channel(kernel)


def _per_channel(kernel: Any) -> Any:
    tf = extras.tensorflow()
    largest = tf.reduce_max(tf.abs(kernel), axis=list(range(len(kernel.shape) - 1)))
    largest = tf.stop_gradient(tf.maximum(largest, 1e-12))
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -largest, largest, narrow_range=True)


def _apply(operation: Keras, inputs: Any, kernel: Any, bias: Any) -> Any:
    ops = extras.keras().ops
    if kind(operation) == "Dense":
        output = ops.matmul(inputs, kernel)
    else:
        convolve = ops.depthwise_conv if kind(operation) == "DepthwiseConv2D" else ops.conv
        output = convolve(
            inputs, kernel, strides=operation.strides, padding=operation.padding, dilation_rate=operation.dilation_rate
        )
    return operation.activation(output + bias)
