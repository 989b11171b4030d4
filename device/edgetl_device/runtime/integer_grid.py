"""Quantize and dequantize: ``real = scale * (q - zero_point)``, as in the TFLite quantization spec.

https://ai.google.dev/edge/litert/models/quantization_spec.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl_device.errors import InputError

_INTEGERS = ("uint8", "int8")


def pixels_to_grid(pixels: npt.NDArray[np.uint8], dtype: str, scale: float, zero_point: int) -> npt.NDArray[Any]:
    """Quantize pixels 0..255 for an integer input: ``round(pixel / scale) + zero_point``, same shape.

    Raises:
        InputError: The grid does not cover 0 to 255 (within half a step), so the model does not take raw pixels.
    """
    if dtype not in _INTEGERS:
        raise InputError(f"input of type {dtype}", why=f"pixels can be quantized to {' and '.join(_INTEGERS)} only")
    limits = np.iinfo(dtype)
    low, high = scale * (limits.min - zero_point), scale * (limits.max - zero_point)
    if scale <= 0 or low > scale / 2 or high < 255 - scale / 2:
        raise InputError(
            f"the model's {dtype} input covers {low:.4g} .. {high:.4g}",
            why="a bundle's model takes raw RGB 0 .. 255",
            hint="Quantize it again with pixels of 0 and 255 in the calibration photos.",
        )
    grid = np.rint(pixels.astype(np.float32) / np.float32(scale)).astype(np.int32) + zero_point
    return np.asarray(np.clip(grid, limits.min, limits.max).astype(dtype))


def to_real(grid: npt.NDArray[Any], scale: float, zero_point: int) -> npt.NDArray[np.float32]:
    """Dequantize integers to float32, same shape."""
    return np.float32(scale) * (grid.astype(np.int32) - zero_point).astype(np.float32)
