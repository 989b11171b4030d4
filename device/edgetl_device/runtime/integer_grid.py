"""The integers of inputs and outputs: ``real = scale * (q - zero_point)``, as in the TFLite quantization spec.

https://ai.google.dev/edge/litert/models/quantization_spec.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def shifted(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """Return pixels as an int8 input takes them: less 128, same shape.

    Each of its 256 integers stands for one pixel value, as in a uint8 input, whatever the scale: a file that edgetl did
    not make may have that of its own unit, such as 1/255.
    """
    return np.asarray((pixels ^ np.uint8(128)).view(np.int8))


def to_real(grid: npt.NDArray[Any], scale: float, zero_point: int) -> npt.NDArray[np.float32]:
    """Dequantize integers to float32, same shape."""
    return np.float32(scale) * (grid.astype(np.int32) - zero_point).astype(np.float32)
