"""The pixel cache: right pixels, right facts, found again, remade when damaged, small in memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetl.data.pixels import PhotoFacts, PixelCache, Unreadable, decode_files, hash_files
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess, preprocess

SPEC = Preprocess(size=square(32))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGETL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def files(photo_folder: Callable[..., Path]) -> dict[str, Path]:
    return by_hash(photo_folder({"a": 7}))


def by_hash(root: Path) -> dict[str, Path]:
    return {sha256_file(path): path for path in root.rglob("*.*")}


def right(pixels: PixelCache, files: dict[str, Path], spec: Preprocess = SPEC) -> bool:
    return all(
        np.array_equal(pixels.array[pixels.row[sha256]], preprocess(path, spec)) for sha256, path in files.items()
    )


def test_pixels_are_those_of_preprocess(files: dict[str, Path]) -> None:
    pixels = decode_files(files, SPEC)
    assert pixels.array.shape == (7, 32, 32, 3)
    assert pixels.array.dtype == np.uint8
    assert isinstance(pixels.array, np.memmap)
    assert not pixels.array.flags.writeable
    assert right(pixels, files)
    assert {(fact.width, fact.height) for fact in pixels.facts.values()} == {(64, 48)}


def test_found_again_without_decoding(files: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    first = decode_files(files, SPEC)
    assert "Decoding" in capfd.readouterr().err
    moved = {sha256: Path("/nowhere") for sha256 in files}
    second = decode_files(moved, SPEC)
    assert capfd.readouterr().err == ""
    assert (second.key, second.row, second.facts) == (first.key, first.row, first.facts)


def test_the_key_follows_files_spec_and_pillow(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [decode_files(files, SPEC).key, decode_files(dict(list(files.items())[1:]), SPEC).key]
    keys += [decode_files(files, Preprocess(size=square(32), fit=fit)).key for fit in ("crop", "pad")]
    keys += [decode_files(files, Preprocess(size=square(33))).key]
    monkeypatch.setattr("PIL.__version__", "0.0.1")
    keys += [decode_files(files, SPEC).key]
    assert len(set(keys)) == len(keys)


def cut(folder: Path) -> None:
    path = folder / "pixels.npy"
    path.write_bytes(path.read_bytes()[:-1])


def edit(folder: Path) -> None:
    path = folder / "pixels.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 255
    path.write_bytes(data)


def other_shape(folder: Path) -> None:
    np.save(folder / "pixels.npy", np.zeros((7, 16, 64, 3), np.uint8))
    facts = json.loads((folder / "facts.json").read_text())
    status = (folder / "pixels.npy").stat()
    facts |= {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    (folder / "facts.json").write_text(json.dumps(facts))


def cut_facts(folder: Path) -> None:
    path = folder / "facts.json"
    path.write_bytes(path.read_bytes()[:-20])


def lose_a_fact(folder: Path) -> None:
    facts = json.loads((folder / "facts.json").read_text())
    facts.popitem()
    (folder / "facts.json").write_text(json.dumps(facts))


@pytest.mark.parametrize(
    "damage",
    [cut, edit, other_shape, cut_facts, lose_a_fact, lambda folder: (folder / "pixels.npy").unlink()],
    ids=["cut", "edited", "other shape", "cut facts", "lost fact", "lost pixels"],
)
def test_a_damaged_entry_is_noticed_and_made_again(
    damage: Callable[[Path], None], files: dict[str, Path], cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = decode_files(files, SPEC).key
    damage(cache / "pixels" / key)
    capfd.readouterr()
    assert right(decode_files(files, SPEC), files)
    assert "damaged cache" in capfd.readouterr().err


def test_unreadable_files_have_a_reason_and_no_row(photo_folder: Callable[..., Path]) -> None:
    root = photo_folder({"a": 2})
    (root / "a" / "text.jpg").write_text("not a photo")
    (root / "a" / "cut.png").write_bytes((root / "a" / "000.png").read_bytes()[:-200])
    files = by_hash(root)
    pixels = decode_files(files, SPEC)
    kinds = {files[sha256].name: fact.kind for sha256, fact in pixels.facts.items() if isinstance(fact, Unreadable)}
    assert kinds == {"text.jpg": "not_image", "cut.png": "truncated"}
    assert len(pixels.row) == 2
    assert decode_files(files, SPEC).facts == pixels.facts


def test_one_digest_for_one_picture_in_two_formats_and_at_any_size(tmp_path: Path) -> None:
    cells = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(cells).resize((1600, 1200))
    image.save(tmp_path / "large.jpg")
    image.resize((320, 240)).save(tmp_path / "small.jpg")
    image.resize((64, 48)).save(tmp_path / "same.png")
    image.resize((64, 48)).save(tmp_path / "same.bmp")
    files = by_hash(tmp_path)
    digests = [
        {
            files[sha256].name: fact.digest
            for sha256, fact in decode_files(files, Preprocess(size=square(size))).facts.items()
        }
        for size in (32, 96, 160, 224, 512)
    ]
    assert all(digest == digests[0] for digest in digests)
    assert digests[0]["same.png"] == digests[0]["same.bmp"]
    assert len(set(digests[0].values())) == 3


def test_the_size_is_that_of_the_upright_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("turned.jpg", "turned.png"):
        Image.new("RGB", (1600, 1200), (9, 9, 9)).save(tmp_path / name, exif=exif)
    facts = decode_files(by_hash(tmp_path), SPEC).facts.values()
    assert [(fact.width, fact.height) for fact in facts if isinstance(fact, PhotoFacts)] == [(1200, 1600)] * 2


def test_rows_follow_samples(files: dict[str, Path]) -> None:
    from edgetl.data import Sample

    pixels = decode_files(files, SPEC)
    sha256 = sorted(files)[3]
    rows = pixels.rows([Sample("p", "a", "train", sha256, "g")])
    assert rows.dtype == np.int64
    assert rows.tolist() == [pixels.row[sha256]]
    assert pixels.rows([]).shape == (0,)


def test_a_file_that_changes_after_hashing_is_an_error_and_leaves_nothing(files: dict[str, Path], cache: Path) -> None:
    shutil.copy(*list(files.values())[:2])
    with pytest.raises(InputError, match="was changed"):
        decode_files(files, SPEC)
    assert not list(cache.glob("pixels/*"))


def test_hashes_in_order_and_reasons(files: dict[str, Path], tmp_path: Path) -> None:
    paths = [*files.values(), tmp_path / "gone.png"]
    *hashes, gone = hash_files(paths)
    assert hashes == list(files)
    assert gone == Unreadable("no_access", "No such file or directory")


def test_memory_does_not_grow_with_the_number_of_photos(photo_folder: Callable[..., Path], cache: Path) -> None:
    few, many = photo_folder({"a": 20}, "few"), photo_folder({"a": 220}, "many", first_seed=1000)
    code = (
        "import sys, resource\nfrom pathlib import Path\n"
        "from edgetl.data.pixels import decode_files, hash_files\n"
        "from edgetl_device.input_size import square\nfrom edgetl_device.preprocess import Preprocess\n"
        "paths = sorted(Path(sys.argv[1]).rglob('*.png'))\n"
        "pixels = decode_files(dict(zip(hash_files(paths), paths)), Preprocess(size=square(320)))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, pixels.array.nbytes // 2**20)\n"
    )
    peaks = []
    for folder in (few, many):
        result = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
        peak_mib, array_mib = map(int, result.stdout.split())
        peaks.append(peak_mib)
    assert array_mib > 60
    assert peaks[1] - peaks[0] < 25
