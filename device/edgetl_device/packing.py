"""Pack bundles as one ``.edgetl`` zip, and write their tables and arrays, without timestamps.

``docs/reference/bundle.md`` describes the format.
"""

from __future__ import annotations

import csv
import io
import os
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ._lib import documents
from ._lib.files import atomic_path
from ._lib.zips import add_member
from .bundle import CARD, INDEX_COLUMNS, SIGNATURES, Bundle
from .signature import Signatures


def pack(
    bundle: str | os.PathLike[str],
    file: str | os.PathLike[str],
    *,
    signatures: Signatures | None = None,
    card: bytes | None = None,
) -> Path:
    """Write a bundle as one ``.edgetl`` zip and return its path.

    Reproducible: members are sorted and dated 1980. They are stored, not deflated, as models and photos hardly
    compress and devices read them faster. Only the files listed in ``bundle.json``, the signatures
    and the model card are packed.

    Args:
        bundle: The bundle, usually a folder.
        file: The file to write; may be the bundle itself.
        signatures: Signatures that replace the bundle's.
        card: Model card that replaces the bundle's.

    Raises:
        InputError: The bundle is damaged.
    """
    opened = Bundle.open(bundle)
    first = opened.descriptions()
    if signatures is not None:
        first[SIGNATURES] = documents.dumps(signatures).encode()
    elif SIGNATURES in first:
        opened.signatures()  # refuses damaged ones
    if (found := card if card is not None else opened.card()) is not None:
        first[CARD] = found
    with atomic_path(file) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        # Manifest first, so that the start of the file identifies it.
        for name, data in first.items():
            add_member(archive, name, data)
        for name in sorted(opened.files):
            add_member(archive, name, opened.read(name))
    return Path(file)


def index_csv(rows: Iterable[tuple[str, str, str]]) -> bytes:
    """Return a bundle's table of held-out photos: file, label, SHA-256. Cells are verbatim."""
    text = io.StringIO()
    # Before Python 3.13, csv does not quote a carriage return by default, but reads it as the end of a line.
    plain, quoted = (csv.writer(text, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    plain.writerow(INDEX_COLUMNS)
    for row in rows:
        (quoted if any("\r" in cell for cell in row) else plain).writerow(row)
    return text.getvalue().encode()


def photo_name(position: int, count: int, label: str, suffix: str) -> str:
    """Return a portable file name for a held-out photo, from its position and label; the index has the exact label.

    Args:
        position: Its place among the held-out photos.
        count: Their number.
        label: Its label.
        suffix: The suffix, with its dot; a strange one is left out.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", label)[:40]
    return f"{position:0{len(str(count - 1))}d}_{plain}{suffix if re.fullmatch(r'[.][a-z0-9]{1,5}', suffix) else ''}"


def npz(**arrays: npt.NDArray[Any]) -> bytes:
    """Return an ``.npz`` like :func:`numpy.savez`, but without timestamps."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, array, allow_pickle=False)
            add_member(archive, f"{name}.npy", data.getvalue())
    return stream.getvalue()
