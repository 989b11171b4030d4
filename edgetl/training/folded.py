"""Fixed BatchNorms folded into the preceding convolutions during training; only the kernels are trained.

Same function and gradients up to rounding, but two fewer passes over every feature map in each direction.
"""

from __future__ import annotations

from typing import Any

from edgetl._lib.extras import keras, tensorflow
from edgetl._lib.interrupts import uninterrupted


@uninterrupted()
def fold_fixed_norms(tail: Any) -> Any:
    """Return a keras.Model with the weights of ``tail`` that computes each Conv2D with its BatchNorm in one operation.

    Pairs are not folded if the BatchNorm is trained, or if the convolution has another consumer, a bias or an
    activation of its own.

    Args:
        tail: A flat functional keras.Model with one input and one output.
    """
    library = keras()
    nodes = [node for depth in sorted(tail._nodes_by_depth, reverse=True) for node in tail._nodes_by_depth[depth]]
    nodes = [node for node in nodes if not node.is_input]
    readers: dict[int, list[Any]] = {}
    for node in nodes:
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node.operation)
    inputs = library.Input(tail.input.shape[1:], dtype=tail.input.dtype)
    values = {id(tail.input): inputs}
    folded: set[int] = set()
    for node in nodes:
        args, kwargs = node.arguments.fill_in(values)
        operation, read_by = node.operation, readers.get(id(node.outputs[0]), [])
        if id(operation) in folded:
            result = args[0]
        elif len(read_by) == 1 and _foldable(operation, read_by[0]):
            folded.add(id(read_by[0]))
            result = _normed_convolution(operation, read_by[0])(args[0])
        else:
            result = operation(*args, **kwargs)
        values[id(node.outputs[0])] = result
    return library.Model(inputs, values[id(tail.output)])


def _foldable(convolution: Any, norm: Any) -> bool:
    layers = keras().layers
    plain = type(convolution) in (layers.Conv2D, layers.DepthwiseConv2D) and not convolution.use_bias
    linear = (
        plain and convolution.activation is keras().activations.linear and convolution.data_format == "channels_last"
    )
    return linear and type(norm) is layers.BatchNormalization and not norm.trainable


def _normed_convolution(convolution: Any, norm: Any) -> Any:
    library = keras()
    ops, depthwise = library.ops, isinstance(convolution, library.layers.DepthwiseConv2D)
    convolve = ops.depthwise_conv if depthwise else ops.conv

    class NormedConvolution(library.layers.Layer):  # type: ignore[misc,name-defined]  # Keras is imported on use
        """A convolution with kernel * gamma / sqrt(variance + epsilon) and the shift of the BatchNorm as bias."""

        def __init__(self) -> None:
            super().__init__(name=f"{convolution.name}_normed")
            self.convolution, self.norm = convolution, norm

        def call(self, inputs: Any) -> Any:
            # BatchNorm's variables are float32 under every policy; in float16, 1 / sqrt(variance) would lose precision.
            scale = ops.rsqrt(norm.moving_variance + norm.epsilon)
            scale = scale * norm.gamma if norm.scale else scale
            shift = -norm.moving_mean * scale
            shift = shift + norm.beta if norm.center else shift
            kernel = convolution.kernel * (scale[:, None] if depthwise else scale)
            outputs = convolve(
                inputs,
                ops.cast(kernel, self.compute_dtype),
                strides=convolution.strides,
                padding=convolution.padding,
                data_format=convolution.data_format,
                dilation_rate=convolution.dilation_rate,
            )
            return tensorflow().nn.bias_add(outputs, ops.cast(shift, self.compute_dtype))

    return NormedConvolution()
