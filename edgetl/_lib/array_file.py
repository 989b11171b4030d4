"""Write ``.npy`` files larger than memory, row by row, in any order, from several threads."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt


class ArrayFile:
    """A ``.npy`` file of a known shape, open for writing rows.

    Rows are written with ``pwrite``, not through a writable memory map: on a full disk, a map ends the process with
    SIGBUS, whereas this raises OSError. Rows that are never written are zeros.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._shape = tuple(int(side) for side in shape)
        self._row_bytes = self._dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        self._stream = open(path, "wb")  # noqa: SIM115 - closed by __exit__
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(self._stream, header)
        self._stream.flush()
        self._start = self._stream.tell()
        os.truncate(self._stream.fileno(), self._start + shape[0] * self._row_bytes)

    def write(self, row: int, values: npt.NDArray[Any]) -> None:
        """Write one row; ``values`` has the shape of a row and is converted to the file's dtype."""
        if values.shape != self._shape[1:]:
            raise ValueError(f"a row of shape {values.shape} for {self._shape}")
        rest = np.ascontiguousarray(values, self._dtype).data.cast("B")
        offset = self._start + row * self._row_bytes
        while rest:
            written = os.pwrite(self._stream.fileno(), rest, offset)
            rest, offset = rest[written:], offset + written

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
