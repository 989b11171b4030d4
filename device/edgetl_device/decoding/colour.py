"""Convert colours to sRGB by a photo's ICC profile, with Little CMS (Pillow's ImageCms)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, features

from ..errors import Unavailable

# lcms2.h: cmsFLAGS_BLACKPOINTCOMPENSATION; Pillow names it since 10.3.
_BLACK_POINT_COMPENSATION = 0x2000
# A profile that changes no colour by more counts as sRGB. The sRGB profiles of cameras and programs differ by rounding,
# at most 1 of 255; other profiles differ by at least 9 (sRGB's primaries with a plain gamma of 2.2).
_SAME = 2
# Printer profiles with large tables take 2 MB.
MAX_PROFILE_BYTES = 16 << 20

# The mode of the pixels that a profile describes, by its colour space (ICC.1:2022, table 19).
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_NAMES = {"RGB": "RGB", "L": "grey", "CMYK": "CMYK"}


@dataclass(frozen=True)
class Colours:
    """How to convert a photo's colours to sRGB.

    Attributes:
        mode: The mode that the transform expects: RGB, L or CMYK.
        transform: Pillow's transform of that mode to sRGB; None if the pixels are sRGB, or ``broken``.
        broken: Why the profile cannot be used; "" if it can.
    """

    mode: str = "RGB"
    transform: Any = None
    broken: str = ""

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """Convert an image in :attr:`mode` to sRGB, in mode RGB."""
        converted: Image.Image = self.transform.apply(image)
        return converted


SRGB = Colours()


def colours_of(image: Image.Image, name: str) -> Colours:
    """Return how to convert an image's colours, according to its profile.

    Args:
        image: An opened image, loaded or not.
        name: Name of the photo in errors.

    Raises:
        Unavailable: It has a profile, and this machine's Pillow was built without Little CMS.
    """
    if "icc_profile" not in image.info:
        return SRGB
    profile = image.info["icc_profile"]
    if not profile:
        return Colours(broken="it is damaged")
    if not features.check("littlecms2"):
        raise Unavailable(
            f"{name}: its colours cannot be converted on this machine",
            why="it has a colour profile, and this Pillow was built without Little CMS",
            hint="Install Pillow's wheel from PyPI, or build Pillow with Little CMS.",
        )
    return _read(bytes(profile), _kind(image))


def _kind(image: Image.Image) -> str:
    if image.mode == "CMYK":
        return "CMYK"
    return "L" if image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I") else "RGB"


# Photos of one camera share a profile, and building a transform takes milliseconds.
@lru_cache(maxsize=8)
def _read(profile: bytes, kind: str) -> Colours:
    if len(profile) > MAX_PROFILE_BYTES:
        return Colours(broken=f"it has {len(profile):,} bytes, over the limit of {MAX_PROFILE_BYTES:,}")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        mode = _MODES.get(space)
        # A grey photo may have an RGB profile: treat it as three equal channels.
        if mode is None or (mode != kind and (mode, kind) != ("RGB", "L")):
            return Colours(broken=f"it is for {space} and the photo is {_NAMES[kind]}")
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            _BLACK_POINT_COMPENSATION,  # type: ignore[arg-type]  # the newer Flags are integers, too
        )
        return Colours(mode, None if _changes_nothing(transform, mode) else transform)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return Colours(broken=" ".join(str(error).split()) or repr(error))


def _changes_nothing(transform: Any, mode: str) -> bool:
    if mode == "CMYK":
        return False
    if mode == "L":
        levels = np.arange(256, dtype=np.uint8)[None]
        expected = np.repeat(levels[..., None], 3, axis=2)
        probe = Image.fromarray(levels)
    else:
        steps = np.arange(0, 256, 15, dtype=np.uint8)
        expected = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(1, -1, 3)
        probe = Image.fromarray(expected)
    found = np.asarray(transform.apply(probe)).astype(np.int16)
    return bool(np.abs(found - expected).max() <= _SAME)
