"""Pictures that edgetl draws to prove an import without photos: a model has answers to them, but nobody has labels.

Scenes of machine parts have edges, shadows and textures like photos. Noise of several grains and colours takes a model
to more of its classes, and to values that photos seldom have.
"""

from __future__ import annotations

from pathlib import Path

from edgetl._lib.progress import Advance
from edgetl._lib.threads import in_threads
from edgetl.synthetic import CLASSES, draw_noise, draw_photo

PICTURES = 60
_SCENES = 36
# Small, because a bundle carries them; not the size of the input, so that resizing is proved, too.
_SIDE = 160


def draw_pictures(folder: Path, progress: Advance) -> tuple[Path, ...]:
    """Draw the pictures into a new folder: scenes as JPEG, then noise as PNG; every call draws the same."""
    folder.mkdir()
    paths = tuple(folder / f"{index:02d}.{'jpg' if index < _SCENES else 'png'}" for index in range(PICTURES))

    def draw(index: int) -> None:
        paths[index].write_bytes(_scene(index) if index < _SCENES else draw_noise(index - _SCENES, size=_SIDE))

    in_threads(draw, range(PICTURES), progress)
    return paths


def _scene(index: int) -> bytes:
    number, part = divmod(index, len(CLASSES))
    return draw_photo(CLASSES[part], number, size=_SIDE)
