"""Photos in zips: of a whole data set, or one zip a class, as Teachable Machine downloads samples."""

from __future__ import annotations

import errno
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from edgetl._lib.cache import entry, key_of
from edgetl._lib.progress import track
from edgetl_device._lib.files import check_regular, sha256_file
from edgetl_device._lib.folders import PHOTO_SUFFIXES, children, is_junk
from edgetl_device.errors import InputError
from edgetl_device.preprocess import MAX_BYTES
from edgetl_device.storage import reading_zip
from edgetl_device.text import is_utf8, normal, shown

from .class_labels import NAME_FILES
from .exports import LABEL_FILES
from .pictures import folder_name

# Increment when the same zip gives other files.
_FORMAT = 2
# Beside it lies the cache's own record of the entry.
_FILES = "files"
# A zip that unpacks beyond this size and by more than this factor holds no photos, which hardly shrink.
_SUSPICIOUS_BYTES, _SUSPICIOUS_RATIO = 1 << 30, 100
_MOST_MEMBERS = 2_000_000
# "cat-samples.zip", and what a browser makes of the name of a second download.
_SAMPLES = re.compile(r"(?P<label>.+?)([-_ ]samples)?( ?\(\d+\))?", re.DOTALL)
_ONE_CLASS = "If each zip is a class, as Teachable Machine downloads samples, put them into one folder and give that."


def class_zips(folder: Path) -> dict[str, Path] | None:
    """Return the zip of each class where a folder holds several zips and nothing else; None for any other folder.

    Raises:
        InputError: Two of them are the same class.
    """
    found = children(folder)
    zips = [name for name in found.files if name.lower().endswith(".zip")]
    if found.folders or len(zips) < 2 or len(zips) < len(found.files):
        return None
    classes: dict[str, Path] = {}
    for name in zips:
        match = _SAMPLES.fullmatch(PurePosixPath(name).stem)
        label = folder_name(normal(match["label"] if match else name))
        if label in classes:
            raise InputError(f"{folder}: {classes[label].name} and {name} are both {label}", hint="Rename one of them.")
        classes[label] = folder / name
    return classes


def unpack_zip(file: Path) -> Path:
    """Return the cache folder with the photos and files of labels in a zip, unpacking it if needed.

    Raises:
        InputError: It is no zip, damaged or encrypted, or has names or sizes that no data set has.
        OSError: The cache cannot be written.
    """
    return _unpacked({"": file})


def unpack_classes(classes: Mapping[str, Path]) -> Path:
    """Return the cache folder with a folder for each class's zip; raises like :func:`unpack_zip`."""
    return _unpacked(classes)


@contextmanager
def naming(file: Path, folder: Path) -> Iterator[None]:
    """Name the zip in errors of a block that reads its unpacked copy."""
    try:
        yield
    except InputError as error:
        parts = [part.replace(str(folder), str(file)) for part in (error.what, error.why)]
        flat = "no class folders" in error.what
        raise InputError(parts[0], why=parts[1], hint=_ONE_CLASS if flat else error.hint) from None


def _unpacked(zips: Mapping[str, Path]) -> Path:
    for file in zips.values():
        check_regular(file)
    key = key_of(zips=sorted((label, sha256_file(file)) for label, file in zips.items()), format=_FORMAT)
    return entry("zips", key, partial(_write, zips=zips)) / _FILES


def _write(folder: Path, *, zips: Mapping[str, Path]) -> None:
    for label, file in zips.items():
        extract(file, folder / _FILES / label)


def extract(file: Path, target: Path) -> None:
    """Unpack the photos and files of labels in a zip into a folder; raises like :func:`unpack_zip`."""

    def damaged(why: str) -> InputError:
        return InputError(f"{file}: is not a zip, or is damaged or encrypted", why=why, hint="Download it again.")

    with ExitStack() as opened:
        with reading_zip(damaged):
            archive = opened.enter_context(zipfile.ZipFile(file))
        members = [one for one in archive.infolist() if _is_wanted(one.filename)]
        _check(file, members)
        target.mkdir(parents=True, exist_ok=True)
        with track(f"Unpacking {file.name}", len(members), unit="files") as advance:
            for member in members:
                with reading_zip(damaged), archive.open(member) as source:
                    content = source.read(MAX_BYTES + 1)
                with _named(file, member.filename):
                    place = target / member.filename
                    place.parent.mkdir(parents=True, exist_ok=True)
                    with open(place, "xb") as copy:
                        copy.write(content)
                advance(1)


@contextmanager
def _named(file: Path, name: str) -> Iterator[None]:
    """Name the zip where the name of a member cannot be that of a file."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
            raise
        why = "another member has this name" if error.errno != errno.ENAMETOOLONG else "the name is too long"
        raise InputError(f"{file}: {shown(name)} cannot be unpacked", why=why, hint="Make the zip again.") from None


def _is_wanted(name: str) -> bool:
    if name.endswith("/"):
        return False
    path = PurePosixPath(name)
    known = path.suffix.lower() in (*PHOTO_SUFFIXES, *LABEL_FILES, ".csv") or path.name in NAME_FILES
    return known and not any(is_junk(part) for part in path.parts if part != "..")


def _check(file: Path, members: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse names that lead elsewhere or are there twice, and sizes that photos do not have."""
    seen: set[str] = set()
    unpacked = packed = 0
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or not is_utf8(member.filename):
            raise InputError(f"{file}: {shown(member.filename)!r} leads outside it", hint="Make the zip again.")
        if str(path) in seen:
            raise InputError(f"{file}: {shown(member.filename)} is in it twice", hint="Make the zip again.")
        if len(seen) >= _MOST_MEMBERS:
            raise InputError(f"{file}: has more than {_MOST_MEMBERS:,} files", hint="Unpack it, and give the folder.")
        seen.add(str(path))
        unpacked, packed = unpacked + member.file_size, packed + member.compress_size
        if member.file_size > MAX_BYTES:
            raise InputError(f"{file}: {shown(member.filename)} is too large for a photo", hint="Leave it out.")
    # The sizes of members are what the maker of the zip says; together they cannot be more than the file.
    packed = min(packed, file.stat().st_size)
    if unpacked > _SUSPICIOUS_BYTES and unpacked > _SUSPICIOUS_RATIO * packed:
        raise InputError(
            f"{file}: {packed / 1e6:,.1f} MB would unpack to {unpacked / 1e9:,.1f} GB",
            why="photos do not compress like that",
            hint="If this is intended, unpack it yourself and give the folder.",
        )
    if not seen:
        raise InputError(f"{file}: holds no photos", hint=_ONE_CLASS)
