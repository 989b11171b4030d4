"""Shapes of the machine parts as height fields seen from above.

Each part is a function of coordinates x, y (float32 [h, w]; the part lies inside the unit circle) and a random
generator that picks its proportions. Light, colour and pose are in ``scene``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# float32 at run time; numpy's stubs lose track of that in functions such as hypot.
Field = npt.NDArray[np.floating]

_TAU = np.float32(2 * np.pi)


@dataclass(frozen=True)
class Surface:
    """A part as fields over the canvas, all float32 [h, w] in units of the part's radius.

    Attributes:
        distance: Approximate signed distance to the outline, negative inside.
        height: Height over the table; only its slope matters.
        tone: Reflectance relative to the part's metal, for seals, cages and the shade inside a coil; None means 1.
        thickness: Height of the side wall, visible when the part is tilted; 0 for parts without a flat underside.
    """

    distance: Field
    height: Field
    tone: Field | None
    thickness: float


def _ramp(value: Field, low: float, high: float) -> Field:
    """Linear ramp: 0 below ``low``, 1 above ``high``."""
    return np.asarray(np.clip((value - np.float32(low)) * np.float32(1 / (high - low)), 0, 1))


def _ring(radius: Field, inner: float, outer: float) -> Field:
    return np.asarray(np.maximum(radius - outer, inner - radius))


def _fold(x: Field, y: Field, count: int) -> tuple[Field, Field]:
    """Rotate each point into the sector around the positive x axis, so that a shape there repeats ``count`` times."""
    sector = _TAU / count
    angle = np.arctan2(y, x)
    angle -= np.round(angle / sector) * sector
    radius = np.hypot(x, y)
    return radius * np.cos(angle), radius * np.sin(angle)


def hex_nut(x: Field, y: Field, rng: np.random.Generator) -> Surface:
    """A hexagon with a threaded hole; sometimes with a flange or a nylon ring."""
    flange = rng.random() < 0.2
    across = 0.8 if flange else 1.0
    hole = across * rng.uniform(0.46, 0.58)
    radius = np.hypot(x, y)
    ax, ay = np.abs(x), np.abs(y)
    hexagon = np.maximum(ax * 0.5 + ay * 0.8660254, ax) - across * 0.8660254
    outline = np.minimum(hexagon, radius - 1.0) if flange else hexagon
    distance = np.maximum(outline, hole - radius)
    height = 0.45 * _ramp(-hexagon, 0.0, 0.06)
    height -= 0.9 * np.maximum(radius - across * 0.83, 0)  # the turned chamfer that rounds off the six corners
    height -= 0.8 * np.maximum(hole + 0.09 - radius, 0)
    if flange:
        height = np.maximum(height, 0.12 * _ramp(1.0 - radius, 0, 0.08))
    if rng.random() < 0.25:
        nylon = _ring(radius, hole, hole + 0.14) < 0
        tone = np.where(nylon, np.float32(rng.choice([0.25, 1.3])), np.float32(1))
    else:  # the first turns of the thread, seen inside the hole
        thread = hole * 0.86
        distance = np.maximum(outline, thread - radius)
        inside = radius < hole
        height = np.where(inside, 0.1 + 0.02 * np.sin(radius * 130), height)
        tone = np.where(inside, np.float32(0.5), np.float32(1))
    return Surface(distance, height, tone, thickness=rng.uniform(0.35, 0.7))


def washer(x: Field, y: Field, rng: np.random.Generator) -> Surface:
    """A washer: plain, split (spring), or with internal teeth."""
    hole = rng.uniform(0.42, 0.66)
    radius = np.hypot(x, y)
    kind = rng.choice(["plain", "plain", "plain", "split", "toothed"])
    distance = _ring(radius, hole, 1.0)
    if kind == "split":
        distance = np.maximum(
            _ring(radius, max(hole, 0.58), 1.0), np.where(x > 0, 0.06 - np.abs(y + 0.3 * x - 0.25), -1)
        )
    elif kind == "toothed":
        wave = np.cos(np.arctan2(y, x) * int(rng.integers(9, 15)))
        distance = np.maximum(radius - 1.0, hole - 0.02 + 0.16 * _ramp(wave, -0.3, 0.3) - radius)
    height = 0.1 * _ramp(-distance, 0.0, 0.05) + 0.02 * np.cos(radius * rng.uniform(2, 14))
    return Surface(distance, height, None, thickness=rng.uniform(0.06, 0.14))


def bolt(x: Field, y: Field, rng: np.random.Generator) -> Surface:
    """A bolt on its side, with hexagonal, socket or round head."""
    shank = rng.uniform(0.11, 0.2)
    head_width = shank * rng.uniform(1.65, 2.0)
    head_end = -0.98 + shank * rng.uniform(1.1, 1.7)
    kind = rng.choice(["hex", "hex", "hex", "socket", "round"])
    pitch = shank * rng.uniform(0.28, 0.42)
    thread_start = head_end + rng.choice([0.02, 0.25, 0.6]) * (0.98 - head_end)
    ay = np.abs(y)
    threaded = x > thread_start
    turn = np.sin(_TAU * (x / pitch + 0.5 * y / shank))
    edge = shank + np.where(threaded, 0.07 * shank * np.sin(_TAU * (x / pitch + 0.5 * np.sign(y))), 0)
    tip = np.maximum(x - (0.98 - 0.5 * shank), 0)
    shaft = np.maximum(ay - edge + tip * 0.7, np.maximum(x - 0.98, head_end - 0.05 - x))
    along = np.maximum(-0.98 - x, x - head_end)
    rounding = np.maximum(head_end - 0.75 * (head_end + 0.98) - x, 0)
    if kind == "round":
        middle = (head_end - x) / (head_end + 0.98)
        head = np.maximum(ay - head_width * np.sqrt(np.clip(1.02 - middle * middle, 0, 1)), along)
        head_height = np.sqrt(np.maximum(head_width**2 - ay * ay - (0.8 * head_width * middle) ** 2, 0))
    elif kind == "socket":
        head = np.maximum(ay - head_width + 0.3 * rounding, along)
        knurl = 0.02 * head_width * np.sin(y * (60 / head_width))
        head_height = np.sqrt(np.maximum(head_width**2 - ay * ay, 0)) + knurl - rounding * 0.5
    else:
        head = np.maximum(ay - head_width + 0.5 * rounding, along)
        head_height = head_width * 0.9 - 1.1 * np.maximum(ay - head_width * 0.5, 0) - rounding * 0.6
    height = np.sqrt(np.maximum(shank**2 - y * y, 0)) + np.where(threaded, 0.16 * shank * turn, 0) - tip * 0.5
    height = np.where(head < 0, head_height, height)
    return Surface(np.minimum(shaft, head), height, None, thickness=0.0)


def gear(x: Field, y: Field, rng: np.random.Generator) -> Surface:
    """A spur gear: teeth, web, hub and bore; sometimes holes in the web or a keyway."""
    teeth = int(rng.integers(11, 34))
    depth = min(0.22, 4.2 / teeth * rng.uniform(0.8, 1.0))
    root = 1.0 - depth
    bore = rng.uniform(0.14, 0.3)
    hub = bore + rng.uniform(0.08, 0.14)
    radius = np.hypot(x, y)
    wave = np.cos(np.arctan2(y, x) * teeth)
    # Teeth taper towards the tip: the wave's threshold rises with the radius.
    outward = _ramp(radius, root, 1.0)
    flank = (0.9 * outward - 0.35 - wave) * (radius / teeth)
    distance = np.maximum(np.maximum(radius - 1.0, np.minimum(radius - root, flank)), bore - radius)
    if rng.random() < 0.5:
        distance = np.maximum(distance, -np.maximum(np.abs(y) - 0.3 * bore, np.abs(x - bore) - 0.35 * bore))
    rim = root - rng.uniform(0.08, 0.2)
    height = 0.3 * _ramp(-distance, 0.0, 0.035)
    if rng.random() < 0.7:  # the web is lower than rim and hub
        web = _ring(radius, hub, rim)
        height -= 0.1 * _ramp(-web, 0.0, 0.05)
        space = (rim - hub) / 2
        if space > 0.12 and rng.random() < 0.65:
            fx, fy = _fold(x, y, int(rng.integers(3, 7)))
            distance = np.maximum(distance, space * rng.uniform(0.55, 0.8) - np.hypot(fx - (hub + rim) / 2, fy))
    return Surface(distance, height, None, thickness=rng.uniform(0.12, 0.35))


def bearing(x: Field, y: Field, rng: np.random.Generator) -> Surface:
    """A ball bearing: two rings with visible balls, a shield or a rubber seal between them."""
    bore = rng.uniform(0.34, 0.52)
    inner, outer = bore + rng.uniform(0.1, 0.15), 1.0 - rng.uniform(0.1, 0.16)
    radius = np.hypot(x, y)
    distance = _ring(radius, bore, 1.0)
    groove = _ring(radius, inner, outer)
    height = 0.4 * _ramp(-distance, 0.0, 0.05)
    kind = rng.choice(["open", "open", "shield", "seal"])
    depth = 0.16 if kind == "open" else 0.06
    height -= depth * _ramp(-groove, 0.0, 0.03)
    if kind == "open":
        size = (outer - inner) * 0.52
        centre = (inner + outer) / 2
        fx, fy = _fold(x, y, int(rng.integers(7, min(13, int(6.2 * centre / (2 * size)) + 1))))
        to_ball = (fx - centre) ** 2 + fy**2
        ball = np.sqrt(np.maximum(size**2 - to_ball, 0))
        height += np.where(groove < 0, ball, 0)
        tone = np.where((groove < 0) & (to_ball > size**2), np.float32(rng.uniform(0.15, 0.5)), np.float32(1))
    else:
        tone = np.where(groove < 0, np.float32(rng.uniform(0.7, 0.9) if kind == "shield" else 0.22), np.float32(1))
        height += 0.03 * np.cos((radius - inner) * (_TAU * 2 / (outer - inner))) * (groove < 0)
    return Surface(distance, height, tone, thickness=rng.uniform(0.25, 0.5))


def spring(x: Field, y: Field, rng: np.random.Generator) -> Surface:
    """A coil spring on its side, with closed ends or hooks."""
    half = rng.uniform(0.2, 0.4)
    turns = int(rng.integers(5, 13))
    hooks = rng.random() < 0.3
    reach = 0.7 if hooks else 0.9
    pitch = 2 * reach / turns
    wire = min(pitch * rng.uniform(0.18, 0.4), 0.085)
    # A helix seen from the side is x = pitch * phase / 2 pi, y = half * sin(phase); its near half leans one way, its
    # far half the other. Each half is a stack of wires ``pitch`` apart.
    sine = np.clip(y * np.float32(1 / half), -1, 1)
    phase = np.arcsin(sine)
    cosine = np.sqrt(np.maximum(1 - sine * sine, 0.02))
    lean = 1 / np.sqrt(1 + (pitch / (_TAU * half * cosine)) ** 2)
    beyond = np.maximum(np.abs(y) - half, 0)
    ends = np.abs(x) - reach

    def wires(offset: Field) -> Field:
        gap = offset / pitch
        gap -= np.round(gap)
        return np.asarray(np.maximum(np.hypot(gap * pitch * lean, beyond) - wire, ends))

    near = wires(x - pitch * phase / _TAU)
    far = wires(x - pitch * (np.float32(np.pi) - phase) / _TAU)
    closing = np.hypot(ends, beyond) - wire
    if hooks:
        eye = np.abs(np.hypot(np.abs(x) - reach - 0.14, y) - 0.13) - wire
        closing = np.minimum(closing, eye)
    near = np.minimum(near, closing)
    in_front = near < 0
    across = np.where(in_front, near, far) + wire
    height = np.sqrt(np.maximum(wire**2 - across * across, 0)) + np.where(in_front, 1.2 * half * cosine * 0.2, 0)
    tone = np.where(in_front, np.float32(1), np.float32(0.45))
    return Surface(np.minimum(near, far), height, tone, thickness=0.0)


PARTS: dict[str, Callable[[Field, Field, np.random.Generator], Surface]] = {
    "bearing": bearing,
    "bolt": bolt,
    "gear": gear,
    "hex_nut": hex_nut,
    "spring": spring,
    "washer": washer,
}
