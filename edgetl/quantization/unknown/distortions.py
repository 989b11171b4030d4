"""Draw photos that no classifier can read: a covered lens, camera motion, a wrong exposure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
_Random = np.random.Generator
# float32 [H, W, C] to float32 [H, W, C], both of 0..255.
_Draw = Callable[[npt.NDArray[np.float32], _Random], npt.NDArray[np.float32]]


def _covered(photo: npt.NDArray[np.float32], random: _Random) -> npt.NDArray[np.float32]:
    """Draw a finger or a cap on the lens: a dark colour with a soft gradient, noise, and 3% of the light."""
    down, across = (np.linspace(-1, 1, side, dtype=np.float32) for side in photo.shape[:2])
    slope = random.normal(0, 8, 2)
    gradient = slope[0] * down[:, None, None] + slope[1] * across[None, :, None]
    noise = random.normal(0, 4, photo.shape)
    return np.asarray(random.uniform(2, 40, photo.shape[-1]) + gradient + noise + 0.03 * photo, np.float32)


def _moved(photo: npt.NDArray[np.float32], _: _Random) -> npt.NDArray[np.float32]:
    """Draw horizontal motion over a quarter of the width during the exposure."""
    length = max(2, photo.shape[1] // 4)
    padded = np.pad(photo, ((0, 0), (length, length), (0, 0)), mode="edge").cumsum(axis=1, dtype=np.float64)
    mean = (padded[:, length:] - padded[:, :-length]) / length
    start = length // 2
    return np.asarray(mean[:, start : start + photo.shape[1]], np.float32)


def _overexposed(photo: npt.NDArray[np.float32], random: _Random) -> npt.NDArray[np.float32]:
    """Draw four to eight times the light, so that most channels are at 255."""
    return np.asarray(photo * random.uniform(4, 8), np.float32)


def _underexposed(photo: npt.NDArray[np.float32], random: _Random) -> npt.NDArray[np.float32]:
    """Draw a twelfth to a twenty-fourth of the light, with the noise of a sensor."""
    return np.asarray(photo / random.uniform(12, 24) + random.normal(0, 3, photo.shape), np.float32)


DISTORTIONS: dict[str, _Draw] = {
    "lens covered": _covered,
    "moved": _moved,
    "overexposed": _overexposed,
    "underexposed": _underexposed,
}


def drawn(name: str, pixels: Pixels) -> Pixels:
    """Return photos, uint8 [n, H, W, C], with the distortion of this name drawn into them; the same each time."""
    found = np.empty_like(pixels)
    for place, photo in enumerate(pixels):
        distorted = DISTORTIONS[name](photo.astype(np.float32), np.random.default_rng(place))
        found[place] = np.clip(np.round(distorted), 0, 255).astype(np.uint8)
    return found
