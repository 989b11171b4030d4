"""The small CNN that tutorials train from scratch: the baseline that a pretrained backbone has to beat."""

from __future__ import annotations

from typing import Any

_FILTERS = (8, 16, 32, 32)


def build_simple_cnn(scaled: Any, _width: float, *, top: bool = False) -> Any:
    """Build four blocks of 3x3 convolution, BatchNorm, ReLU and 2x2 maximum pooling, with random weights; no top."""
    assert not top, "it has none"
    from edgetl._lib.extras import keras

    layers = keras().layers
    x = scaled
    for number, filters in enumerate(_FILTERS, 1):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"block_{number}_conv")(x)
        x = layers.BatchNormalization(name=f"block_{number}_bn")(x)
        x = layers.ReLU(name=f"block_{number}_relu")(x)
        x = layers.MaxPooling2D(name=f"block_{number}_pool")(x)
    return keras().Model(keras().utils.get_source_inputs(scaled), x)
