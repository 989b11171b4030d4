"""Write a split as folders, one per split and class."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path, PurePosixPath

from edgetl._lib.progress import track
from edgetl.data.readers.pictures import folder_name
from edgetl.data.readers.source import refuse_inside
from edgetl_device._lib.files import atomic_path, sha256_file
from edgetl_device.errors import InputError
from edgetl_device.text import listed

from .types import Dataset


def refuse_target(data: Path, out: Path) -> None:
    """Check the target before any work is done.

    Raises:
        InputError: It exists, or is inside the data set.
    """
    if os.path.lexists(out):
        raise InputError(f"{out}: exists already", hint="Choose another folder, or remove it.")
    refuse_inside(data, out)


def write_folders(dataset: Dataset, out: Path, *, link: bool) -> dict[str, str]:
    """Write ``out/{train,val,test}/<class>/<name>``, atomically.

    Photos of nested folders end up in one folder. Of photos with the same name, later ones by path get the first 8
    digits of their hash appended.

    Args:
        dataset: The data set to write.
        out: The folder to create.
        link: Make hard links instead of copies.

    Returns:
        New paths of renamed files by their old paths, both relative.

    Raises:
        InputError: A photo was changed since it was read, ``link`` is set and ``out`` is on another file system, or two
            labels differ only in characters that a folder name cannot have.
    """
    names = {label: folder_name(label) for label in dataset.labels}
    if len(set(names.values())) < len(names):
        raise InputError(f"{dataset.root}: two classes would get one folder", why=listed(sorted(names)))
    taken: set[str] = set()
    renamed: dict[str, str] = {}
    with atomic_path(out, directory=True) as folder, track("Writing photos", len(dataset.samples)) as advance:
        for sample in dataset.samples:
            source = PurePosixPath(sample.path)
            base = f"{sample.split}/{names[sample.label]}"
            target = f"{base}/{source.name}"
            number = 0
            while target in taken:
                target = f"{base}/{source.stem}-{sample.sha256[:8]}{f'-{number}' if number else ''}{source.suffix}"
                number += 1
                renamed[sample.path] = target
            taken.add(target)
            (folder / base).mkdir(parents=True, exist_ok=True)
            _place(dataset.folder / sample.path, folder / target, sample.sha256, link=link)
            advance(1)
    return renamed


def _place(source: Path, target: Path, sha256: str, *, link: bool) -> None:
    """Copy or link a photo, and check that it is still the one that was read."""
    if link:
        _link(source, target)
    else:
        shutil.copyfile(source, target)
    if sha256_file(target) != sha256:
        raise InputError(
            f"{source}: was changed while it was read", hint="Run again when no other program writes to it."
        )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        raise InputError(
            f"{source}: cannot be linked to the new folder",
            why=error.strerror or "",
            hint="Hard links need a single file system that supports them; use --copy.",
        ) from None
