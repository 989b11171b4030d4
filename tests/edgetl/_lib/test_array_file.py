"""``.npy`` files written row by row: any order, any thread, any dtype; a full disk is an error, not a crash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import small
from branches import UNMEASURED

from edgetl._lib.array_file import ArrayFile


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_rows_in_any_order_from_many_threads(tmp_path: Path, dtype: type) -> None:
    wanted = np.random.default_rng(0).uniform(0, 255, (200, 5, 7)).astype(dtype)
    with ArrayFile(tmp_path / "a.npy", wanted.shape, dtype) as file, ThreadPoolExecutor(8) as pool:
        order = np.random.default_rng(1).permutation(len(wanted))
        list(pool.map(lambda row: file.write(int(row), wanted[row]), order))
    found = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, wanted)


def test_a_row_is_converted_and_a_missing_one_is_zero(tmp_path: Path) -> None:
    with ArrayFile(tmp_path / "a.npy", (3, 4), np.float16) as file:
        file.write(1, np.array([1, 2.5, -3, 0.1], np.float32)[::-1])
    found = np.load(tmp_path / "a.npy")
    np.testing.assert_array_equal(found, np.array([[0] * 4, [0.1, -3, 2.5, 1], [0] * 4], np.float16))


def test_a_row_of_another_shape_is_refused(tmp_path: Path) -> None:
    with ArrayFile(tmp_path / "a.npy", (3, 4), np.uint8) as file, pytest.raises(ValueError, match=r"\(5,\)"):
        file.write(0, np.zeros(5, np.uint8))


def test_a_file_without_rows_and_rows_without_sides(tmp_path: Path) -> None:
    with ArrayFile(tmp_path / "none.npy", (0, 4), np.uint8):
        pass
    assert np.load(tmp_path / "none.npy").shape == (0, 4)
    with ArrayFile(tmp_path / "flat.npy", (2,), np.float32) as file:
        file.write(1, np.float32(7).reshape(()))
    np.testing.assert_array_equal(np.load(tmp_path / "flat.npy"), [0, 7])


def test_a_full_disk_raises(tmp_path: Path) -> None:
    script = f"""
import errno, resource
from pathlib import Path
import numpy as np
from edgetl._lib.array_file import ArrayFile
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    with ArrayFile(Path({str(tmp_path / "a.npy")!r}), (100, 1000), np.uint8) as file:
        for row in range(100):
            file.write(row, np.ones(1000, np.uint8))
except OSError as error:
    assert error.errno == errno.EFBIG, error
    print("refused")
"""
    done = small.python(script, env=UNMEASURED)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr
