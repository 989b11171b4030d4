"""Strip camera metadata (position, time, owner, serial number) from held-out photos, because bundles are shared.

Only pixel data and orientation are kept. For the metadata of models see ``edgetl.inspection.tflite.metadata``.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image

from edgetl_device.errors import InputError
from edgetl_device.preprocess import Preprocess, decode

_JPEG, _PNG, _WEBP = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF"
# JFIF and Adobe define the colour coding (ITU-T T.871; Adobe's "Supporting the DCT Filters in PostScript Level 2").
_JFIF, _ADOBE, _EXIF = 0xE0, 0xEE, 0xE1
_SOS, _EOI, _COMMENT = 0xDA, 0xD9, 0xFE
# PNG (third edition), 5.6: the chunks that Pillow decodes the first image from.
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# WebP container specification; the flags of VP8X list the other chunks present.
_WEBP_KEPT = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
_WEBP_ICC, _WEBP_EXIF, _WEBP_XMP = 0x20, 0x08, 0x04
# A BMP with this header has no colour profile, embedded or linked; edgetl writes it for arrays.
_PLAIN_BMP_HEADER_BYTES = 40


def without_metadata(data: bytes, spec: Preprocess, *, name: str) -> tuple[bytes, str]:
    """Return a photo's file without metadata, and the new suffix of its name, "" if unchanged.

    JPEG, PNG and WebP keep pixels and orientation only, without recompression. A plain BMP is unchanged. Other formats
    (TIFF, GIF) are decoded and saved as PNG.

    Args:
        data: Content of a decodable photo.
        spec: Preprocessing of the bundle's models.
        name: Name of the photo in errors.

    Raises:
        InputError: The decoded pixels would change.
    """
    turn = _orientation(data)
    if data.startswith(_JPEG):
        stripped, suffix = _jpeg(data, turn), ""
    elif data.startswith(_PNG):
        stripped, suffix = _png(data, turn), ""
    elif data.startswith(_WEBP):
        stripped, suffix = _webp(data, turn), ""
    elif data.startswith(b"BM") and data[14:18] == struct.pack("<I", _PLAIN_BMP_HEADER_BYTES) and not _has_tail(data):
        return data, ""
    else:
        stripped, suffix = _as_png(data, spec), ".png"
    if stripped == data:
        return data, ""
    before, after = (np.asarray(decode(one, spec)) for one in (data, stripped))
    if before.shape != after.shape or not np.array_equal(before, after):
        raise InputError(
            f"{name}: its metadata cannot be removed without changing its pixels",
            why="photos in bundles must not contain positions, names or serial numbers",
            hint="Save it again, as PNG for example.",
        )
    return stripped, suffix


def _orientation(data: bytes) -> int:
    """Return the EXIF orientation used in decoding, 1 if there is none."""
    with Image.open(io.BytesIO(data)) as image:
        found = image.getexif().get(ExifTags.Base.Orientation)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _exif(turn: int) -> bytes:
    """Return a TIFF structure with only the orientation tag (CIPA DC-008)."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, ExifTags.Base.Orientation, 3, 1, turn, 0, 0)


def _jpeg(data: bytes, turn: int) -> bytes:
    kept = [_JPEG]
    if turn != 1:
        body = b"Exif\0\0" + _exif(turn)
        kept.append(bytes([0xFF, _EXIF]) + struct.pack(">H", len(body) + 2) + body)
    for marker, segment in _segments(data):
        if marker == _JFIF and segment[4:9] == b"JFIF\0" and len(segment) >= 18:
            # Drop the thumbnail: keep version and density, set its size to zero.
            body = segment[4:16] + b"\0\0"
            kept.insert(1, b"\xff\xe0" + struct.pack(">H", len(body) + 2) + body)
        elif (marker == _ADOBE and segment[4:9] == b"Adobe") or not (_JFIF <= marker <= 0xEF or marker == _COMMENT):
            kept.append(segment)
    return b"".join(kept)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and bytes of each segment of the first image; a scan includes its entropy-coded data."""
    place = 2
    while place + 2 <= len(data):
        start = place
        if data[place] != 0xFF:
            place += 1  # garbage that decoders skip
            continue
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        place += 2
        if marker == _EOI:
            yield marker, data[start:place]
            return
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            continue
        place += int.from_bytes(data[place : place + 2], "big")
        if marker == _SOS:
            place = _end_of_scan(data, place)
        yield marker, data[start:place]


def _end_of_scan(data: bytes, place: int) -> int:
    """Return the position of the next marker that is neither a stuffed byte nor a restart marker."""
    while (place := data.find(b"\xff", place)) != -1 and place + 1 < len(data):
        if data[place + 1] == 0x00 or 0xD0 <= data[place + 1] <= 0xD7:
            place += 2
        elif data[place + 1] == 0xFF:
            place += 1
        else:
            return place
    return len(data)


def _png(data: bytes, turn: int) -> bytes:
    kept, place = [_PNG], len(_PNG)
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        kind, end = data[place + 4 : place + 8], place + 12 + length
        if kind == b"IDAT" and turn != 1 and kept[-1][4:8] != b"IDAT":
            body = _exif(turn)
            kept.append(struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body)))
        if kind in _PNG_KEPT:
            kept.append(data[place:end])
        place = end
        if kind == b"IEND":
            break
    return b"".join(kept)


def _webp(data: bytes, turn: int) -> bytes:
    kept, place = [], 12
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while place + 8 <= end:
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        chunk = data[place : place + 8 + size + size % 2]
        if chunk[:4] == b"VP8X":
            flags = chunk[8] & ~(_WEBP_ICC | _WEBP_EXIF | _WEBP_XMP) | (_WEBP_EXIF if turn != 1 else 0)
            chunk = chunk[:8] + bytes([flags]) + chunk[9:]
        if chunk[:4] in _WEBP_KEPT:
            kept.append(chunk)
        place += len(chunk)
    if turn != 1:
        body = _exif(turn)
        kept.append(b"EXIF" + struct.pack("<I", len(body)) + body)
    content = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _has_tail(data: bytes) -> bool:
    """Return whether a BMP has trailing bytes after its pixels; True for run-length encoding, where this is unknown."""
    offset, width, height, bits, compression = map(int, struct.unpack("<I4xiixxHI", data[10:34]))
    return bool(compression) or len(data) > offset + (width * bits + 31) // 32 * 4 * abs(height)


def _as_png(data: bytes, spec: Preprocess) -> bytes:
    stream = io.BytesIO()
    decode(data, spec).save(stream, "PNG")
    return stream.getvalue()
