"""The only place where a photo becomes a tensor: Pillow decode, EXIF orientation, sRGB, fit, uint8 HWC.

Training, calibration, evaluation and the device all call :func:`preprocess`.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from ._lib import child
from ._lib.documents import Json, of_json, optional, stated, to_json
from .decoding.colour import SRGB, Colours, colours_of
from .decoding.heif import AVIF, HEIC, INSTALL, NAMES, container_of, decoder_bytes, load_decoder
from .decoding.png_chunks import SIGNATURE, without_large_texts
from .errors import InputError, Unavailable
from .input_size import InputSize, square

Pixels = npt.NDArray[np.uint8]
Source = str | os.PathLike[str] | bytes | Image.Image

# A photo that needs more memory than this, including its file, is refused before it is decoded. Enough for an RGB photo
# of 100 megapixels, with room for the program in the 800 MB of the documented service.
MAX_BYTES = 512 << 20
# A trial run that takes longer is refused.
_TRIAL_S = 60.0
# Exit codes of edgetl_device.trial_decode; any other failure is the machine's.
TRIAL_DAMAGED, TRIAL_NO_MEMORY = 20, 21
# Pillow's own limit, regardless of memory.
MAX_PIXELS = 178_956_970

_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# The operation that makes a photo upright, by EXIF orientation (CIPA DC-008, Exif 2.32, tag 274).
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The weights of R, G and B in grey: ITU-R BT.601-2, in Pillow's rounding.
LUMA = (19_595 / 65_536, 38_470 / 65_536, 7_471 / 65_536)
FITS = ("stretch", "crop", "pad")
COLOURS = ("srgb", "as-stored")
# The largest value of 16-bit greys.
MAX_DEPTH_VALUE = 65_535

# Listed explicitly, so that accepted formats do not depend on Pillow's build, and no plugin starts a program (EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")

# Known by their content: phones and programs name them .jpg as well.
_CONTAINERS = (HEIC, AVIF)

# Many phones write MPO: a JPEG followed by a second picture or a depth map. Its own plugin opens it.
_DRAFTED = ("JPEG", "MPO")

# Photos that are not RGB are converted whole up to this size, larger ones in bands of it. At worst (16-bit greys via
# int64, transparency via several images) a conversion takes this many bytes per pixel.
_BAND_PIXELS = 1 << 20
_CONVERSION_BYTES = 40
# Larger PNGs keep their large texts, to save a copy.
_CLEANED_BYTES = 128 << 20
# Below this, the machine's available memory is not checked.
_UNQUESTIONED_BYTES = 64 << 20

# Bytes per pixel in Pillow's memory; 4 for all other modes, including RGB (Pillow's docs, "Concepts: Modes").
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}

# Where the header of a PNG has the number of bits (third edition, 11.2.1).
_PNG_DEPTH_AT = 24
_Key = int | tuple[int, ...]

# Pillow's plugins raise any of these for damaged data.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class PhotoError(InputError):
    """A photo that cannot become a tensor. ``kind`` is one of ``empty``, ``not_image``, ``truncated``, ``too_large``,
    ``no_pixels``, ``unsupported``, ``no_decoder`` (HEIC or AVIF, which this machine cannot read)."""

    def __init__(self, kind: str, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.kind = kind


@dataclass(frozen=True)
class Preprocess:
    """How a photo is converted to the input of a model.

    Attributes:
        size: Height, width and channels of the result.
        fit: ``stretch`` ignores the aspect ratio; ``crop`` takes the largest part in the middle that has the aspect
            ratio of ``size``; ``pad`` scales the photo until it just fits into ``size``, and centres it on black.
        resample: ``bilinear`` or ``bicubic``, both with Pillow's support scaling (antialiasing).
        colours: ``srgb`` converts photos with another colour profile; ``as-stored`` ignores profiles, as edgetl did
            before this field existed.
        depth_range: For grey photos of more than 8 bits: the values that become 0 and 255. None keeps the upper 8 of
            16 bits.
    """

    # A field from a newer edgetl would mean pixels unlike those that the model was trained on.
    CLOSED: ClassVar[bool] = True

    size: InputSize = stated(square(160))
    fit: Literal["stretch", "crop", "pad"] = stated("stretch")
    resample: Literal["bilinear", "bicubic"] = stated("bilinear")
    colours: Literal["srgb", "as-stored"] = optional("srgb", absent="as-stored")
    depth_range: tuple[int, int] | None = optional()

    def __post_init__(self) -> None:
        if not isinstance(self.size, InputSize):
            raise InputError(f"preprocess size {self.size!r}", why="must be an InputSize")
        if self.fit not in FITS:
            raise InputError(f"preprocess fit {self.fit!r}", why=f"must be one of {', '.join(FITS)}")
        if self.resample not in _RESAMPLE:
            raise InputError(f"preprocess resample {self.resample!r}", why=f"must be one of {', '.join(_RESAMPLE)}")
        if self.colours not in COLOURS:
            raise InputError(f"preprocess colours {self.colours!r}", why=f"must be one of {', '.join(COLOURS)}")
        if self.depth_range is not None:
            low, high = self.depth_range
            if not 0 <= low < high <= MAX_DEPTH_VALUE:
                what = f"preprocess depth_range {low}..{high}"
                raise InputError(what, why=f"must be within 0..{MAX_DEPTH_VALUE}, the lower one first")

    def to_json(self) -> Json:
        """Return the fields as a JSON object."""
        return to_json(self)

    @classmethod
    def from_json(cls, document: object) -> Preprocess:
        """Read the fields back; unknown or missing ones are errors.

        Raises:
            InputError: The message names the field.
        """
        return of_json(cls, document, name="preprocess")

    def described(self) -> str:
        """Return the fields as one line of text, leaving out those without effect."""
        depth = f", depth range {self.depth_range[0]}..{self.depth_range[1]}" if self.depth_range else ""
        grey = ", grey" if self.size.channels == 1 else ""
        return f"size {self.size}{grey}, fit {self.fit}, resample {self.resample}, colours {self.colours}{depth}"


def preprocess(source: Source, spec: Preprocess) -> Pixels:
    """Return a photo as the input tensor of a model of ``spec``: uint8 RGB or grey 0..255, [height, width, channels].

    Args:
        source: A path, the bytes of an image file, or a PIL image.

    Raises:
        PhotoError: The photo cannot be read; ``kind`` says why.
    """
    return fit(decode(source, spec), spec)


def read_photo(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a photo's file.

    Raises:
        PhotoError: It is not a regular file (a pipe, a device), or is too large for a photo.
        OSError: It cannot be opened.
    """
    check_file(path)
    # If it has become a pipe in the meantime, opening it would block forever.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as stream:
        status = os.fstat(stream.fileno())
        _check_file(path, status)
        return stream.read(status.st_size)


def check_file(path: str | os.PathLike[str]) -> None:
    """Refuse a path that cannot be a photo, without opening it; raises like :func:`read_photo`."""
    _check_file(path, Path(path).stat())


def _check_file(path: str | os.PathLike[str], status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise PhotoError(
            "not_image", f"{os.fspath(path)}: is a pipe or a device, not a file", hint="Replace or remove it."
        )
    if status.st_size > MAX_BYTES:
        raise _too_large(os.fspath(path), f"the file has {_mb(status.st_size)}, over the limit of {_mb(MAX_BYTES)}")


def decode(source: Source, spec: Preprocess) -> Image.Image:
    """Return a photo upright and in RGB, at the resolution of the file or, for large JPEGs, HEICs and AVIFs, a reduced
    one.

    The result is for :func:`fit`, which converts an RGB photo's colours to sRGB after resizing; until then its profile
    is in ``info["icc_profile"]``. Grey, CMYK, palette and transparent photos are converted here.

    A JPEG whose sides are at least four times the longer one of ``spec.size`` is decoded at 1/2, 1/4 or 1/8 of its
    resolution (DCT scaling), but never below twice that, so that the fit still halves it at least once. HEICs and
    AVIFs are decoded whole and then averaged over 2 x 2, 4 x 4 or 8 x 8 pixels, by the same rule. A PIL image is not
    modified.

    Transparent pixels become white. In greys of more than 8 bits, ``spec.depth_range`` becomes 0..255, or the upper 8
    of 16 bits are kept. An animation yields its first frame.

    Raises:
        PhotoError: The photo cannot be read, or decoding and fitting it would take over :data:`MAX_BYTES`.
        Unavailable: This machine has too little memory left for this photo, or its Pillow cannot convert colours.
    """
    name = "the photo" if isinstance(source, bytes | Image.Image) else os.fspath(source)
    try:
        if isinstance(source, Image.Image):
            return _decode(source, name, spec, None)
        data = source if isinstance(source, bytes) else read_photo(source)
        return _decode(open_photo(data, name), name, spec, data)
    except MemoryError:
        raise _no_memory(name, "there was not enough memory for it") from None


def _decode(image: Image.Image, name: str, spec: Preprocess, data: bytes | None) -> Image.Image:
    """``data`` is the file of an image that is not loaded yet; None if the caller passed an image."""
    width, height = image.size
    if width < 1 or height < 1:
        raise PhotoError("no_pixels", f"{name}: is {width} x {height} pixels", hint="Replace or remove it.")
    try:
        if data is not None and image.format in _DRAFTED:
            # The longer side twice: EXIF may turn the photo.
            image.draft("RGB", (2 * spec.size.longest, 2 * spec.size.longest))
        needed = _needed_bytes(image, (width, height), data, spec)
        _check_memory(name, needed, (width, height))
        if data is not None and image.format == AVIF:
            _check_decoding(data, name, needed)
        image.load()
        turn = _turn(image)
        if turn is not None:
            # Read it after loading: the tag may follow the pixels.
            _check_memory(name, needed + _stored_bytes(image), (width, height))
        key = _colour_key(image, data)
        upright = _in_bands(image if turn is None else image.transpose(turn), name, spec, key)
        return _reduced(upright, spec) if data is not None and image.format in _CONTAINERS else upright
    except (PhotoError, Unavailable):
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(name, str(error)) from None
    except _DAMAGE as error:
        raise PhotoError(
            "truncated", f"{name}: cannot be decoded", why=str(error) or repr(error), hint="Replace or remove it."
        ) from None


def _reduced(image: Image.Image, spec: Preprocess) -> Image.Image:
    """Halve an image up to three times, while both sides stay at least twice the longer of ``spec.size``."""
    factor = 1
    while factor < 8 and min(image.size) >= 4 * factor * spec.size.longest:
        factor *= 2
    return image if factor == 1 else image.reduce(factor)


def fit(image: Image.Image, spec: Preprocess) -> Pixels:
    """Resize an RGB image to ``spec``: uint8 sRGB, [height, width, channels].

    Colours are converted to sRGB if the image has another usable profile; without a profile they are taken as sRGB.

    Raises:
        Unavailable: This machine has too little memory left, or its Pillow cannot convert colours.
    """
    try:
        return _fit(image, spec)
    except MemoryError:
        raise _no_memory("the photo", "there was not enough memory to scale it") from None


def _fit(image: Image.Image, spec: Preprocess) -> Pixels:
    size, resample = (spec.size.width, spec.size.height), _RESAMPLE[spec.resample]
    if spec.fit == "stretch":
        fitted = image.resize(size, resample)
    elif spec.fit == "crop":
        fitted = ImageOps.fit(image, size, resample)
    else:
        # As ImageOps.pad, which fails in older versions of Pillow if the shorter side would round to 0.
        inner = _inside(image.size, size)
        fitted = Image.new("RGB", size)
        corner = [round((whole - side) / 2) for whole, side in zip(size, inner, strict=True)]
        fitted.paste(image.resize(inner, resample), (corner[0], corner[1]))
    if spec.colours == "srgb":
        colours = colours_of(image, "the photo")
        fitted = fitted if colours.transform is None else colours.to_srgb(fitted)
    if spec.size.channels == 1:
        return _grey(fitted)
    return np.asarray(fitted, dtype=np.uint8)


def _grey(image: Image.Image) -> Pixels:
    """Return an RGB image as grey, uint8 [height, width, 1]: the luma of ITU-R BT.601-2, Pillow's mode L.

    Equal channels stay the value that they have: the weights add up to 1.
    """
    return np.asarray(image.convert("L"), dtype=np.uint8)[..., None]


def image_of(pixels: Pixels) -> Image.Image:
    """Return pixels, uint8 [height, width, 3] or [height, width, 1], as an RGB or grey image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _inside(photo: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a photo that is scaled until it just fits into ``size``."""
    (width, height), (most_wide, most_high) = photo, size
    if width * most_high >= height * most_wide:
        return most_wide, max(1, round(height * most_wide / width))
    return max(1, round(width * most_high / height)), most_high


def open_photo(data: bytes, name: str) -> Image.Image:
    """Open a photo without decoding it.

    Args:
        data: Bytes of an image file.
        name: Name of the photo in errors.

    Raises:
        PhotoError: It is empty, is in no known format or one that this machine cannot read, or has more pixels than
            Pillow opens.
    """
    if not data:
        raise PhotoError("empty", f"{name}: has zero bytes", hint="Replace or remove it.")
    profile: bytes | None = None
    formats: tuple[str, ...] = _FORMATS
    if container := container_of(data):
        if why := load_decoder(container):
            what = f"{name}: is {NAMES[container]}, which this machine cannot read"
            raise PhotoError("no_decoder", what, why=why, hint=f"Install it: {INSTALL}; or save the photo as JPEG.")
        formats = (container,)
    if data.startswith(SIGNATURE) and len(data) <= _CLEANED_BYTES:
        data, profile = without_large_texts(data)
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise _too_large(name, str(error)) from None
    except _DAMAGE:
        raise PhotoError(
            "not_image",
            f"{name}: is not an image of a known format",
            why=_why_not_opened(data, formats),
            hint="Give a JPEG, PNG, WebP, BMP, TIFF, GIF, HEIC or AVIF file.",
        ) from None
    if profile is not None:
        image.info["icc_profile"] = profile
    return image


def _why_not_opened(data: bytes, formats: Sequence[str]) -> str:
    """Return the error of the plugin for the format that a file begins like; Pillow itself only logs it."""
    for format in formats:
        factory, accept = Image.OPEN[format]
        if accept is None or accept(data[:16]) is not True:
            continue
        try:
            factory(io.BytesIO(data), "")
        except _DAMAGE as error:
            return f"{format}: {str(error) or repr(error)}"
    return ""


def why_colours_as_stored(image: Image.Image, name: str) -> str:
    """Return why an opened photo's colour profile is unusable; "" if it is usable, or there is none."""
    return colours_of(image, name).broken


def wide_greys(image: Image.Image) -> npt.NDArray[np.int64] | None:
    """Return the values of a grey photo of more than 8 bits, int64 [height, width]; None for other photos."""
    return np.asarray(image, dtype=np.int64) if image.mode.startswith("I") else None


def _needed_bytes(image: Image.Image, full: tuple[int, int], data: bytes | None, spec: Preprocess) -> int:
    """Return an upper bound of the peak memory for decoding and fitting an image, from its header.

    Args:
        image: Not loaded yet; its size is the one that it will be decoded at.
        full: Its size in the file.
        data: The file; None if the pixels are already in memory.
        spec: The preprocessing.
    """
    width, height = image.size
    needed = 0
    if data is not None:
        needed += len(data) + _stored_bytes(image) + _decoder_bytes(image, full, data)
    if image.mode != "RGB" or "transparency" in image.info:
        pixels = width * height
        needed += 4 * pixels + _CONVERSION_BYTES * max(min(pixels, _BAND_PIXELS), width, height)
    # Pillow resizes one axis after the other, with an RGB image in between, each with a table of 8 bytes for every
    # source pixel that contributes to an output pixel.
    support = 2 if spec.resample == "bilinear" else 4
    return needed + 4 * spec.size.longest * max(width, height) + 8 * support * max(width, height)


def _check_decoding(data: bytes, name: str, needed: int) -> None:
    """Refuse an AVIF whose decoding takes more than its stated size does: the coded picture may be larger.

    Raises:
        PhotoError: It does, or it cannot be decoded.
        Unavailable: This machine cannot try it.
    """
    if sys.platform != "linux":
        return  # where the memory of a process cannot be limited
    try:
        done = child.run_module("trial_decode", str(needed), input=data, timeout_s=_TRIAL_S)
    except subprocess.TimeoutExpired:
        raise _too_large(name, f"decoding takes over {_TRIAL_S:.0f} s") from None
    except OSError as error:
        raise Unavailable(f"{name}: cannot be tried in a child process", why=error.strerror or str(error)) from None
    why = done.stderr.decode(errors="replace").strip()
    if done.returncode < 0 or done.returncode == TRIAL_NO_MEMORY:
        raise _too_large(name, f"decoding takes over the {_mb(needed)} of its stated size")
    if done.returncode == TRIAL_DAMAGED:
        raise PhotoError("truncated", f"{name}: cannot be decoded", why=why, hint="Replace or remove it.")
    if done.returncode:
        last = why.splitlines()[-1] if why else f"exit code {done.returncode}"
        raise Unavailable(f"{name}: cannot be tried in a child process", why=last)


def _decoder_bytes(image: Image.Image, full: tuple[int, int], data: bytes) -> int:
    """Return the memory of a decoder besides the file and the decoded pixels."""
    pixels = full[0] * full[1]
    if image.format in _DRAFTED:
        # With several scans: 2-byte coefficients of all pixels, at full resolution.
        return 2 * pixels * len(image.getbands()) if _in_scans(data) else 0
    if image.format in _CONTAINERS:
        return len(data) + decoder_bytes(image.format, pixels, image.info)
    if image.format == "WEBP":
        # libwebp's canvas, the previous one, the copy for Pillow, and the frame being decoded: RGBA each.
        return 16 * pixels + len(data)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Pillow rotates these while loading.
        turned = image.tag_v2.get(ExifTags.Base.Orientation) in _TURNS
        return _tiff_chunk_bytes(image.tag_v2, full) + turned * _stored_bytes(image)
    if image.format == "BMP" and image.mode in ("P", "L"):
        return pixels  # run lengths are expanded to bytes before the image is made
    return 0


def _in_scans(data: bytes) -> bool:
    """Whether a JPEG is progressive, or has separate scans for its components (ITU-T T.81, annex B)."""
    place, components = 2, 0
    while place + 4 <= len(data):
        marker = data[place + 1]
        if data[place] != 0xFF or marker == 0xFF:
            place += 1
            continue
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            place += 2
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if marker in (0xC2, 0xC6, 0xCA, 0xCE):
                return True
            components = data[place + 9] if place + 9 < len(data) else 0
        elif marker == 0xDA:
            return place + 4 < len(data) and data[place + 4] < components
        place += 2 + length
    return True


def _tiff_chunk_bytes(tags: Mapping[int, Any], size: tuple[int, int]) -> int:
    """Return the unpacked size of the largest strip or tile; libtiff keeps one of them in memory."""

    def largest(tag: int, otherwise: int) -> int:
        value = tags.get(tag, otherwise)
        return max(map(int, value if isinstance(value, tuple) else (value,)), default=otherwise)

    pixels = size[0] * size[1]
    if TiffImagePlugin.TILEWIDTH in tags:
        pixels = largest(TiffImagePlugin.TILEWIDTH, size[0]) * largest(TiffImagePlugin.TILELENGTH, size[1])
    elif TiffImagePlugin.ROWSPERSTRIP in tags:
        pixels = min(pixels, largest(TiffImagePlugin.ROWSPERSTRIP, 1) * max(size))
    samples, bits = largest(TiffImagePlugin.SAMPLESPERPIXEL, 1), largest(TiffImagePlugin.BITSPERSAMPLE, 1)
    return pixels * -(-samples * bits // 8)


def _check_memory(name: str, needed: int, size: tuple[int, int]) -> None:
    what = f"{size[0]} x {size[1]} pixels of this kind take {_mb(needed)} to decode"
    if needed > MAX_BYTES:
        raise _too_large(name, f"{what}, over the limit of {_mb(MAX_BYTES)}")
    if needed > _UNQUESTIONED_BYTES:
        from .machine.environment import memory_available_bytes

        available = memory_available_bytes()
        if isinstance(available, int) and needed > available:
            raise _no_memory(name, f"{what}, and {_mb(available)} of memory are left")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return the operation that undoes the camera's orientation. Unlike ``ImageOps.exif_transpose`` this writes no new
    EXIF block, which fails for photos with malformed other tags.
    """
    return _TURNS.get(orientation_of(image))


def orientation_of(image: Image.Image) -> object:
    """Return an image's EXIF orientation; None if it has none, or EXIF that cannot be read."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except _DAMAGE:
        return None


def _stored_bytes(image: Image.Image) -> int:
    return image.width * image.height * _PIXEL_BYTES.get(image.mode, 4)


def _in_bands(image: Image.Image, name: str, spec: Preprocess, key: _Key | None) -> Image.Image:
    """Convert an image that is not plain RGB to sRGB in bands, because each conversion step makes a copy."""
    width, height = image.size
    if image.mode == "RGB" and key is None:
        return image
    colours = colours_of(image, name) if spec.colours == "srgb" else SRGB
    if width * height <= _BAND_PIXELS:
        converted = _to_rgb(image, name, spec, colours, key)
    else:
        converted, rows = Image.new("RGB", image.size), max(1, _BAND_PIXELS // width)
        for top in range(0, height, rows):
            band = image.crop((0, top, width, min(top + rows, height)))
            converted.paste(_to_rgb(band, name, spec, colours, key), (0, top))
    converted.info.pop("icc_profile", None)
    return converted


def _has_alpha(image: Image.Image) -> bool:
    """Whether an image, or its palette, says of each colour how transparent it is."""
    return "A" in image.getbands() or (image.mode == "P" and "transparency" in image.info)


def _colour_key(image: Image.Image, data: bytes | None) -> _Key | None:
    """Return the one value of greys or colours that is transparent, in the units of the image's pixels.

    PNG states it with the depth of the file (third edition, 11.3.1.1), which Pillow widens or cuts to 8 bits; of 16-bit
    colours the upper 8 bits are what is left to compare.
    """
    found = image.info.get("transparency")
    depth = data[_PNG_DEPTH_AT] if data and data.startswith(SIGNATURE) else 8
    if image.mode == "RGB" and isinstance(found, tuple) and len(found) == 3:
        return tuple(value >> 8 for value in found) if depth == 16 else found
    if isinstance(found, int) and (image.mode in ("1", "L") or image.mode.startswith("I")):
        return found * {2: 85, 4: 17}.get(depth, 1)
    return None


def _key_alpha(pixels: npt.NDArray[Any], key: _Key) -> Image.Image:
    """Return the alpha channel of pixels, [height, width] or [height, width, 3]: 0 where they have the key's value."""
    same = pixels == np.asarray(key)
    return Image.fromarray(np.where(same.all(-1) if same.ndim == 3 else same, 0, 255).astype(np.uint8))


def _to_rgb(image: Image.Image, name: str, spec: Preprocess, colours: Colours, key: _Key | None) -> Image.Image:
    wide = wide_greys(image)
    alpha = None if key is None else _key_alpha(np.asarray(image) if wide is None else wide, key)
    if wide is not None:
        image = _narrowed(wide, spec)
    if image.mode == "F":
        raise PhotoError(
            "unsupported",
            f"{name}: its pixels are floating-point numbers",
            why="their range is unknown",
            hint="Save it with 8 or 16 bits per channel.",
        )
    if alpha is None and _has_alpha(image):
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        # A grey photo's profile takes one of the three equal channels.
        image = image.getchannel("R") if colours.mode == "L" else image.convert("RGB")
    elif colours.transform is not None and image.mode != colours.mode:
        image = image.convert(colours.mode)
    image = image.convert("RGB") if colours.transform is None else colours.to_srgb(image)
    if alpha is None:
        return image
    image.putalpha(alpha)
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _narrowed(wide: npt.NDArray[np.int64], spec: Preprocess) -> Image.Image:
    """Convert 16-bit greys to 8 bits; Pillow's own conversion clips at 255 instead of scaling."""
    if spec.depth_range is None:
        narrow = wide >> 8
    else:
        low, high = spec.depth_range
        narrow = (np.clip(wide, low, high) - low) * 255 // (high - low)
    return Image.fromarray(np.clip(narrow, 0, 255).astype(np.uint8))


def _too_large(name: str, why: str) -> PhotoError:
    return PhotoError("too_large", f"{name}: is too large to decode", why=why, hint="Scale it down, or remove it.")


def _no_memory(name: str, why: str) -> Unavailable:
    hint = "End other programs, or scale it down."
    return Unavailable(f"{name}: cannot be decoded on this machine", why=why, hint=hint)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
