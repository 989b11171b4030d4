"""Pack the installed device package as a wheel, so that boards run the same code as this machine.

A wheel is a zip with a few text files (https://packaging.python.org/specifications/binary-distribution-format/), so
neither a build tool nor a source tree is needed.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import edgetl_device
from edgetl._lib.extras import install
from edgetl_device._lib.zips import add_member
from edgetl_device.errors import Unavailable

_WHEEL = "Wheel-Version: 1.0\nGenerator: edgetl\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True)
class Wheel:
    """A wheel.

    Attributes:
        name: File name.
        data: Content of the wheel file.
        requires: Values of ``Requires-Dist``.
        digest: SHA-256 over the list of files and their hashes, hexadecimal. A hash of ``data`` would depend on the
            zlib version.
        files: SHA-256 of each file of the package, by path in ``site-packages``.
    """

    name: str
    data: bytes
    requires: tuple[str, ...]
    digest: str
    files: dict[str, str]


@cache
def device_wheel() -> Wheel:
    """Return the installed edgetl-device, editable or not, as a wheel.

    Raises:
        Unavailable: It is importable but not installed, so its requirements are unknown.
    """
    try:
        about = metadata.distribution("edgetl-device")
    except metadata.PackageNotFoundError:
        raise Unavailable(
            "edgetl-device is importable but not installed here, so it cannot be sent to boards",
            hint=install(),
        ) from None
    stem = f"edgetl_device-{about.version}"
    package = Path(edgetl_device.__file__).resolve().parent
    contents = {
        f"{package.name}/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    files = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    contents[f"{stem}.dist-info/METADATA"] = (about.read_text("METADATA") or "").encode()
    contents[f"{stem}.dist-info/WHEEL"] = _WHEEL.encode()
    record = f"{stem}.dist-info/RECORD"
    contents[record] = _record(contents, record)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            add_member(archive, name, data)
    digest = hashlib.sha256(contents[record]).hexdigest()
    return Wheel(f"{stem}-py3-none-any.whl", packed.getvalue(), tuple(about.requires or ()), digest, files)


def _record(contents: dict[str, bytes], own_name: str) -> bytes:
    """Return RECORD: name, SHA-256 in unpadded URL-safe base64, size; only the name for RECORD itself."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    for name, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow([name, f"sha256={digest}", len(data)])
    rows.writerow([own_name, "", ""])
    return text.getvalue().encode()
