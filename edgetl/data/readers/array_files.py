"""Image arrays in files, memory-mapped: ``.npy``, ``.npz``, IDX (MNIST's), STL-10's binaries. Nothing is unpickled."""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from edgetl_device.errors import InputError
from edgetl_device.storage import NPY_DAMAGE, reading_zip

Array = npt.NDArray[Any]

# A compressed file that unpacks beyond this size and by more than this factor contains no images: photos hardly shrink,
# MNIST by a factor of 6. Deflate reaches about 1,000 on zeros.
_SUSPICIOUS_BYTES = 2**30
_SUSPICIOUS_RATIO = 100

# IDX: two zero bytes, the type, the number of dimensions, each dimension as a big-endian uint32, then the values
# (Y. LeCun, "The MNIST database of handwritten digits", file formats).
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

# STL-10: uint8, 96 x 96 pixels, "stored in column-major order, one channel at a time" (A. Coates, H. Lee, A. Ng 2011).
_STL10_SIDE = 96
_STL10_BYTES = 3 * _STL10_SIDE**2


def open_file(path: Path, scratch: Path) -> Array:
    """Open one file as a memory-mapped array.

    Args:
        path: ``.npy``, ``.bin`` of STL-10, or IDX, gzipped or not.
        scratch: A folder for the unpacked copy of a compressed file.

    Raises:
        InputError: It is damaged, or its content does not match its name.
    """
    if path.suffix.lower() == ".npy":
        return _open_npy(path, path.name)
    if path.suffix.lower() == ".bin":
        return _open_stl10(path)
    return _open_idx(path, scratch)


def npz_keys(path: Path) -> list[str]:
    """Return the names of the arrays in an ``.npz``, in its order.

    Raises:
        InputError: It is not an ``.npz``.
    """
    with _zip(path) as archive:
        return [name[: -len(".npy")] for name in archive.namelist() if name.endswith(".npy")]


def open_member(path: Path, key: str, scratch: Path) -> Array:
    """Open one array of an ``.npz``, memory-mapped from an unpacked copy in ``scratch``.

    Raises:
        InputError: It is damaged, holds Python objects, or unpacks to implausibly many bytes.
    """
    target = scratch / f"{len(list(scratch.iterdir()))}.npy"
    with _zip(path) as archive:
        member = archive.getinfo(f"{key}.npy")
        _refuse_bomb(f"{path}: {key}", member.file_size, member.compress_size)
        with open(target, "wb") as copy, ExitStack() as opened:
            with reading_zip(refuse := lambda why: _damaged(path, f"{key}: {why}")):
                source = opened.enter_context(archive.open(member))
            while True:
                with reading_zip(refuse):
                    block = source.read(1 << 20)
                if not block:
                    break
                copy.write(block)
    return _open_npy(target, f"{path}: {key}")


def _zip(path: Path) -> zipfile.ZipFile:
    hint = "Write it with numpy.savez, or copy it again."
    with reading_zip(lambda why: InputError(f"{path}: is not an .npz file, or is cut short", why=why, hint=hint)):
        return zipfile.ZipFile(path)


def _open_npy(path: Path, name: str) -> Array:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except NPY_DAMAGE as error:
        # NumPy's message for dtype=object, whose content is a pickle and could run anything.
        if "Python objects" in str(error):
            raise InputError(
                f"{name}: holds Python objects, not numbers",
                why="they would have to be unpickled, which edgetl never does",
                hint="Save labels as integers, and images of one size as one uint8 array.",
            ) from None
        raise InputError(f"{name}: is not a .npy array, or is cut short", why=str(error)) from None


def _open_idx(path: Path, scratch: Path) -> Array:
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as unpacked:
            stream = cast(IO[bytes], unpacked)
            head, shape, dtype = _guarded(path, lambda: _idx_header(path, stream))
            size = math.prod(shape) * dtype.itemsize
            _refuse_bomb(str(path), size, path.stat().st_size)
            target = scratch / f"{len(list(scratch.iterdir()))}.idx"
            with open(target, "wb") as copy:
                written = _guarded(path, lambda: _copy(stream, copy, most=size + 1))
        return _idx_array(path, target, 0, written, shape, dtype)
    with open(path, "rb") as stream:
        head, shape, dtype = _idx_header(path, stream)
    return _idx_array(path, path, head, path.stat().st_size - head, shape, dtype)


def _idx_header(path: Path, stream: IO[bytes]) -> tuple[int, tuple[int, ...], np.dtype[Any]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or not 1 <= magic[3] <= 4:
        raise InputError(
            f"{path}: is not an IDX file",
            why=f"it begins with {magic.hex(' ') or 'nothing'}, not with 00 00, a type and 1 to 4 dimensions",
        )
    sides = stream.read(4 * magic[3])
    if len(sides) < 4 * magic[3]:
        raise _damaged(path, "it ends within its header")
    return 4 + len(sides), struct.unpack(f">{magic[3]}I", sides), np.dtype(_IDX_TYPES[magic[2]])


def _idx_array(path: Path, file: Path, offset: int, size: int, shape: tuple[int, ...], dtype: Any) -> Array:
    wanted = math.prod(shape) * dtype.itemsize
    if size != wanted:
        there = f"{size:,}" if size < wanted else "more"
        raise _damaged(path, f"its header promises {wanted:,} bytes of values, but there are {there}")
    try:
        if not wanted:
            return np.empty(shape, dtype)
        return np.memmap(file, dtype, mode="r", offset=offset, shape=shape)
    except ValueError as error:  # one side is 0, and the others are more than an array can have
        raise _damaged(path, str(error)) from None


def _open_stl10(path: Path) -> Array:
    size = path.stat().st_size
    if not size:
        raise _damaged(path, "it is empty")
    values = np.memmap(path, np.uint8, mode="r")
    if path.stem.lower().endswith("_y"):
        return values
    if size % _STL10_BYTES:
        raise _damaged(path, f"{size:,} bytes are not a whole number of STL-10's 96 x 96 x 3 images")
    return values.reshape(-1, 3, _STL10_SIDE, _STL10_SIDE).transpose(0, 3, 2, 1)


def _copy(source: IO[bytes], target: IO[bytes], *, most: int) -> int:
    written = 0
    while written < most and (block := source.read(min(1 << 20, most - written))):
        written += target.write(block)
    return written


def _guarded(path: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _damaged(path, str(error)) from None


def _refuse_bomb(what: str, unpacked_bytes: int, packed_bytes: int) -> None:
    if unpacked_bytes > _SUSPICIOUS_BYTES and unpacked_bytes > _SUSPICIOUS_RATIO * packed_bytes:
        raise InputError(
            f"{what}: {packed_bytes / 1e6:,.1f} MB would unpack to {unpacked_bytes / 1e9:,.1f} GB",
            why="images do not compress like that: nearly all bytes are the same",
            hint="If this is intended, save it uncompressed, as .npy files.",
        )


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path}: is cut short or damaged", why=why, hint="Copy or download it again.")
