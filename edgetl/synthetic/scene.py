"""Render one photo: background, clutter, a part in a random pose, and the artefacts of a cheap camera.

Colours are roughly linear, float32 [h, w, 3] in 0..1, until the JPEG is written. Shapes are in ``parts``, backgrounds
in ``surroundings``.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from .parts import PARTS, Field, Surface
from .surroundings import background, clutter, enlarge, grain

# Reflectance of the metals, RGB.
_METALS = np.array(
    [
        (0.72, 0.73, 0.75),  # steel
        (0.80, 0.82, 0.86),  # zinc
        (0.76, 0.70, 0.52),  # yellow zinc
        (0.80, 0.62, 0.28),  # brass
        (0.74, 0.45, 0.30),  # copper
        (0.20, 0.20, 0.22),  # black oxide
        (0.42, 0.41, 0.40),  # old, dull
    ],
    np.float32,
)
_METAL_ODDS = (0.32, 0.22, 0.1, 0.1, 0.04, 0.12, 0.1)
_RUST = np.array((0.36, 0.17, 0.08), np.float32)


@dataclass(frozen=True)
class _Light:
    """A lamp: unit vector towards it (x right, y down, z to the camera), strength relative to ambient light, colour."""

    x: float
    y: float
    z: float
    strength: float
    colour: npt.NDArray[np.float32]


def photo_jpeg(name: str, index: int, *, size: int, seed: int, comment: str) -> bytes:
    """Return photo ``index`` of part ``name`` as a JPEG file; see ``draw_dataset``."""
    rng = np.random.default_rng([seed, index, *name.encode()])
    aspect = math.sqrt(float(rng.choice([4 / 3, 4 / 3, 1, 3 / 4])))
    width, height = round(size * aspect), round(size / aspect)
    light = _lamp(rng)
    canvas = background(width, height, rng)
    clutter(canvas, rng, count=int(rng.integers(0, 4)))
    canvas *= _falloff(width, height, light, rng)[..., None]
    if rng.random() < 0.22:
        _place(canvas, str(rng.choice([other for other in PARTS if other != name])), light, rng, role="bystander")
    _place(canvas, name, light, rng, role="subject")
    if rng.random() < 0.5:
        clutter(canvas, rng, count=int(rng.integers(1, 3)))
    return _shoot(canvas, light, rng, comment)


def _lamp(rng: np.random.Generator) -> _Light:
    direction, elevation = rng.uniform(0, 2 * math.pi), rng.uniform(0.45, 1.25)
    flat = math.cos(elevation)
    warmth = rng.normal(0, 0.09)
    colour = np.array((1 + warmth, 1, 1 - warmth), np.float32)
    return _Light(
        flat * math.cos(direction), flat * math.sin(direction), math.sin(elevation), rng.uniform(0.45, 0.9), colour
    )


def _falloff(width: int, height: int, light: _Light, rng: np.random.Generator) -> Field:
    """Return the brightness over the table: brighter towards the lamp, darker in the corners."""
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope, vignette = rng.uniform(0, 0.5), rng.uniform(0, 0.22)
    return np.clip(0.85 + slope * (light.x * x + light.y * y) - vignette * (x * x + y * y), 0.1, 1.5)


def _place(canvas: Field, name: str, light: _Light, rng: np.random.Generator, *, role: str) -> None:
    """Draw a part and its shadow into ``canvas``. A bystander is smaller and mostly outside the frame."""
    height, width = canvas.shape[:2]
    side = min(width, height)
    if role == "subject":
        radius = side * rng.uniform(0.19, 0.46)
        centre_x, centre_y = (
            extent / 2 + rng.uniform(-0.5, 0.5) * (extent - 1.4 * radius) for extent in (width, height)
        )
    else:
        radius = side * rng.uniform(0.14, 0.22)
        centre_x, centre_y = rng.uniform(0, width), float(rng.choice([0, height]))
    reach = math.ceil(radius * 1.5) + 4
    left, top = max(0, int(centre_x) - reach), max(0, int(centre_y) - reach)
    right, bottom = min(width, int(centre_x) + reach), min(height, int(centre_y) + reach)

    lying = name in ("bolt", "spring")
    tilt = abs(rng.normal(0, 0.25 if lying else 0.45))
    tilt, toward, spin = min(tilt, 0.9), rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi)
    px = (np.arange(left, right, dtype=np.float32) - centre_x)[None, :] / radius
    py = (np.arange(top, bottom, dtype=np.float32) - centre_y)[:, None] / radius
    # Along ``toward`` the part is foreshortened by cos(tilt) and scaled by perspective.
    cos_t, sin_t = math.cos(toward), math.sin(toward)
    along = px * cos_t + py * sin_t
    across = py * cos_t - px * sin_t
    depth = 1 + 0.25 * math.sin(tilt) * along
    along = along / math.cos(tilt) * depth
    across = across * depth
    cos_s, sin_s = math.cos(spin), math.sin(spin)
    surface = PARTS[name](along * cos_s - across * sin_s, along * sin_s + across * cos_s, rng)

    alpha = np.clip(0.5 - surface.distance * radius * (math.cos(tilt) if not lying else 1.0), 0, 1)
    colour = _shade(surface, radius, light, rng, lean=(math.sin(tilt) * cos_t * 0.5, math.sin(tilt) * sin_t * 0.5))
    window = canvas[top:bottom, left:right]
    lift = max(surface.thickness, 0.15) * radius
    _cast_shadow(window, alpha, light, lift, rng)
    wall_px = surface.thickness * radius * math.sin(tilt)
    if wall_px >= 1:
        _draw_wall(window, alpha, colour, px, py, light, (cos_t * wall_px, sin_t * wall_px))
    _blend(window, colour, alpha)


def _blend(window: Field, colour: Field, alpha: Field) -> None:
    window += (colour - window) * alpha[..., None]


def _shade(
    surface: Surface, radius: float, light: _Light, rng: np.random.Generator, *, lean: tuple[float, float]
) -> Field:
    """Shade a metal surface: diffuse light, specular highlight, and the reflection of a bright and dark horizon."""
    shape = surface.height.shape
    slope_y, slope_x = np.gradient(surface.height * np.float32(radius))
    rough = rng.uniform(0.01, 0.09)
    slope_x = np.clip(slope_x, -2.5, 2.5) + rough * grain(shape, rng) + lean[0]
    slope_y = np.clip(slope_y, -2.5, 2.5) + rough * grain(shape, rng) + lean[1]
    dents = 0.12 * enlarge(rng.standard_normal((6, 6), dtype=np.float32), shape)
    slope_x += dents
    up = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    x, y = -slope_x * up, -slope_y * up
    toward = x * light.x + y * light.y + up * light.z
    mirror = np.clip(2 * up * toward - light.z, 0, 1)  # the view ray (0, 0, 1), mirrored, against the lamp
    mirror = mirror * mirror
    gleam = mirror * mirror
    gleam = gleam * gleam * gleam
    turn = rng.uniform(0, 2 * math.pi)
    horizon = up * (x * math.cos(turn) + y * math.sin(turn)) * rng.uniform(4, 11)
    room = 0.5 + 0.5 * horizon / (1 + np.abs(horizon))
    lit = 0.05 + light.strength * (0.38 * np.clip(toward, 0, 1) + 0.25 * mirror) + 0.5 * room * room
    if surface.tone is not None:
        lit = lit * surface.tone
        gleam = gleam * surface.tone
    metal = _METALS[rng.choice(len(_METALS), p=_METAL_ODDS)] * np.float32(rng.uniform(0.8, 1.15))
    shine = rng.uniform(0.1, 0.8) * light.strength
    rust = rng.uniform(0.2, 1.3) if rng.random() < 0.25 else 0.0
    if rust:
        patches = enlarge(rng.standard_normal((9, 9), dtype=np.float32), shape) + 0.4 * grain(shape, rng)
        share = np.clip((patches + rust - 1) * 1.5, 0, 0.9)
        colour = lit[..., None] * (metal + (_RUST - metal) * share[..., None])
        gleam = gleam * (1 - share)
    else:
        colour = lit[..., None] * metal
    colour += (gleam * np.float32(shine))[..., None]
    return np.asarray(colour)


def _cast_shadow(window: Field, alpha: Field, light: _Light, lift: float, rng: np.random.Generator) -> None:
    length = min(lift / max(light.z, 0.3), 0.6 * lift + 10)
    moved = _moved(alpha, -light.x * length * 0.7, -light.y * length * 0.7)
    # Blur at a quarter of the resolution: shadows have no fine detail.
    small = Image.fromarray((moved * 255).astype(np.uint8)).reduce(4)
    small = small.filter(ImageFilter.BoxBlur(float(0.5 + 0.05 * lift * rng.uniform(0.5, 1.5))))
    soft = np.asarray(small.resize(alpha.shape[::-1], Image.Resampling.BILINEAR), np.float32)
    window *= (1 - soft * np.float32(light.strength * rng.uniform(0.55, 0.95) / 255))[..., None]


def _draw_wall(
    window: Field, alpha: Field, colour: Field, px: Field, py: Field, light: _Light, offset: tuple[float, float]
) -> None:
    """Draw the side wall of a tilted flat part: its outline swept by ``offset`` pixels."""
    steps = max(2, math.ceil(math.hypot(*offset)))
    wall = alpha
    for step in range(1, steps + 1):
        wall = np.maximum(wall, _moved(alpha, offset[0] * step / steps, offset[1] * step / steps))
    facing = (px * light.x + py * light.y) / np.sqrt(px * px + py * py + 1e-3)
    sample, weight = colour[::3, ::3], alpha[::3, ::3]
    average = np.einsum("hwc,hw->c", sample, weight) / max(float(weight.sum()), 1.0)
    _blend(window, (0.45 + 0.35 * facing)[..., None] * average, wall)


def _moved(field: Field, dx: float, dy: float) -> Field:
    """Return ``field`` shifted by whole pixels, zero-padded."""
    x, y = round(dx), round(dy)
    height, width = field.shape
    result = np.zeros_like(field)
    if abs(x) < width and abs(y) < height:
        result[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)] = field[
            max(-y, 0) : height + min(-y, 0), max(-x, 0) : width + min(-x, 0)
        ]
    return result


def _shoot(canvas: Field, light: _Light, rng: np.random.Generator, comment: str) -> bytes:
    """Apply exposure, blur, sensor noise and JPEG compression."""
    canvas *= light.colour * np.float32(rng.uniform(0.6, 1.6))
    bright = np.sqrt(np.clip(canvas, 0, 1))  # approximates display gamma
    image = Image.fromarray((bright * 255).astype(np.uint8))
    blur_px = float(rng.choice([0.0, 0.8, 1.7, 3.0]) * rng.uniform(0.6, 1.2) * min(image.size) / 240)
    if blur_px:
        image = image.filter(ImageFilter.BoxBlur(blur_px))
    noise = rng.uniform(1, 16)
    shape = (*bright.shape[:2], 3)
    pixels = np.asarray(image, np.float32) + noise * grain(shape, rng)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(
        buffer, "JPEG", quality=int(rng.integers(50, 95)), comment=comment.encode()
    )
    return buffer.getvalue()
