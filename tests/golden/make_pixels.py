"""Make ``pixels/``: a small photo of each kind, and what preprocessing makes of it, for tests with any Pillow.

Run it from the repository root: ``PYTHONPATH=device:tests python tests/golden/make_pixels.py``. Photos that exist stay
as they are; ``pixels.npz`` is written anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from profiles import DISPLAY_P3, cmyk_profile, grey_profile, rgb_profile

from edgetl_device.input_size import InputSize, square
from edgetl_device.preprocess import Preprocess, preprocess

FOLDER = Path(__file__).parent / "pixels"
EXPECTED = FOLDER / "pixels.npz"
# For one, JPEGs are decoded at a reduced size; for the other, at their own.
SPECS = {
    "stretch": Preprocess(size=square(24)),
    "pad": Preprocess(size=square(60), fit="pad", resample="bicubic"),
    "wide grey crop": Preprocess(size=InputSize(20, 36, 1), fit="crop"),
    "high pad": Preprocess(size=InputSize(40, 24), fit="pad"),
}


def drawn() -> Image.Image:
    """Return a photo of 96 x 64 pixels with gradients, edges and noise."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[0:64, 0:96]
    waves = np.stack([128 + 100 * np.sin(x / 9 + y / 23), 255 * x / 95, 255 * y / 63], axis=-1)
    waves[20:40, 30:60] = (230, 60, 20)
    return Image.fromarray(np.clip(waves + random.normal(0, 6, waves.shape), 0, 255).astype(np.uint8))


def photos() -> dict[str, tuple[Image.Image, dict[str, Any]]]:
    """Return the photos by file name, with the options of saving them."""
    photo = drawn()
    grey, turned = photo.convert("L"), Image.Exif()
    turned[0x0112] = 6
    wide = Image.fromarray((np.asarray(grey).astype(np.uint16) * 257 - 128 * (np.asarray(grey) > 0)).astype(np.uint16))
    return {
        "rgb.png": (photo, {}),
        "rgba.png": (Image.merge("RGBA", (*photo.split(), grey)), {}),
        "palette.png": (photo.quantize(32), {}),
        "grey.png": (grey, {}),
        "grey16.png": (wide, {}),
        "profile.png": (photo, {"icc_profile": rgb_profile(DISPLAY_P3)}),
        "grey_profile.png": (grey, {"icc_profile": grey_profile(1.8)}),
        "rgb.jpg": (photo, {"quality": 90}),
        "progressive.jpg": (photo, {"quality": 85, "progressive": True, "subsampling": 0}),
        "grey.jpg": (grey, {"quality": 90}),
        "turned.jpg": (photo, {"quality": 90, "exif": turned}),
        "cmyk.jpg": (photo.convert("CMYK"), {"quality": 90}),
        "cmyk_profile.jpg": (photo.convert("CMYK"), {"quality": 90, "icc_profile": cmyk_profile()}),
        "profile.jpg": (photo, {"quality": 90, "icc_profile": rgb_profile(DISPLAY_P3)}),
        "rgb.webp": (photo, {"quality": 90}),
    }


def main() -> None:
    """Write what is missing, and the pixels of all."""
    FOLDER.mkdir(exist_ok=True)
    for name, (photo, options) in photos().items():
        if not (FOLDER / name).exists():
            photo.save(FOLDER / name, **options)
    expected = {
        f"{name} {kind}": preprocess(FOLDER / name, spec) for name in sorted(photos()) for kind, spec in SPECS.items()
    }
    np.savez_compressed(EXPECTED, **expected)


if __name__ == "__main__":
    main()
