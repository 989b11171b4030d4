"""Thumbnails embedded in a page."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess, decode, fit, image_of

SIDE = 224
_QUALITY = 80


def thumbnail(photo: bytes, *, side: int = SIDE) -> Image.Image:
    """Return a photo in its own aspect ratio, its longer side ``side`` pixels.

    Raises:
        PhotoError: It cannot be decoded.
    """
    spec = Preprocess(size=square(side), fit="pad")
    image = decode(photo, spec)
    # Crop the black bars of the fit, to keep the photo's aspect ratio.
    width, height = (max(1, round(length * side / max(image.size))) for length in image.size)
    left, top = round((side - width) / 2), round((side - height) / 2)
    return Image.fromarray(fit(image, spec)[top : top + height, left : left + width])


def data_uri(image: Image.Image) -> str:
    """Return a picture as a data URI of a JPEG."""
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def heat_over(pixels: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> Image.Image:
    """Overlay a heat map on a grey version of a photo: the hotter, the more opaque.

    Args:
        pixels: uint8 [h, w, C].
        heat: float32 of any height and width, 0..1; stretched over the photo.
    """
    side = pixels.shape[:2][::-1]
    warm = Image.fromarray((255 * heat).round().astype(np.uint8)).resize(side, Image.Resampling.BICUBIC)
    share = np.asarray(warm, np.float32)[..., None] / 255
    # From dark red over orange to pale yellow, on grey, because the photo's own colours could be mistaken for heat.
    colour = np.concatenate([120 + 135 * share**0.5, 235 * share**1.5, 40 + 120 * share**4], axis=-1)
    opacity = 0.7 * share**0.7
    grey = np.asarray(image_of(pixels).convert("L"), np.float32)[..., None]
    return Image.fromarray((grey * (1 - opacity) + colour * opacity).round().clip(0, 255).astype(np.uint8))
