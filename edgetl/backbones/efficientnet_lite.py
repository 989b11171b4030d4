"""EfficientNet-Lite0 to Lite2, missing from ``keras.applications``, with the layer names of Keras' EfficientNet.

After Tan & Le 2019, EfficientNet (arXiv:1905.11946), as changed in TensorFlow's TPU models (``efficientnet/lite``)
for 8-bit devices: no squeeze-and-excite, ReLU6 instead of swish; stem and top have the same width, and the first and
the last stage the same depth, in all of them.
"""

from __future__ import annotations

import math
from typing import Any

from .spec import Builder

# From efficientnet_lite_builder.py: blocks, kernel size, stride of the first, expansion, filters of Lite0.
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
           (1, 3, 1, 6, 320))  # fmt: skip
_STEM_FILTERS, _TOP_FILTERS = 32, 1280
# From efficientnet_lite_builder.py.
_BATCH_NORM = {"epsilon": 1e-3, "momentum": 0.99}
# From conv_kernel_initializer in efficientnet_model.py, for training from scratch.
_INITIALIZER = {"class_name": "VarianceScaling", "config": {"scale": 2.0, "mode": "fan_out"}}


def lite(widen: float, deepen: float) -> Builder:
    """Return the builder of an EfficientNet-Lite, from the multipliers of Lite0's filters and blocks.

    With ``top``, average pooling and a softmax over ImageNet's 1000 classes follow. Padding is TensorFlow's SAME, so
    the padding of strided layers depends on the size. The only width is 1.0.
    """

    def build(scaled: Any, _width: float, *, top: bool = False) -> Any:
        return _build(scaled, widen, deepen, top=top)

    return build


def _filters(count: int, widen: float) -> int:
    """Return a widened number of filters: the nearest multiple of 8 that is at least 90% of it."""
    wanted = count * widen
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def _build(scaled: Any, widen: float, deepen: float, *, top: bool) -> Any:
    from edgetl._lib.extras import keras

    layers = keras().layers

    def convolution(x: Any, name: str, filters: int, kernel: int = 1, stride: int = 1) -> Any:
        return layers.Conv2D(
            filters, kernel, stride, "same", use_bias=False, kernel_initializer=_INITIALIZER, name=name
        )(x)

    def norm(x: Any, name: str) -> Any:
        return layers.BatchNormalization(**_BATCH_NORM, name=name)(x)

    def relu6(x: Any, name: str) -> Any:
        return layers.ReLU(6.0, name=name)(x)

    def block(x: Any, name: str, kernel: int, stride: int, expansion: int, filters: int) -> Any:
        came_in = x
        if expansion != 1:
            x = convolution(x, f"{name}_expand_conv", came_in.shape[-1] * expansion)
            x = relu6(norm(x, f"{name}_expand_bn"), f"{name}_expand_activation")
        x = layers.DepthwiseConv2D(
            kernel, stride, "same", use_bias=False, depthwise_initializer=_INITIALIZER, name=f"{name}_dwconv"
        )(x)
        x = relu6(norm(x, f"{name}_bn"), f"{name}_activation")
        x = norm(convolution(x, f"{name}_project_conv", filters), f"{name}_project_bn")
        if stride == 1 and filters == came_in.shape[-1]:
            x = layers.Add(name=f"{name}_add")([x, came_in])
        return x

    x = convolution(scaled, "stem_conv", _STEM_FILTERS, 3, 2)
    x = relu6(norm(x, "stem_bn"), "stem_activation")
    for number, (count, kernel, stride, expansion, filters) in enumerate(_STAGES, 1):
        blocks = count if number in (1, len(_STAGES)) else math.ceil(count * deepen)
        for index in range(blocks):
            name = f"block{number}{'abcde'[index]}"
            x = block(x, name, kernel, stride if index == 0 else 1, expansion, _filters(filters, widen))
    x = relu6(norm(convolution(x, "top_conv", _TOP_FILTERS), "top_bn"), "top_activation")
    if top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(1000, activation="softmax", name="predictions")(x)
    return keras().Model(keras().utils.get_source_inputs(scaled), x)
