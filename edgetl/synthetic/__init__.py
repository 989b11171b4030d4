"""A small synthetic data set of machine parts, rendered with numpy and Pillow, for the demo, tests and benchmarks.

Accuracy on it does not carry over to real photos; the comment of every file marks it as synthetic.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgetl._lib.progress import Advance
from edgetl._lib.threads import in_threads
from edgetl_device._lib.files import atomic_path
from edgetl_device.errors import InputError

from .parts import PARTS

CLASSES: tuple[str, ...] = tuple(PARTS)
COMMENT = "synthetic, drawn by edgetl"

_SMALLEST_PX, _LARGEST_PX = 64, 1024


def draw_dataset(
    folder: str | os.PathLike[str],
    *,
    per_class: int,
    classes: Sequence[str] = CLASSES,
    size: int = 240,
    seed: int = 0,
    progress: Advance | None = None,
) -> Path:
    """Draw ``per_class`` photos of each class as ``folder/<class>/<number>.jpg`` and return ``folder``.

    Each photo shows one part with random shape, pose (rotation, scale, position, tilt), metal, rust, light, shadow,
    background, clutter that may occlude it, blur, sensor noise and JPEG quality. Photo i of a class depends only on
    ``seed``, the class, i and ``size``, so a larger ``per_class`` adds photos and changes none; the same versions of
    numpy and Pillow give the same bytes. The folder appears only when all photos are written.

    Args:
        folder: Output folder; must be empty or not exist.
        per_class: Number of photos per class.
        classes: A subset of ``CLASSES``.
        size: Square root of a photo's area in pixels, 64 to 1,024; photos are 4:3, 1:1 or 3:4.
        seed: Random seed.
        progress: Called with the number of photos written since the last call.

    Raises:
        InputError: ``folder`` is not empty, or an argument is out of range.
    """
    target = Path(folder)
    _check(target, per_class=per_class, classes=classes, size=size, seed=seed)
    with atomic_path(target, directory=True) as temporary:
        jobs = []
        for name in classes:
            (temporary / name).mkdir()
            jobs += [(name, index, temporary / name / f"{index:03d}.jpg") for index in range(per_class)]

        def draw(job: tuple[str, int, Path]) -> None:
            name, index, path = job
            path.write_bytes(draw_photo(name, index, size=size, seed=seed))

        # Threads, not processes: numpy and Pillow release the GIL for most of the work, and forking beside
        # TensorFlow's threads may hang.
        in_threads(draw, jobs, progress or (lambda _: None))
    return target


def draw_photo(name: str, index: int, *, size: int = 240, seed: int = 0) -> bytes:
    """Return photo ``index`` of class ``name`` as JPEG bytes."""
    from .scene import photo_jpeg

    return photo_jpeg(name, index, size=size, seed=seed, comment=COMMENT)


def draw_noise(index: int, *, size: int = 240, seed: int = 0) -> bytes:
    """Return picture ``index`` of noise, ``size`` pixels high and wide, as PNG bytes.

    It shows nothing: smooth blotches of random colours, of a grain that depends on ``index``.
    """
    from .noise import noise_png

    return noise_png(index, size=size, seed=seed, comment=COMMENT)


def _check(target: Path, *, per_class: int, classes: Sequence[str], size: int, seed: int) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target}: exists already", hint="Name a new or empty folder, or remove this one.")
    if per_class < 1:
        raise InputError(f"{per_class} photos a class", why="must be at least 1")
    if not _SMALLEST_PX <= size <= _LARGEST_PX:
        raise InputError(f"photo size {size}", why=f"must be from {_SMALLEST_PX} to {_LARGEST_PX} pixels")
    if seed < 0:
        raise InputError(f"seed {seed}", why="must not be negative")
    unknown = sorted(set(classes) - set(CLASSES))
    if unknown or not classes or len(set(classes)) != len(classes):
        raise InputError(
            f"classes {', '.join(classes) or '(none)'}", why=f"must be different names out of {', '.join(CLASSES)}"
        )
