"""Lay one small picture on another, and say how well they agree: Gauss-Newton registration of scale and offset.

After B. D. Lucas and T. Kanade, "An iterative image registration technique with an application to stereo vision", 1981:
for scale and offset along each axis, with brightness and contrast free, and for all pairs at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float32]

# (pixels averaged along each axis, blurs, steps): coarse first, so that details do not trap the search.
_SCHEDULE = ((2, 2, 5), (1, 1, 3))
_LARGEST_STEP = 0.06
# A copy that keeps 85% of a side is scaled by 1.18.
_LARGEST_SCALE = 1.25
_LARGEST_OFFSET = 0.25
# Blurring thrice and subtracting leaves details of up to about 4 pixels.
_DETAIL_BLURS = 3


@dataclass(frozen=True, eq=False)
class Agreement:
    """How well pairs of pictures agree; arrays float32 [pairs].

    Attributes:
        whole: Correlation of the pixels that both show.
        whole_with_scene: The same, with what all photos share.
        detail: Correlation of their details alone. Unlike photos with similar light and dark areas have little.
        overlap: Share of the first picture that the second shows too.
    """

    whole: Array
    whole_with_scene: Array
    detail: Array
    overlap: Array


def agreement(first: Array, second: Array, background: Array, *, register: bool) -> Agreement:
    """Compare pairs of pictures, as they are or with the second one registered on the first.

    What all photos of a data set share, such as the scene of a fixed camera, is no evidence: pairs are compared with
    and without it, and the lower correlation counts.

    Args:
        first: Grey values of zero mean and unit variance, float32 [pairs, n, n].
        second: The same of the others.
        background: What the photos share, in the coordinates of ``first``, float32 [pairs, kinds, n, n].
        register: Find scale and offset; otherwise they are 1 and 0.
    """
    found = _register(first, second) if register else _unchanged(len(first))
    warped, shown = _warp(second, found)
    mask = shown.astype(np.float32)
    with_scene, detail = correlation(first, warped, mask), correlation(_detail(first), _detail(warped), mask)
    whole = with_scene
    for shared in np.moveaxis(background, 1, 0):
        a, b = first - shared, warped - shared
        whole = np.minimum(whole, correlation(a, b, mask))
        detail = np.minimum(detail, correlation(_detail(a), _detail(b), mask))
    return Agreement(whole, with_scene, detail, mask.mean((1, 2)))


def correlation(first: Array, second: Array, mask: Array) -> Array:
    """Return the Pearson correlation of each pair where ``mask`` is 1; 0 where one of them is flat; float32 [pairs]."""
    count = np.maximum(mask.sum((1, 2), keepdims=True), 1)
    first = (first - (first * mask).sum((1, 2), keepdims=True) / count) * mask
    second = (second - (second * mask).sum((1, 2), keepdims=True) / count) * mask
    product = np.einsum("mij,mij->m", first, second)
    energy = np.einsum("mij,mij->m", first, first) * np.einsum("mij,mij->m", second, second)
    result: Array = np.where(energy > 1e-6, product / np.sqrt(np.maximum(energy, 1e-6)), 0).astype(np.float32)
    return result


def agreement_of_shapes(first: Array, second: Array) -> Array:
    """Return the correlation of large shapes alone after coarse registration, float32 [pairs]; a fast first look.

    Args:
        first: As for :func:`agreement`.
        second: As for :func:`agreement`.
    """
    pixels, blurs, _ = _SCHEDULE[0]
    target, source = _blur(_reduced(first, pixels), blurs), _blur(_reduced(second, pixels), blurs)
    warped, shown = _warp(source, _register(first, second, _SCHEDULE[:1]))
    return correlation(target, warped, shown.astype(np.float32))


def _register(first: Array, second: Array, schedule: Sequence[tuple[int, int, int]] = _SCHEDULE) -> Array:
    """Return scale x, offset x, scale y, offset y of each pair, float32 [pairs, 4], in coordinates of -1..1."""
    found = _unchanged(len(first))
    for pixels, blurs, steps in schedule:
        target, source = _blur(_reduced(first, pixels), blurs), _blur(_reduced(second, pixels), blurs)
        for _ in range(steps):
            found += _step(target, source, found)
            found[:, ::2] = np.clip(found[:, ::2], 1 / _LARGEST_SCALE, _LARGEST_SCALE)
            found[:, 1::2] = np.clip(found[:, 1::2], -_LARGEST_OFFSET, _LARGEST_OFFSET)
    return found


def _unchanged(count: int) -> Array:
    return np.tile(np.array([1, 0, 1, 0], np.float32), (count, 1))


def _step(target: Array, source: Array, found: Array) -> Array:
    """Return one Gauss-Newton step: least squares of the target on the warped source and its derivatives."""
    warped, shown = _warp(source, found)
    place = _places(target.shape[1])
    down, right = np.gradient(warped, axis=(1, 2))
    per_unit = np.float32(target.shape[1] / 2)
    right = right * per_unit / found[:, 0, None, None]
    down = down * per_unit / found[:, 2, None, None]
    columns = [right * place, right, down * place[:, None], down, warped, np.ones_like(warped)]
    design = np.stack(columns, -1).reshape(len(target), -1, 6)
    weighted = design * shown.reshape(len(target), -1, 1)
    normal = np.swapaxes(weighted, 1, 2) @ design
    # A little damping: a picture with stripes says nothing about the offset along them.
    damping = 1e-6 + 1e-4 * np.trace(normal, axis1=1, axis2=2) / 6
    normal += damping[:, None, None] * np.eye(6, dtype=np.float32)
    right_side = np.swapaxes(weighted, 1, 2) @ target.reshape(len(target), -1, 1)
    solved = np.linalg.solve(normal, right_side)[:, :, 0]
    contrast = np.maximum(np.abs(solved[:, 4:5]), 0.2)
    step: Array = np.clip(solved[:, :4] / contrast, -_LARGEST_STEP, _LARGEST_STEP).astype(np.float32)
    return step


def _warp(pictures: Array, found: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Scale and shift pictures bilinearly; return them and which of their pixels exist."""
    across, shown_across = _sampling(found[:, 0], found[:, 1], pictures.shape[2])
    along, shown_along = _sampling(found[:, 2], found[:, 3], pictures.shape[1])
    warped: Array = (along @ pictures @ np.swapaxes(across, 1, 2)).astype(np.float32)
    return warped, shown_along[:, :, None] & shown_across[:, None, :]


def _sampling(scale: Array, offset: Array, size: int) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Return the bilinear weights along one axis, [pairs, size, size], and which samples are inside, [pairs, size]."""
    source = ((scale[:, None] * _places(size) + offset[:, None]) + 1) / 2 * size - np.float32(0.5)
    inside = (source >= -0.5) & (source <= size - 0.5)
    distance = np.abs(np.clip(source, 0, size - 1)[:, :, None] - np.arange(size, dtype=np.float32))
    return np.maximum(0, 1 - distance), inside


def _places(size: int) -> Array:
    """Return the centres of ``size`` pixels in -1..1."""
    return ((np.arange(size, dtype=np.float32) + np.float32(0.5)) / size * 2 - 1).astype(np.float32)


def _reduced(pictures: Array, pixels: int) -> Array:
    """Average ``pixels`` x ``pixels`` into one."""
    count, height, width = pictures.shape
    reduced: Array = pictures.reshape(count, height // pixels, pixels, width // pixels, pixels).mean((2, 4))
    return reduced


def _detail(pictures: Array) -> Array:
    return pictures - _blur(pictures, _DETAIL_BLURS)


def _blur(pictures: Array, times: int) -> Array:
    """Blur with the kernel 1 2 1 along both axes, ``times`` times."""
    for _ in range(times):
        padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1)), mode="edge")
        rows = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
        pictures = ((rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4).astype(np.float32)
    return pictures
