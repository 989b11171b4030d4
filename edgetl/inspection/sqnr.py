"""Signal-to-quantization-noise ratio in decibels, and its JSON form, as JSON has no infinities."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgetl_device._lib.documents import Unknown


def sqnr_db(exact: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> float:
    """Return 10 log10(sum x^2 / sum (x - y)^2) of two arrays of one shape, summed in float64.

    Twice the error is 6 dB less. inf without any error, -inf if ``exact`` is all zeros.
    Used layer by layer by Sheng et al. 2018, "A Quantization-Friendly Separable Convolution for MobileNets"
    (arXiv:1803.08607).
    """
    signal, noise = (
        float(np.einsum("i,i->", values, values, dtype=np.float64))
        for values in (exact.ravel(), np.subtract(found, exact, dtype=np.float32).ravel())
    )
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def decibels(value: float) -> float | Unknown:
    """Return decibels in JSON form: infinite values are unknown, with the reason."""
    if math.isfinite(value):
        return round(value, 3)
    return Unknown("no error" if value > 0 else "the exact values are all zero")
