"""Arrays, tables and binaries that are wrong: each a clear error of at most three lines, and nothing is unpickled."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_sources import NAMES, SPEC, classes, idx, npz, pictures, refused, table, write_idx, write_stl10

from edgetl.data import check_dataset

Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (pictures(12, channels=3).transpose(0, 3, 1, 2), "Channels come last"),
        (pictures(12, channels=4), r"expected \[N, H, W\]"),
        (pictures(12).reshape(12, -1), "numpy.reshape"),
        (pictures(12)[None], r"expected \[N, H, W\]"),
        (pictures(0), "no images"),
        (pictures(12).astype(np.float32), "floats from 0 to 255.*\nmust be 0..1\nDivide by 255"),
        (pictures(12) / 127.5 - 1, "Undo the normalization"),
        (np.where(pictures(12) > 250, np.nan, 0.5), "image 0 has NaN or infinite pixels"),
        (np.full((12, 8, 8), np.inf), "NaN or infinite"),
        (pictures(12).astype(np.int16) * 16, r"integers from 0 to 40.*\nmust be 0..255"),
        (pictures(12).astype(np.int16) - 5, "integers from -5"),
        ((pictures(12) > 99).astype(np.uint8), "no pixel is brighter than 1 of 255"),
        (pictures(12) > 99, "pixels of type bool"),
        (pictures(12).astype(np.complex64), "pixels of type complex64"),
    ],
)
def test_arrays_that_are_no_pictures(tmp_path: Path, x: np.ndarray, message: str) -> None:
    refused(npz(tmp_path / "a.npz", x=x, y=classes(len(x))), message)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (classes(11), "11 labels for 12 images"),
        (np.eye(3)[classes(12)] * 0.9, "row 0 sums to 0.9"),
        (np.eye(3)[classes(12)] + np.eye(3)[0], "row 0 sums to 2"),
        (np.full((12, 2), 0.5), "row 0 is a mixture"),
        (classes(12) - 1, "row 0 is -1.*\nlabels must count from 0"),
        (classes(12) + 0.5, "row 0 is 0.5"),
        (np.where(classes(12) > 1, np.nan, 0.0), "row 2 is not a number"),
        (np.zeros((12, 2, 2)), "labels of shape"),
        (np.zeros(12, np.complex64), "labels of type complex64"),
        (np.array(["\u00fc".encode()] * 12), "bytes that are not ASCII"),
        # Above the last of Unicode's; found by fuzzing.
        (np.frombuffer(b"c\0\0\0a\0\0\0\0\0\0\x01" * 12, "<U3"), "numbers that are no characters"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, y: np.ndarray, message: str) -> None:
    refused(npz(tmp_path / "a.npz", x=pictures(12), y=y), message)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("a", "b"), "has arrays a, b\nunknown names\nName them x_train"),
        (("x", "b"), "has x, but no labels"),
        (("b", "y_test"), "has y_test, but no images"),
        (("x", "images", "y"), "both x and images"),
        (("x", "y_train"), "only some"),
        (("arr_0", "arr_1"), "unknown names"),
    ],
)
def test_names_that_do_not_say_what_they_are(tmp_path: Path, keys: tuple[str, ...], message: str) -> None:
    refused(npz(tmp_path / "a.npz", **dict.fromkeys(keys, pictures(3))), message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\ntwo\n", "label 2 has no name among 2"),
        ("one\ntwo\ntwo\n", "'two' twice"),
        ("\n\n", "no class names"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_files_of_class_names_that_do_not_fit(tmp_path: Path, text: str | bytes, message: str) -> None:
    data = npz(tmp_path / "a.npz", x=pictures(12), y=classes(12))
    (tmp_path / "classes.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(data, message)


def test_labels_from_one_and_contradicting_name_files(tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", x=pictures(12), y=classes(12) + 1)
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    refused(data, "subtract 1")
    (tmp_path / "labels.txt").write_text("\n".join(reversed(NAMES)))
    refused(data, "list different classes")


class _Trap:
    """Pickled, it would make a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("form", ["npz", "npy", "a pickle called npy", "a pickle called npz"])
def test_nothing_is_ever_unpickled(tmp_path: Path, form: str) -> None:
    mark = tmp_path / "loaded"
    traps = np.array([_Trap(mark)] * 12, dtype=object)
    data = tmp_path / ("x.npy" if "npy" in form else "a.npz")
    if form == "npz":
        np.savez(data, x=pictures(12), y=traps)
    elif form == "npy":
        np.save(data, traps, allow_pickle=True)
    else:
        data.write_bytes(pickle.dumps(_Trap(mark)))
    np.save(tmp_path / "y.npy", classes(12))
    refused(data, "Python objects" if "pickle" not in form else "is not a")
    assert not mark.exists()
    pickle.loads(pickle.dumps(_Trap(mark)))
    assert mark.exists(), "the trap itself works"


def test_an_npz_that_would_fill_the_disk(tmp_path: Path) -> None:
    """Twelve gigabytes of zeros, as zip can hold them: stored as a header and one deflated block again and again."""
    header = io.BytesIO()
    shape = (12_000, 1000, 1000)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    data = tmp_path / "a.npz"
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(3 << 20))
        np.save(tmp_path / "y.npy", np.zeros(12_000, np.uint8))
        archive.write(tmp_path / "y.npy", "y.npy")
    # The size that the directory of the zip promises is what is believed before anything is unpacked.
    content = bytearray(data.read_bytes())
    size = (len(header.getvalue()) + (3 << 20)).to_bytes(4, "little")
    for start in (content.find(size), content.rfind(size)):
        content[start : start + 4] = (4_000_000_000).to_bytes(4, "little")
    data.write_bytes(content)
    refused(data, r"would unpack to 4.0 GB\nimages do not compress like that")


def test_damaged_npz_and_npy(tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", x=pictures(12), y=classes(12))
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    refused(data, "not an .npz file, or is cut short")
    broken = bytearray(whole)
    broken[len(whole) // 3] ^= 0xFF
    data.write_bytes(broken)
    refused(data, "cut short or damaged")
    np.save(tmp_path / "x.npy", pictures(12))
    np.save(tmp_path / "y.npy", classes(12))
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:1000])
    refused(tmp_path / "x.npy", "x.npy: is not a .npy array, or is cut short")
    (tmp_path / "x.npy").write_bytes(b"")
    refused(tmp_path / "x.npy", "is not a .npy array")


def test_an_npz_whose_directory_is_said_to_be_elsewhere(tmp_path: Path) -> None:
    """The error names the file, and not the cache that it was being unpacked to."""
    data = npz(tmp_path / "a.npz", x=pictures(12), y=classes(12))
    content = bytearray(data.read_bytes())
    (place,) = struct.unpack_from("<I", content, len(content) - 6)
    struct.pack_into("<I", content, len(content) - 6, place + 100_000)
    data.write_bytes(content)
    refused(data, r"a\.npz: is cut short or damaged")


def test_damaged_idx_files(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "digits", packed=False)
    images = folder / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    for content, message in (
        (whole[:-1], "promises 2,592 bytes of values, but there are 2,591"),
        (whole + b"x", "there are more"),
        (whole[:9], "ends within its header"),
        (b"\x89PNG" + whole, "not an IDX file\nit begins with 89 50 4e 47"),
        (b"", "it begins with nothing"),
    ):
        images.write_bytes(content)
        refused(folder, message)
    images.write_bytes(whole)
    labels = folder / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(classes(17).astype(np.uint8)))
    refused(folder, "17 labels for 18 images")
    labels.unlink()
    refused(folder, "has train-images-idx3-ubyte, but no labels")


def test_damaged_packed_idx_files(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "digits")
    images = folder / "t10k-images-idx3-ubyte.gz"
    whole = images.read_bytes()
    for content, message in (
        (whole[:-20], "cut short or damaged"),
        (b"not gzip" + whole, "cut short or damaged"),
        (gzip.compress(idx(pictures(6, channels=0))[:-3]), "cut short or damaged"),
        (gzip.compress(idx(pictures(6, channels=0)) + bytes(99)), "there are more"),
    ):
        images.write_bytes(content)
        refused(folder, message)


def test_damaged_stl10_files(tmp_path: Path) -> None:
    folder = write_stl10(tmp_path / "stl10_binary")
    labels = (folder / "train_y.bin").read_bytes()
    (folder / "train_y.bin").write_bytes(labels[:-1])
    refused(folder, "11 labels for 12 images")
    (folder / "train_y.bin").write_bytes(labels[:-1] + b"\0")
    refused(folder, "row 11 is 0.*\nlabels must count from 1")
    (folder / "train_y.bin").write_bytes(labels)
    (folder / "train_X.bin").write_bytes((folder / "train_X.bin").read_bytes()[:-5])
    refused(folder, "not a whole number of STL-10")
    (folder / "train_X.bin").write_bytes(b"")
    refused(folder, "empty")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "is empty"),
        (("file,class", "raw/000.png,a"), "has no column path and no column label"),
        (("path,label",), "no photos"),
        (
            ("path,label", "raw/000.png,a", "raw/9.png,b", "raw/8.png,b"),
            r"2 of its 3 files are missing\nsuch as raw/9.png \(line 3\)",
        ),
        (("path,label", "raw,a"), "1 of its 1 files are missing"),
        (("path,label", "raw/000.png"), "line 2 has 1 fields, not 2"),
        (("path,label", "raw/000.png,"), "line 2 has no label"),
        (("path,label", ",a"), "line 2 has no path"),
        (("path,label,split", "raw/000.png,a,trian"), "line 2 has split 'trian'\nknown are train, val"),
        (("path,label,split", "raw/000.png,a,"), "line 2 has split ''"),
        (("path,label", '"raw/000.png,a'), "not a CSV table"),
    ],
)
def test_tables_that_are_none(photo_folder: Make, lines: tuple[str, ...], message: str) -> None:
    refused(table(photo_folder({"raw": 2}), *lines), message)


def test_a_table_whose_labels_are_not_among_the_names(photo_folder: Make) -> None:
    root = photo_folder({"raw": 2})
    (root / "classes.txt").write_text("a\nb\n")
    refused(table(root, "path,label", "raw/000.png,a", "raw/001.png,c"), "label 'c' is not in the file of class names")
    refused(table(root, "path,label", "raw/000.png,0", "raw/001.png,2"), "label '0' is not in")


def test_other_files_are_still_refused(tmp_path: Path) -> None:
    (tmp_path / "photos.tar").write_bytes(b"PK")
    refused(tmp_path / "photos.tar", "is a file, not a folder of photos")
    (tmp_path / "photos.zip").write_bytes(b"PK")
    refused(tmp_path / "photos.zip", "is not a zip, or is damaged")
    refused(tmp_path / "none.npz", "no such")
    (tmp_path / "a.npz").mkdir()
    refused(tmp_path / "a.npz", "no class folders")
    np.save(tmp_path / "features.npy", pictures(3))
    refused(tmp_path / "features.npy", "not named like an array of images")


def test_one_class_in_an_array(tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", x=pictures(6), y=np.zeros(6, np.int64))
    assert [one.kind for one in check_dataset(data, SPEC).findings if one.severity == "error"] == ["one_class"]
