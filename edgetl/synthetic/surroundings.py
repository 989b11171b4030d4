"""Procedural table tops and clutter around the part."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from .parts import Field

# More values than the largest photo needs, so that every photo gets its own slice.
_BANK_LENGTH = 1 << 22


@functools.cache
def _bank() -> npt.NDArray[np.float32]:
    """Return normal noise shared by all photos: drawing it anew would take a third of a photo's time."""
    return np.random.default_rng(20260101).standard_normal(_BANK_LENGTH, dtype=np.float32)


def grain(shape: tuple[int, ...], rng: np.random.Generator) -> Field:
    """Return standard normal noise, float32; a shared view, never modify it."""
    count = math.prod(shape)
    start = int(rng.integers(_BANK_LENGTH - count))
    return _bank()[start : start + count].reshape(shape)


def enlarge(coarse: Field, shape: tuple[int, ...]) -> Field:
    """Return a small field smoothly upsampled to ``shape`` [h, w]."""
    return np.asarray(Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def background(width: int, height: int, rng: np.random.Generator) -> Field:
    """Return a table top, float32 [height, width, 3] in 0..1: wood, cloth, concrete, metal, a mat, card or paint."""
    make = _TOPS[int(rng.integers(len(_TOPS)))]
    pattern, low, high = make((height, width), rng)
    first, second = np.asarray(low, np.float32), np.asarray(high, np.float32)
    return first + np.clip(pattern, 0, 1)[..., None] * (second - first)


_Top = tuple[Field, tuple[float, ...], tuple[float, ...]]


def _blotches(shape: tuple[int, int], rng: np.random.Generator, cells: int) -> Field:
    rows = max(2, round(cells * shape[0] / max(shape)))
    columns = max(2, round(cells * shape[1] / max(shape)))
    return enlarge(rng.standard_normal((rows, columns), dtype=np.float32), shape)


def _scaled(colour: tuple[float, float, float], factor: float) -> tuple[float, ...]:
    return tuple(channel * factor for channel in colour)


def _muted(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return a random colour for cloth or paint: any hue, mostly low saturation."""
    grey = rng.uniform(0.06, 0.45)
    red, green, blue = (grey * (1 + hue) for hue in rng.uniform(-0.5, 0.5, 3).tolist())
    return red, green, blue


def _wood(shape: tuple[int, int], rng: np.random.Generator) -> _Top:
    long = max(shape)
    fibres = enlarge(rng.standard_normal((long, 5), dtype=np.float32), (long, long))
    rings = enlarge(rng.standard_normal((7, 3), dtype=np.float32), (long, long))
    y = np.linspace(0, rng.uniform(4, 12), long, dtype=np.float32)[:, None]
    pattern = 0.5 + 0.25 * np.sin(2 * math.pi * (y + 0.8 * rings)) + 0.12 * fibres
    if rng.random() < 0.5:  # planks
        board = (np.arange(long) + rng.integers(long)) % int(long * rng.uniform(0.3, 0.7))
        pattern[board < 2] = -0.3
    pattern = pattern[: shape[0], : shape[1]] if rng.random() < 0.5 else pattern.T[: shape[0], : shape[1]]
    base = ((0.42, 0.25, 0.13), (0.55, 0.38, 0.22), (0.26, 0.14, 0.07), (0.62, 0.5, 0.34))[int(rng.integers(4))]
    return pattern, _scaled(base, 0.55), _scaled(base, 1.15)


def _cloth(shape: tuple[int, int], rng: np.random.Generator) -> _Top:
    thread = rng.uniform(2.5, 5)
    x = np.sin(np.arange(shape[1], dtype=np.float32) * np.float32(2 * math.pi / thread))
    y = np.sin(np.arange(shape[0], dtype=np.float32)[:, None] * np.float32(2 * math.pi / thread))
    pattern = 0.5 + 0.16 * x * y + 0.16 * _blotches(shape, rng, 5) + 0.07 * grain(shape, rng)
    base = _muted(rng)
    return pattern, _scaled(base, 0.45), _scaled(base, 1.25)


def _concrete(shape: tuple[int, int], rng: np.random.Generator) -> _Top:
    pattern = 0.55 + 0.12 * _blotches(shape, rng, 6) + 0.1 * _blotches(shape, rng, 40) + 0.1 * grain(shape, rng)
    pits = _blotches(shape, rng, 70)
    pattern -= 0.5 * (pits > 2.1)
    grey = rng.uniform(0.2, 0.6)
    return pattern, (0.4 * grey, 0.4 * grey, 0.4 * grey), (1.2 * grey, 1.18 * grey, 1.12 * grey)


def _plate(shape: tuple[int, int], rng: np.random.Generator) -> _Top:
    long = max(shape)
    brushed = enlarge(rng.standard_normal((long, 12), dtype=np.float32), (long, long))
    brushed = brushed if rng.random() < 0.5 else brushed.T
    pattern = 0.5 + 0.14 * brushed[: shape[0], : shape[1]] + 0.15 * _blotches(shape, rng, 3)
    grey = rng.uniform(0.3, 0.6)
    return pattern, (0.6 * grey, 0.61 * grey, 0.63 * grey), (1.2 * grey, 1.22 * grey, 1.26 * grey)


def _mat(shape: tuple[int, int], rng: np.random.Generator) -> _Top:
    step = rng.uniform(0.08, 0.2) * max(shape)
    pattern = 0.3 + 0.05 * grain(shape, rng) + 0.06 * _blotches(shape, rng, 6)
    lines = float(rng.uniform(0.15, 0.6))
    start_y, start_x = rng.uniform(0, step, 2)
    pattern[np.arange(start_y, shape[0], step).astype(int)] += lines
    pattern[:, np.arange(start_x, shape[1], step).astype(int)] += lines
    base = ((0.05, 0.3, 0.2), (0.08, 0.16, 0.4), (0.15, 0.15, 0.16), (0.5, 0.1, 0.1))[int(rng.integers(4))]
    return pattern, _scaled(base, 0.6), _scaled(base, 2.0)


def _card(shape: tuple[int, int], rng: np.random.Generator) -> _Top:
    pattern = 0.5 + 0.12 * grain(shape, rng) + 0.1 * _blotches(shape, rng, 30) + 0.1 * _blotches(shape, rng, 3)
    base = ((0.5, 0.36, 0.22), (0.75, 0.74, 0.7), (0.1, 0.1, 0.11), (0.6, 0.55, 0.4))[int(rng.integers(4))]
    return pattern, _scaled(base, 0.75), _scaled(base, 1.15)


def _paint(shape: tuple[int, int], rng: np.random.Generator) -> _Top:
    """Painted sheet metal with scratches and worn spots."""
    pattern = 0.3 + 0.06 * _blotches(shape, rng, 4) + 0.02 * grain(shape, rng)
    pattern += 0.5 * (_blotches(shape, rng, 14) + 0.3 * grain(shape, rng) > rng.uniform(1.6, 2.6))
    base = _muted(rng)
    return pattern, _scaled(base, 0.7), tuple(0.3 + channel for channel in base)


_TOPS = (_wood, _wood, _cloth, _concrete, _plate, _mat, _card, _paint)


def clutter(canvas: Field, rng: np.random.Generator, *, count: int) -> None:
    """Draw ``count`` workbench objects with their shadows: cables, swarf, pencils, scraps, oil stains."""
    if not count:
        return
    height, width = canvas.shape[:2]
    for _ in range(count):
        mask = Image.new("L", (width, height))
        colour, opacity = _THINGS[int(rng.integers(len(_THINGS)))](ImageDraw.Draw(mask), width, height, rng)
        box = mask.getbbox()
        if box is None:
            continue
        left, top, right, bottom = max(box[0] - 6, 0), max(box[1] - 6, 0), box[2] + 6, box[3] + 6
        mask = mask.crop((left, top, min(right, width), min(bottom, height)))
        window = canvas[top:bottom, left:right]
        if opacity < 1:  # a stain: soft, without a shadow
            alpha = np.asarray(mask.filter(ImageFilter.BoxBlur(4)), np.float32) * np.float32(opacity / 255)
        else:
            alpha = np.asarray(mask, np.float32) * np.float32(1 / 255)
            shift = tuple(int(step) for step in rng.integers(-5, 6, 2))
            window *= 1 - 0.45 * np.roll(alpha, shift, (0, 1))[..., None]
        window += (np.asarray(colour, np.float32) - window) * alpha[..., None]


_Thing = tuple[tuple[float, ...], float]


def _cable(pen: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> _Thing:
    steps = np.linspace(0, 1, 24)
    ends = rng.uniform(-0.2, 1.2, (4, 2)) * (width, height)
    weights = np.stack([(1 - steps) ** 3, 3 * steps * (1 - steps) ** 2, 3 * steps**2 * (1 - steps), steps**3])
    points = (weights[:, :, None] * ends[:, None, :]).sum(0)
    pen.line([tuple(point) for point in points], fill=255, width=int(rng.integers(3, 9)), joint="curve")
    return tuple(rng.choice([0.05, 0.1, 0.5], 3)), 1.0


def _pencil(pen: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> _Thing:
    start = rng.uniform(0, 1, 2) * (width, height)
    angle, length = rng.uniform(0, 2 * math.pi), rng.uniform(0.4, 1.2) * width
    end = start + length * np.array((math.cos(angle), math.sin(angle)))
    pen.line([tuple(start), tuple(end)], fill=255, width=int(rng.integers(6, 18)))
    return tuple(rng.uniform(0.05, 0.7, 3)), 1.0


def _scrap(pen: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> _Thing:
    centre, reach = rng.uniform(0, 1, 2) * (width, height), rng.uniform(0.05, 0.16) * width
    angles = np.sort(rng.uniform(0, 2 * math.pi, 5))
    corners = centre + reach * np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.6, 1.2, (5, 1))
    pen.polygon([tuple(corner) for corner in corners], fill=255)
    return tuple(np.clip(rng.uniform(0.1, 0.8) + rng.normal(0, 0.08, 3), 0, 1)), 1.0


def _swarf(pen: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> _Thing:
    for _ in range(int(rng.integers(4, 16))):
        left, top = rng.uniform(0, width), rng.uniform(0, height)
        across = rng.uniform(4, 16)
        start = rng.uniform(0, 360)
        pen.arc(
            (left, top, left + across, top + across * rng.uniform(0.4, 1)), start, start + rng.uniform(90, 250), 255
        )
    return (0.7, 0.7, 0.72), 1.0


def _stain(pen: ImageDraw.ImageDraw, width: int, height: int, rng: np.random.Generator) -> _Thing:
    for _ in range(3):
        left, top = rng.uniform(-0.1, 0.9) * width, rng.uniform(-0.1, 0.9) * height
        pen.ellipse((left, top, left + rng.uniform(0.05, 0.3) * width, top + rng.uniform(0.05, 0.3) * height), fill=255)
    return (0.04, 0.03, 0.02), float(rng.uniform(0.2, 0.7))


_THINGS = (_cable, _pencil, _scrap, _swarf, _stain)
