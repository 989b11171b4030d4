"""Strip large texts and profiles from a PNG, which Pillow would refuse although they do not affect the pixels.

Pillow limits what a compressed chunk may unpack to, and refuses the whole photo (``PngImagePlugin.MAX_TEXT_CHUNK``,
1 MB each, 64 MB in all).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from .colour import MAX_PROFILE_BYTES

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Below Pillow's limits, so that every version reads the rest.
_TEXT_BYTES, _ALL_TEXT_BYTES = 1 << 19, 1 << 24
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


def without_large_texts(data: bytes) -> tuple[bytes, bytes | None]:
    """Return a PNG without texts and a profile of over 0.5 MB, and that profile.

    After 16 MB of texts, further ones are dropped unread: a chunk may unpack to 1,000 times its size. Of several
    profiles the first counts, as in libpng. The profile is None if it stays in the PNG or there is none, and empty if
    it is damaged or larger than :data:`.colour.MAX_PROFILE_BYTES`. A PNG without such chunks is returned unchanged.
    """
    kept: list[bytes] = []
    profile: bytes | None = None
    start, texts, profiles = 0, 0, 0
    for kind, place, end in _chunks(data):
        large = False
        if kind in _TEXTS:
            large = texts > _ALL_TEXT_BYTES
            if not large:
                size = _unpacked_bytes(kind, data[place + 8 : end - 4])
                texts += size
                large = size > _TEXT_BYTES or texts > _ALL_TEXT_BYTES
        elif kind == b"iCCP":
            profiles += 1
            large = profiles > 1
            if not large:
                _, _, packed = data[place + 8 : end - 4].partition(b"\0")
                unpacked = _unpack(packed[1:], MAX_PROFILE_BYTES + 1)
                large = unpacked is None or len(unpacked) > _TEXT_BYTES
            if large and profiles == 1:
                profile = b"" if unpacked is None or len(unpacked) > MAX_PROFILE_BYTES else unpacked
        if large:
            kept.append(data[start:place])
            start = end
    return (b"".join([*kept, data[start:]]) if kept else data), profile


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type, the start and the end of each complete chunk."""
    place = len(SIGNATURE)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        kind = data[place + 4 : place + 8]
        if end > len(data):
            return
        yield kind, place, end
        if kind == b"IEND":
            return
        place = end


def _unpacked_bytes(kind: bytes, body: bytes) -> int:
    """Return the size of a text chunk's content, capped at one byte over the limit (PNG, third edition, 11.3.3)."""
    _, _, rest = body.partition(b"\0")
    if kind == b"iTXt":
        compressed, rest = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
    else:
        compressed, rest = kind == b"zTXt", rest[1:] if kind == b"zTXt" else rest
    if not compressed:
        return len(rest)
    unpacked = _unpack(rest, _TEXT_BYTES + 1)
    return len(rest) if unpacked is None else len(unpacked)


def _unpack(packed: bytes, limit: int) -> bytes | None:
    """Return the first ``limit`` bytes of compressed data; None if it is damaged."""
    try:
        return zlib.decompressobj().decompress(packed, limit)
    except zlib.error:
        return None
