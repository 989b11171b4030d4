"""Detect HEIC and AVIF, and find this machine's decoders for them.

HEIC needs ``pillow-heif`` (libheif, libde265), the extra ``edgetl-device[heif]``; AVIF is read by Pillow itself from
11.3 on.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from contextlib import suppress
from typing import Literal

from PIL import features

# Pillow's names of the two formats.
Container = Literal["HEIF", "AVIF"]
HEIC: Container = "HEIF"
AVIF: Container = "AVIF"
INSTALL = "pip install 'pillow-heif>=1.4' 'pillow>=11.3' (the extra heif)"
NAMES: dict[str, str] = {HEIC: "HEIC", AVIF: "AVIF"}

# Brands of files whose primary image is coded with HEVC (ISO/IEC 23008-12, annex B), or with AV1 (AV1 Image File
# Format, 6); mif1 and msf1 name neither.
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_ANY_BRANDS = {b"mif1", b"msf1"}
# From this one on libheif refuses pictures larger than the file states before it takes memory for them.
_LOWEST = (1, 4)
# Files name about ten.
_MOST_BRANDS = 64

# Memory besides the file and the decoded pixels, in bytes per pixel: planes of luma and chroma and their conversion.
# Measured, with room: 4:2:0, as cameras write it, takes 5; 4:4:4 in 10 bits with transparency 17.
_CAMERA_BYTES, _ANY_BYTES = 6, 18


def container_of(data: bytes) -> Container | None:
    """Return the format that a file begins like; None if it is neither."""
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), 16 + 4 * _MOST_BRANDS, len(data))
    brands = {data[8:12], *(data[place : place + 4] for place in range(16, end - 3, 4))}
    if brands & _AVIF_BRANDS and data[8:12] not in _HEIC_BRANDS:
        return AVIF
    return HEIC if brands & (_HEIC_BRANDS | _ANY_BRANDS) else None


def load_decoder(container: Container) -> str:
    """Enable Pillow to open a format; return why that is impossible here, or "".

    The first call for HEIC imports ``pillow_heif`` and registers it with Pillow.
    """
    if container == AVIF:
        return "" if _reads_avif() else "reading AVIF needs Pillow 11.3 or newer, built with libavif"
    try:
        module = importlib.import_module("pillow_heif")
        if tuple(map(int, module.__version__.split(".")[:2])) < _LOWEST:
            return (
                f"pillow-heif {module.__version__} takes more memory than a file states; 1.4 is the first that does not"
            )
        module.register_heif_opener()
    except ModuleNotFoundError as error:
        if error.name != "pillow_heif":
            return f"pillow-heif cannot be loaded: {error}"
        return "reading HEIC needs pillow-heif, which is not installed here"
    except (ImportError, OSError) as error:
        return f"pillow-heif is installed but cannot be loaded: {error}"
    return ""


def decoders() -> str:
    """Return the decoders of this machine and their versions as text, without loading them; "" if there are none."""
    found = []
    with suppress(importlib.metadata.PackageNotFoundError):
        found.append(f"pillow-heif {importlib.metadata.version('pillow-heif')}")
    if _reads_avif():
        found.append(f"libavif {features.version('avif')}")
    return ", ".join(found)


def decoder_bytes(container: str, pixels: int, info: dict[str | tuple[int, int], object]) -> int:
    """Return the memory that decoding takes besides the file and the decoded pixels.

    Args:
        container: A :data:`Container`.
        pixels: Number of pixels in the file.
        info: Pillow's ``info`` of the opened image; pillow-heif says there how colours are sampled.
    """
    return pixels * (_CAMERA_BYTES if container == HEIC and info.get("chroma") == 420 else _ANY_BYTES)


def _reads_avif() -> bool:
    # Older versions of Pillow warn of a feature that they do not know.
    return "avif" in features.modules and features.check("avif") is True
