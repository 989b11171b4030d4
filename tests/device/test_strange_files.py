"""Pipes, devices, damaged archives and full disks: an error that names the right file, and no hang."""

from __future__ import annotations

import os
import resource
import shutil
import struct
from pathlib import Path

import pytest

from edgetl_device._lib import documents, jsonfile
from edgetl_device.bench.result import Result
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError, Unavailable, from_os_error

TINY = Path(__file__).resolve().parent.parent / "golden" / "tiny.edgetl"


@pytest.fixture(params=["pipe", "/dev/zero"])
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param != "pipe":
        return Path(request.param)
    os.mkfifo(tmp_path / "pipe.edgetl")
    return tmp_path / "pipe.edgetl"


@pytest.mark.parametrize(
    "read",
    [Bundle.open, lambda path: documents.read(Result, path), lambda path: jsonfile.read_json(path, "edgetl.run/1")],
    ids=["bundle", "result", "document"],
)
def test_a_pipe_or_a_device_is_refused(endless: Path, read) -> None:
    with pytest.raises(InputError, match="is a pipe or a device, not a file"):
        read(endless)


@pytest.mark.parametrize(("field", "add"), [(12, 1 << 20), (16, 100_000)], ids=["size", "place"])
def test_a_zip_whose_directory_is_said_to_be_elsewhere(tmp_path: Path, field: int, add: int) -> None:
    """Its members are then before the start of the file, for which the system only says: Invalid argument."""
    data = bytearray(TINY.read_bytes())
    place = len(data) - 22 + field
    struct.pack_into("<I", data, place, struct.unpack_from("<I", data, place)[0] + add)
    (tmp_path / "a.edgetl").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.edgetl: (bundle\.json cannot be read|not a bundle)") as caught:
        Bundle.open(tmp_path / "a.edgetl")
    assert "Invalid argument" not in str(caught.value)


def test_a_full_disk_names_the_copy_and_not_the_original(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # like a full disk: EFBIG
            shutil.copyfile(TINY, tmp_path / "copy")
        except OSError as error:
            known = from_os_error(error)
            code = 0 if isinstance(known, Unavailable) and known.what.startswith(f"{tmp_path / 'copy'}: ") else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
