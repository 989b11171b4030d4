"""ICC profiles for tests, written from the specification (ICC.1:2022): matrix, grey and CMYK profiles."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

# Colorants adapted to D50, by the primaries' chromaticities and Bradford: columns are red, green and blue.
DISPLAY_P3 = ((0.51512, 0.29198, 0.15710), (0.24120, 0.69225, 0.06657), (-0.00105, 0.04189, 0.78407))
ADOBE_RGB = ((0.60974, 0.20528, 0.14919), (0.31111, 0.62567, 0.06322), (0.01947, 0.06087, 0.74457))
SRGB = ((0.43607, 0.38515, 0.14307), (0.22249, 0.71687, 0.06061), (0.01392, 0.09708, 0.71410))
_D50 = (0.9642, 1.0, 0.8249)


def rgb_profile(colorants: tuple[tuple[float, ...], ...], gamma: float | None = None, text: bytes = b"") -> bytes:
    """A display profile with three colorants and one curve: a gamma, or sRGB's if None."""
    tags = {b"wtpt": _xyz(_D50)}
    tags |= {name: _xyz([row[i] for row in colorants]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    curve = _srgb_curve() if gamma is None else _gamma(gamma)
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags, text)


def grey_profile(gamma: float) -> bytes:
    """A profile of grey levels."""
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz(_D50), b"kTRC": _gamma(gamma)})


def cmyk_profile() -> bytes:
    """A printer profile with a table of two steps per ink: paper is white, each ink has its colour's Lab value."""
    paper, inks = np.array([100.0, 0, 0]), np.array([[60, -35, -50], [50, 75, -5], [90, -5, 90], [10, 0, 0]], float)
    table = bytearray()
    for index in range(16):
        lab = paper.copy()
        for ink in range(4):
            if index >> (3 - ink) & 1:
                lab = np.array([lab[0] * inks[ink][0] / 100, *(lab[1:] + inks[ink][1:])])
        table += bytes(np.clip([lab[0] * 2.55, lab[1] + 128, lab[2] + 128], 0, 255).round().astype(np.uint8))
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    ramp = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + bytes(table) + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz(_D50), b"A2B0": lut, b"A2B1": lut})


def _profile(kind: bytes, space: bytes, connection: bytes, tags: Mapping[bytes, bytes], text: bytes = b"") -> bytes:
    tags = {**tags, b"cprt": b"text" + bytes(4) + text + b"\0"}
    place, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, place + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", place + len(body), b"test", 0x02100000, kind, space, connection)
    head += struct.pack(">6H4s4s", 2024, 5, 17, 10, 0, 0, b"acsp", b"MSFT")
    head = head.ljust(68, b"\0") + struct.pack(">3i", *(round(one * 65536) for one in _D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz(values: tuple[float, ...] | list[float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(one * 65536) for one in values))


def _gamma(gamma: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256))


def _srgb_curve() -> bytes:
    steps = np.linspace(0, 1, 1024)
    linear = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    return b"curv" + struct.pack(">II1024H", 0, 1024, *(linear * 65535).round().astype(int))
