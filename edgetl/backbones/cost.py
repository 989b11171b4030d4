"""The cost of a network, from its layers: multiply-adds and the estimated size of its int8 file."""

from __future__ import annotations

from math import prod
from typing import Any

# Overhead of an int8 TFLite file, fitted to the files behind facts.json (within 10% of each): per output channel a bias
# and the scales and zero points of weights and bias, per operator its names and shapes.
_BYTES_A_CHANNEL = 22
_BYTES_AN_OPERATOR = 1000


def multiply_adds(base: Any) -> int:
    """Return the multiply-adds of one photo. BatchNorm is folded, so it is free."""
    total = 0
    for layer in base.layers:
        places = prod(layer.output.shape[1:3]) if hasattr(layer, "kernel_size") else 1
        for weight in layer.weights:
            if weight.name.endswith("kernel"):
                total += places * prod(weight.shape)
    return total


def int8_bytes_estimate(base: Any, *, classes: int) -> int:
    """Estimate the size of the int8 TFLite file of a base with a head for ``classes``.

    One byte per weight, plus the format's overhead per output channel and operator. BatchNorm is folded.
    """
    total = 0
    for layer in base.layers:
        for weight in layer.weights:
            if weight.name.endswith("kernel"):
                by_channel = "Depthwise" in type(layer).__name__ or weight.name.startswith("depthwise")
                channels = prod(weight.shape[-2:]) if by_channel else weight.shape[-1]
                total += prod(weight.shape) + _BYTES_A_CHANNEL * channels + _BYTES_AN_OPERATOR
    return int(total + classes * (base.output.shape[-1] + _BYTES_A_CHANNEL) + _BYTES_AN_OPERATOR)
