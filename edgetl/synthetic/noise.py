"""Render one picture of noise: blotches of random colours, smoothly enlarged."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, PngImagePlugin

# Cells of the noise in a picture's width.
_GRAINS = (2, 4, 8, 16, 40, 160)


def noise_png(index: int, *, size: int, seed: int, comment: str) -> bytes:
    """Return picture ``index`` as a PNG file; see ``draw_noise``."""
    random = np.random.default_rng([seed, index])
    cells = _GRAINS[index % len(_GRAINS)]
    middle, spread = random.uniform(30, 225, 3), random.uniform(20, 110)
    colours = np.clip(random.normal(middle, spread, (cells, cells, 3)), 0, 255).astype(np.uint8)
    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", comment)
    file = io.BytesIO()
    Image.fromarray(colours).resize((size, size), Image.Resampling.BICUBIC).save(file, "PNG", pnginfo=about)
    return file.getvalue()
