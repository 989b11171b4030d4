"""Verify Ed25519 signatures (RFC 8032) in plain Python, for boards for which ``cryptography`` has no wheel.

Verifying handles no secrets, so it need not run in constant time. Points are in the extended coordinates (X, Y, Z, T)
of RFC 8032, section 5.1.4: x = X/Z, y = Y/Z, x y = T/Z.
"""

from __future__ import annotations

import hashlib

_Point = tuple[int, int, int, int]

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT_OF_MINUS_1 = pow(2, (_P - 1) // 4, _P)
_NEUTRAL: _Point = (0, 1, 1, 0)


def is_public_key(public: bytes) -> bool:
    """Whether 32 bytes are a key for which this module and OpenSSL agree: a canonically encoded point of large order.

    Keys derived as in RFC 8032 always are. A point of small order has signatures that are valid for any message.
    """
    point = _decoded(public)
    return point is not None and not _same(_times(8, point), _NEUTRAL)


def is_valid(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature of 64 bytes is valid for a message.

    As in OpenSSL, S must be below the group's order, and R is compared as bytes (RFC 8032, section 5.1.7, without the
    cofactor), so that each R has at most one valid signature.

    Args:
        public: A key for which :func:`is_public_key` is true; for other bytes the result is meaningless.
        message: Of any length.
        signature: R and S.
    """
    point = _decoded(public)
    if point is None or len(signature) != 64:
        return False
    first, scalar = signature[:32], int.from_bytes(signature[32:], "little")
    if scalar >= _ORDER:
        return False
    challenge = int.from_bytes(hashlib.sha512(first + public + message).digest(), "little") % _ORDER
    x, y, z, t = point
    return _encoded(_sum_of_multiples(scalar, _BASE, challenge, (-x % _P, y, z, -t % _P))) == first


def _decoded(data: bytes) -> _Point | None:
    """Decode a point; None if the bytes are not the canonical encoding of one."""
    if len(data) != 32:
        return None
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & ((1 << 255) - 1)
    if y >= _P:
        return None
    x = _x_of(y, sign)
    return None if x is None else (x, y, 1, x * y % _P)


def _x_of(y: int, sign: int) -> int | None:
    """Return the x with this parity and -x^2 + y^2 = 1 + d x^2 y^2 (section 5.1.3); None if there is none."""
    squared = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    if squared == 0:
        return None if sign else 0
    x = pow(squared, (_P + 3) // 8, _P)
    if (x * x - squared) % _P:
        x = x * _ROOT_OF_MINUS_1 % _P
    if (x * x - squared) % _P:
        return None
    return x if x & 1 == sign else _P - x


def _encoded(point: _Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, _P - 2, _P)
    return ((y * inverse % _P) | ((x * inverse % _P & 1) << 255)).to_bytes(32, "little")


def _add(one: _Point, other: _Point) -> _Point:
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a, b = (y1 - x1) * (y2 - x2) % _P, (y1 + x1) * (y2 + x2) % _P
    c, d = 2 * t1 * t2 * _D % _P, 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(number: int, point: _Point) -> _Point:
    return _sum_of_multiples(number, point, 0, _NEUTRAL)


def _sum_of_multiples(m: int, one: _Point, n: int, other: _Point) -> _Point:
    """Return m * one + n * other, sharing the doublings (Shamir's trick)."""
    by_bits = (_NEUTRAL, one, other, _add(one, other))
    total = _NEUTRAL
    for bit in reversed(range(max(m.bit_length(), n.bit_length()))):
        total = _add(total, total)
        if which := (m >> bit & 1) | (n >> bit & 1) << 1:
            total = _add(total, by_bits[which])
    return total


def _same(one: _Point, other: _Point) -> bool:
    (x1, y1, z1, _), (x2, y2, z2, _) = one, other
    return (x1 * z2 - x2 * z1) % _P == 0 and (y1 * z2 - y2 * z1) % _P == 0


_BASE_Y = 4 * pow(5, _P - 2, _P) % _P
_BASE_X = _x_of(_BASE_Y, 0)
assert _BASE_X is not None
_BASE: _Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)
