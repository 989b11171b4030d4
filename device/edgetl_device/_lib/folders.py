"""List folders of photos, ignoring hidden files, the files of systems and file managers, and edgetl's own output."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from ..text import is_utf8, shown

PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".heic", ".heif", ".hif", ".avif"),
)

# What systems and programs put beside a user's files, in lower case; names that begin with a dot are ignored as well.
# Names that may be classes, such as "recycled" or "nikon", are left out.
_JUNK = {
    # Linux: ext4's fsck. Android: the same for SD cards. Python.
    "lost+found", "lost.dir", "__pycache__",
    # macOS: Finder, Archive Utility, and files on shares and foreign disks.
    "__macosx", "icon\r", "network trash folder", "temporary items", "thevolumesettingsfolder", "desktop db",
    "desktop df",
    # Windows: thumbnails, folder settings, recycle bins, restore points, paging; Picasa.
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "autorun.inf", "picasa.ini", "$recycle.bin",
    "recycler", "system volume information", "config.msi", "wpsettings.dat", "indexervolumeguid", "bootex.log",
    "pagefile.sys", "hiberfil.sys", "swapfile.sys",
    # NAS: Synology, QNAP, NetApp.
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@transcode", "@synoresource", "#recycle",
    "#snapshot", "~snapshot",
    # Cameras: catalogues and metadata beside DCIM; Canon, Panasonic, Sony.
    "avf_info", "canonmsc", "eosmisc", "mp_root", "m4root", "thmbnl", "autprint.mrk",
}  # fmt: skip
# Synology's tables, chkdsk's folders, Office's lock files, cameras' video thumbnails and indexes.
_JUNK_PATTERN = re.compile(r"[^/]*@syno\w+|found\.\d{3}|~\$.*|.*\.(thm|ctg)", re.DOTALL)

# Files that identify a folder as edgetl's: a run, a bundle, a quantization report.
_OUTPUT_FILES = ("run.json", "bundle.json", "quantize.json")
_UNFINISHED = ".unfinished"


class Listing(NamedTuple):
    """The content of a folder, sorted by name, without hidden files and junk.

    Attributes:
        folders: Names of subfolders.
        files: Names of files.
        outputs: Names of subfolders that hold only edgetl's own output, runs and bundles, not data.
    """

    folders: list[str]
    files: list[str]
    outputs: list[str]


def children(folder: Path) -> Listing:
    """List a folder.

    Raises:
        InputError: A subfolder's name is not UTF-8 or contains a line break, so it cannot be a label.
        PermissionError: The folder cannot be listed.
    """
    with os.scandir(folder) as entries:
        kept = [entry for entry in entries if not is_junk(entry.name)]
        below = sorted(entry.name for entry in kept if entry.is_dir())
        files = sorted(entry.name for entry in kept if not entry.is_dir())
    for name in below:
        if not is_utf8(name):
            raise InputError(f"{folder / shown(name)}: its name is not UTF-8", hint="Rename the folder.")
        if len(name.splitlines()) != 1:
            raise InputError(
                f"{str(folder / name)!r}: a line break in its name",
                why="labels are stored one a line",
                hint="Rename it.",
            )
    outputs = [name for name in below if _holds_output(folder / name)]
    return Listing([name for name in below if name not in outputs], files, outputs)


def is_junk(name: str) -> bool:
    """Whether a name is hidden, or that of a file which a system, a file manager, a NAS or a camera leaves behind."""
    low = name.lower()
    return low.startswith(".") or low in _JUNK or _JUNK_PATTERN.fullmatch(low) is not None


def is_output(folder: Path) -> bool:
    """Whether edgetl wrote a folder: a run, finished or not, or a bundle."""
    # Not Path.is_file, which raises for unreadable folders.
    return folder.name.endswith(_UNFINISHED) or any(os.access(folder / name, os.F_OK) for name in _OUTPUT_FILES)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, a folder's own before those of its subfolders.

    Links are followed, except to a parent folder.

    Raises:
        InputError: As :func:`children`, or folders are nested so deeply that no path leads to them.
        PermissionError: As :func:`children`.
    """
    # Folders still to be listed, the next one last, with their depth; and the folders above the current one.
    waiting = [(folder, 0)]
    above: list[tuple[int, int]] = []
    while waiting:
        here, depth = waiting.pop()
        del above[depth:]
        try:
            status = here.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                continue
            found = children(here)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise InputError(
                    f"{folder}: folders are nested too deeply in it",
                    why=f"the path of one at depth {depth} is longer than the system allows",
                    hint="Move its photos further up.",
                ) from None
            raise
        above.append(identity)
        for name in found.files:
            yield here / name
        waiting.extend((here / name, depth + 1) for name in reversed(found.folders))


def photos_below(folder: Path) -> Iterator[Path]:
    """Yield the photos among :func:`files_below`, by their names, in its order; raises like it."""
    return (path for path in files_below(folder) if path.name.lower().endswith(PHOTO_SUFFIXES))


def _holds_output(folder: Path, depth: int = 3) -> bool:
    """Whether a folder is edgetl's output, or holds only such folders, like ``runs``."""
    if is_output(folder):
        return True
    if depth == 0:
        return False
    seen = False
    try:
        with os.scandir(folder) as entries:
            # Stops at the first photo, so a class of 100,000 costs no more than a class of ten.
            for entry in entries:
                if is_junk(entry.name):
                    continue
                if not entry.is_dir() or not _holds_output(Path(entry.path), depth - 1):
                    return False
                seen = True
    except OSError:
        return False
    return seen
