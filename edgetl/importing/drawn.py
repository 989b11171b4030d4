"""Pictures that edgetl draws to prove an import without photos: a model has answers to them, but nobody has labels.

Scenes of machine parts have edges, shadows and textures like photos. Noise of several grains and colours takes a model
to more of its classes, and to values that photos seldom have.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from edgetl._lib.progress import Advance
from edgetl._lib.threads import in_threads
from edgetl.synthetic import CLASSES, COMMENT, draw_photo

PICTURES = 60
_SCENES = 36
_SEED = 0
# Small, because a bundle carries them; not the size of the input, so that resizing is proved, too.
_SIDE = 160
# Cells of the noise in a picture's width.
_GRAINS = (2, 4, 8, 16, 40, 160)


def draw_pictures(folder: Path, progress: Advance) -> tuple[Path, ...]:
    """Draw the pictures into a new folder as ``00.png`` and so on; every call draws the same."""
    folder.mkdir()
    paths = tuple(folder / f"{index:02d}.png" for index in range(PICTURES))

    def draw(index: int) -> None:
        about = PngImagePlugin.PngInfo()
        about.add_text("Comment", COMMENT)
        picture = _scene(index) if index < _SCENES else _noise(index - _SCENES)
        picture.save(paths[index], pnginfo=about)

    in_threads(draw, range(PICTURES), progress)
    return paths


def _scene(index: int) -> Image.Image:
    number, part = divmod(index, len(CLASSES))
    with Image.open(io.BytesIO(draw_photo(CLASSES[part], number, size=_SIDE, seed=_SEED))) as image:
        return image.convert("RGB")


def _noise(index: int) -> Image.Image:
    """Return smoothly enlarged random colours around a random one."""
    random = np.random.default_rng([_SEED, index])
    cells = _GRAINS[index % len(_GRAINS)]
    middle, spread = random.uniform(30, 225, 3), random.uniform(20, 110)
    colours = np.clip(random.normal(middle, spread, (cells, cells, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(colours).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
