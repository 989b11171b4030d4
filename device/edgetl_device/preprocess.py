"""The one place where the bytes of a photo become a tensor: Pillow decode, EXIF orientation, RGB, fit, uint8 HWC.

Training, calibration, evaluation and the device all call :func:`preprocess`.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from .documents import Is, stated
from .errors import InputError

Pixels = npt.NDArray[np.uint8]
Source = str | os.PathLike[str] | bytes | Image.Image

# A photo of more pixels than this is refused before it is decoded: it would need over 0.5 GB.
MAX_PIXELS = 178_956_970

_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# What shows a photo upright, by its EXIF orientation (CIPA DC-008, Exif 2.32, tag 274).
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
FITS = ("stretch", "crop", "pad")

# Named, so that what is accepted does not change with Pillow's build, and no plugin starts another program (EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")

# MPO is what many phones write: a JPEG with a second picture or a depth map behind it. Its own plugin opens it.
_DRAFTED = ("JPEG", "MPO")

# Pillow's plugins report damaged data with any of these.
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
    ``no_pixels``, ``unsupported``."""

    def __init__(self, kind: str, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what, why=why, hint=hint)
        self.kind = kind


@dataclass(frozen=True)
class Preprocess:
    """How a photo is fitted to the input of a model.

    Attributes:
        size: Height and width of the result in pixels.
        fit: ``stretch`` ignores the aspect ratio; ``crop`` scales the shorter side to ``size`` and takes the centre;
            ``pad`` scales the longer side to ``size`` and centres it on black.
        resample: ``bilinear`` or ``bicubic``, both with Pillow's support scaling (antialiasing).
    """

    # A field that is not known here would make the pixels others than the model was trained on.
    CLOSED: ClassVar[bool] = True

    size: Annotated[int, Is(low=16, high=2048)] = stated(160)
    fit: Literal["stretch", "crop", "pad"] = stated("stretch")
    resample: Literal["bilinear", "bicubic"] = stated("bilinear")

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or not 16 <= self.size <= 2048:
            raise InputError(f"preprocess size {self.size!r}", why="must be a whole number from 16 to 2048")
        if self.fit not in FITS:
            raise InputError(f"preprocess fit {self.fit!r}", why=f"must be one of {', '.join(FITS)}")
        if self.resample not in _RESAMPLE:
            raise InputError(f"preprocess resample {self.resample!r}", why=f"must be one of {', '.join(_RESAMPLE)}")

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: object) -> Preprocess:
        """Read the fields back; unknown or missing ones are an error, not a guess."""
        if not isinstance(document, dict) or set(document) != {"size", "fit", "resample"}:
            raise InputError(f"preprocess {document!r}", why="must have exactly the fields size, fit and resample")
        return cls(**document)


def preprocess(source: Source, spec: Preprocess) -> Pixels:
    """Return a photo as the input tensor of a model of ``spec``: uint8 RGB 0..255, shape [size, size, 3].

    Args:
        source: A path, the bytes of an image file, or a PIL image.

    Raises:
        PhotoError: The photo cannot be read; ``kind`` says why.
    """
    return fit(decode(source, spec), spec)


def decode(source: Source, spec: Preprocess) -> Image.Image:
    """Return a photo upright and in RGB, at the resolution of the file or, for large JPEGs, a reduced one.

    A JPEG whose sides are at least four times ``spec.size`` is decoded at 1/2, 1/4 or 1/8 of its resolution by the
    decoder itself (DCT scaling), never below twice ``spec.size``: the fit that follows halves it at least once more.
    A PIL image is taken as it is, and left as it was.

    Transparent pixels show white. 16-bit greys keep their upper 8 bits. Of an animation the first frame is taken.
    """
    name = "the photo" if isinstance(source, bytes | Image.Image) else os.fspath(source)
    image = source if isinstance(source, Image.Image) else _open(source, name)
    width, height = image.size
    if width < 1 or height < 1:
        raise PhotoError("no_pixels", f"{name}: is {width} x {height} pixels", hint="Replace or remove it.")
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{width} x {height} pixels are over the limit of {MAX_PIXELS}")
    if image is not source and image.format in _DRAFTED:
        image.draft("RGB", (2 * spec.size, 2 * spec.size))
    try:
        image.load()
        return _to_rgb(_upright(image), name)
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(name, str(error)) from None
    except _DAMAGE as error:
        raise PhotoError(
            "truncated", f"{name}: cannot be decoded", why=str(error) or repr(error), hint="Replace or remove it."
        ) from None


def fit(image: Image.Image, spec: Preprocess) -> Pixels:
    """Scale an RGB image to ``spec``: uint8, shape [size, size, 3]."""
    size, resample = (spec.size, spec.size), _RESAMPLE[spec.resample]
    if spec.fit == "stretch":
        fitted = image.resize(size, resample)
    elif spec.fit == "crop":
        fitted = ImageOps.fit(image, size, resample)
    else:
        # As ImageOps.pad, which fails in older versions of Pillow where the shorter side would round to nothing.
        inner = [max(1, round(side * spec.size / max(image.size))) for side in image.size]
        fitted = Image.new("RGB", size)
        corner = [round((spec.size - side) / 2) for side in inner]
        fitted.paste(image.resize((inner[0], inner[1]), resample), (corner[0], corner[1]))
    return np.asarray(fitted, dtype=np.uint8)


def _open(source: str | os.PathLike[str] | bytes, name: str) -> Image.Image:
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if not data:
        raise PhotoError("empty", f"{name}: has zero bytes", hint="Replace or remove it.")
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(name, str(error)) from None
    except _DAMAGE:
        raise PhotoError(
            "not_image",
            f"{name}: is not an image of a known format",
            hint="Give a JPEG, PNG, WebP, BMP, TIFF or GIF file.",
        ) from None


def _upright(image: Image.Image) -> Image.Image:
    """Undo the camera's orientation. Unlike ``ImageOps.exif_transpose`` this writes no new EXIF block, which fails for
    photos with malformed tags.
    """
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        return _wide_grey_to_rgb(image)
    if image.mode == "F":
        raise PhotoError(
            "unsupported",
            f"{name}: its pixels are floating-point numbers",
            why="their range is not known",
            hint="Save it with 8 or 16 bits a channel.",
        )
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _wide_grey_to_rgb(image: Image.Image) -> Image.Image:
    """Modes ``I;16*`` and ``I`` hold 16-bit greys; Pillow's own conversion clips them at 255 instead of scaling."""
    wide = np.asarray(image, dtype=np.int64)
    clipped = np.clip(wide >> 8, 0, 255).astype(np.uint8)
    return Image.fromarray(clipped).convert("RGB")


def _too_large(name: str, why: str) -> PhotoError:
    return PhotoError("too_large", f"{name}: is too large to decode", why=why, hint="Scale it down, or remove it.")
