"""Strip camera metadata (position, time, owner, serial number) from photos that travel: in bundles, and from the field.

Only pixel data, orientation, and the numbers of a colour profile other than sRGB are kept.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags

from .decoding.colour import colours_of
from .errors import InputError
from .preprocess import Preprocess, decode, fit, open_photo, orientation_of

_JPEG, _PNG, _WEBP = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF"
# JFIF and Adobe define the colour coding (ITU-T T.871; Adobe's "Supporting the DCT Filters in PostScript Level 2").
_JFIF, _ADOBE, _EXIF, _ICC = 0xE0, 0xEE, 0xE1, 0xE2
_SOS, _EOI, _COMMENT = 0xDA, 0xD9, 0xFE
# PNG (third edition), 5.6: the chunks that Pillow decodes the first image from.
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# WebP container specification; the flags of VP8X list the other chunks present.
_WEBP_KEPT = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
_WEBP_ICC, _WEBP_EXIF, _WEBP_XMP = 0x20, 0x08, 0x04
# ICC.1:2022, 9.2: the tags that conversion is computed from; the others are texts, names, dates and measurements.
_ICC_KEPT = (
    *(b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC", b"wtpt", b"bkpt", b"chad"),
    *(b"A2B0", b"A2B1", b"A2B2", b"B2A0", b"B2A1", b"B2A2"),
)
# ICC.1:2022, 7.2: preferred module, date, platform, manufacturer, model, creator and identifier.
_ICC_CLEARED = ((4, 8), (24, 36), (40, 44), (48, 56), (80, 100))
_ICC_HEADER_BYTES = 128
# Profile data in a JPEG segment (ICC.1:2022, B.4).
_ICC_SEGMENT_BYTES = 65_519
# A BMP with this header has no colour profile, embedded or linked; edgetl writes such files for arrays.
_PLAIN_BMP_HEADER_BYTES = 40


def without_metadata(data: bytes, spec: Preprocess, *, name: str) -> tuple[bytes, str]:
    """Return a photo's file without metadata, and the new suffix of its name, "" if unchanged.

    JPEG, PNG and WebP keep pixels, orientation and colours only, without recompression. A plain BMP is unchanged. Other
    formats (TIFF, GIF) are decoded and saved as PNG.

    Args:
        data: Content of a decodable photo.
        spec: Preprocessing of the bundle's models.
        name: Name of the photo in errors.

    Raises:
        InputError: The decoded pixels would change.
    """
    turn, profile = _kept(data, spec, name)
    if data.startswith(_JPEG):
        stripped, suffix = _jpeg(data, turn, profile), ""
    elif data.startswith(_PNG):
        stripped, suffix = _png(data, turn, profile), ""
    elif data.startswith(_WEBP):
        stripped, suffix = _webp(data, turn, profile), ""
    elif data.startswith(b"BM") and data[14:18] == struct.pack("<I", _PLAIN_BMP_HEADER_BYTES) and not _has_tail(data):
        return data, ""
    else:
        stripped, suffix = _as_png(data, spec), ".png"
    if stripped == data:
        return data, ""
    before, after = (decode(one, spec) for one in (data, stripped))
    same = before.size == after.size and np.array_equal(np.asarray(before), np.asarray(after))
    if not same or not np.array_equal(fit(before, spec), fit(after, spec)):
        raise InputError(
            f"{name}: its metadata cannot be removed without changing its pixels",
            why="photos that travel must not contain positions, names or serial numbers",
            hint="Save it again, as PNG for example.",
        )
    return stripped, suffix


def _kept(data: bytes, spec: Preprocess, name: str) -> tuple[int, bytes]:
    """Return the EXIF orientation and the colour profile used in decoding; 1 and b"" if there are none."""
    with open_photo(data, name) as image:
        found = orientation_of(image)
        converts = spec.colours == "srgb" and colours_of(image, name).transform is not None
        profile = _bare_profile(bytes(image.info["icc_profile"])) if converts else b""
    return (found if isinstance(found, int) and 1 <= found <= 8 else 1), profile


def _bare_profile(profile: bytes) -> bytes:
    """Return an ICC profile reduced to the numbers needed to convert colours (ICC.1:2022, 7)."""
    head = bytearray(profile[:_ICC_HEADER_BYTES])
    for start, end in _ICC_CLEARED:
        head[start:end] = bytes(end - start)
    table = profile[_ICC_HEADER_BYTES + 4 :]
    (count,) = struct.unpack(">I", profile[_ICC_HEADER_BYTES : _ICC_HEADER_BYTES + 4])
    tags = [struct.unpack(">4sII", table[12 * i : 12 * i + 12]) for i in range(min(count, len(table) // 12))]
    tags = [tag for tag in tags if tag[0] in _ICC_KEPT]
    place, entries, body, moved = _ICC_HEADER_BYTES + 4 + 12 * len(tags), [], bytearray(), dict[int, int]()
    for kind, offset, size in tags:
        if offset not in moved:
            moved[offset] = place + len(body)
            body += profile[offset : offset + size].ljust(-(-size // 4) * 4, b"\0")
        entries.append(struct.pack(">4sII", kind, moved[offset], size))
    head[:4] = struct.pack(">I", place + len(body))
    return bytes(head) + struct.pack(">I", len(tags)) + b"".join(entries) + bytes(body)


def _exif(turn: int) -> bytes:
    """Return a TIFF structure with only the orientation tag (CIPA DC-008)."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, ExifTags.Base.Orientation, 3, 1, turn, 0, 0)


def _jpeg(data: bytes, turn: int, profile: bytes) -> bytes:
    kept = [_JPEG]
    if turn != 1:
        body = b"Exif\0\0" + _exif(turn)
        kept.append(_segment(_EXIF, body))
    parts = [profile[place : place + _ICC_SEGMENT_BYTES] for place in range(0, len(profile), _ICC_SEGMENT_BYTES)]
    for number, part in enumerate(parts, 1):
        kept.append(_segment(_ICC, b"ICC_PROFILE\0" + bytes([number, len(parts)]) + part))
    for marker, segment in _segments(data):
        if marker == _JFIF and segment[4:9] == b"JFIF\0" and len(segment) >= 18:
            # Drop the thumbnail: keep version and density, set its size to zero.
            body = segment[4:16] + b"\0\0"
            kept.insert(1, _segment(_JFIF, body))
        elif (marker == _ADOBE and segment[4:9] == b"Adobe") or not (_JFIF <= marker <= 0xEF or marker == _COMMENT):
            kept.append(segment)
    return b"".join(kept)


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


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


def _png(data: bytes, turn: int, profile: bytes) -> bytes:
    kept, place = [_PNG], len(_PNG)
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        kind, end = data[place + 4 : place + 8], place + 12 + length
        if kind == b"IDAT" and turn != 1 and kept[-1][4:8] != b"IDAT":
            kept.append(_png_chunk(b"eXIf", _exif(turn)))
        if kind in _PNG_KEPT:
            kept.append(data[place:end])
        if kind == b"IHDR" and profile:
            kept.append(_png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile)))
        place = end
        if kind == b"IEND":
            break
    return b"".join(kept)


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _webp(data: bytes, turn: int, profile: bytes) -> bytes:
    kept, place = [], 12
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while place + 8 <= end:
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        chunk = data[place : place + 8 + size + size % 2]
        if chunk[:4] == b"VP8X":
            flags = chunk[8] & ~(_WEBP_ICC | _WEBP_EXIF | _WEBP_XMP) | (_WEBP_EXIF if turn != 1 else 0)
            chunk = chunk[:8] + bytes([flags | (_WEBP_ICC if profile else 0)]) + chunk[9:]
        if chunk[:4] in _WEBP_KEPT:
            kept.append(chunk)
        if chunk[:4] == b"VP8X" and profile:
            kept.append(_webp_chunk(b"ICCP", profile))
        place += len(chunk)
    if turn != 1:
        kept.append(_webp_chunk(b"EXIF", _exif(turn)))
    content = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def _webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _has_tail(data: bytes) -> bool:
    """Whether a BMP has bytes after its pixels; True for run-length encoding, where this is unknown."""
    offset, width, height, bits, compression = map(int, struct.unpack("<I4xiixxHI", data[10:34]))
    return bool(compression) or len(data) > offset + (width * bits + 31) // 32 * 4 * abs(height)


def _as_png(data: bytes, spec: Preprocess) -> bytes:
    stream = io.BytesIO()
    image = decode(data, spec)
    profile = image.info.get("icc_profile")
    converts = spec.colours == "srgb" and colours_of(image, "the photo").transform is not None
    image.save(stream, "PNG", icc_profile=_bare_profile(profile) if profile and converts else None)
    return stream.getvalue()
