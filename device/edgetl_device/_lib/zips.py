"""Members of zips, the same bytes on every system and every day."""

from __future__ import annotations

import zipfile

# The earliest date that a zip can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def add_member(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a file, compressed as the archive says."""
    member = zipfile.ZipInfo(name, _EPOCH)
    member.create_system, member.external_attr = 3, 0o644 << 16  # Unix, on any system
    member.compress_type = archive.compression
    archive.writestr(member, data)
