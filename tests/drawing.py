"""Pictures for tests that need any photo. Needs only the device package's requirements."""

from __future__ import annotations

import numpy as np
from PIL import Image


def draw_photo(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    """Return a picture that is unique to the seed: coarse coloured noise."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
