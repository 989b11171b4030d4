"""Calibration photos: from the user's own folder, kept apart from scored photos, and audited."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from drawing import draw_photo
from PIL import Image

from edgetl.quantization.calibration_photos import CalibrationPhoto, audit, calibration_photos
from edgetl.runs.directory import Run
from edgetl_device._lib.documents import to_json
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import InputError
from edgetl_device.preprocess import preprocess


def _drawn(folder: Path, count: int, *, first_seed: int = 9000) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        draw_photo(first_seed + number, 96, 96).save(folder / f"{number:03}.png")
    return folder


def _kinds(calibration: Any) -> list[str]:
    return [finding.kind for finding in calibration.findings]


def test_training_photos_are_chosen_and_audited(tiny_run: Run) -> None:
    found = calibration_photos(tiny_run, count=12)
    assert found.pixels.shape == (12, small.SIZE, small.SIZE, 3)
    train = {sample.sha256 for sample in tiny_run.of("train")}
    assert {photo.sha256 for photo in found.photos} <= train
    photo = found.photos[5]
    data = (tiny_run.data_root / photo.path).read_bytes()
    np.testing.assert_array_equal(found.pixels[5], preprocess(data, tiny_run.preprocess))
    document = to_json(found.record)
    assert document["split"] == "train"
    assert document["audit"]["unique"] == 12
    assert document["audit"]["classes"] == dict.fromkeys(small.LABELS, 4)
    low, high = document["audit"]["pixel_range"]["green"]
    assert (low, high) == (found.pixels[..., 1].min(), found.pixels[..., 1].max())
    assert found.warnings == ()


def test_a_flat_folder_calibrates(tiny_run: Run, tmp_path: Path) -> None:
    folder = _drawn(tmp_path / "own", 12)
    (folder / ".hidden").write_text("skipped")
    found = calibration_photos(tiny_run, folder=folder)
    assert [photo.sha256 for photo in found.photos] == [sha256_file(folder / photo.path) for photo in found.photos]
    assert len(found.pixels) == 12
    document = to_json(found.record)
    assert document["folder"] == folder.name
    assert "split" not in document
    assert {row["path"] for row in document["files"]} == {f"{number:03}.png" for number in range(12)}
    assert "no class folders" in document["audit"]["classes"]["unknown"]
    assert found.warnings == ()


def test_the_sample_of_class_folders_is_stratified_and_a_missing_class_is_said(tiny_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    _drawn(folder / "bolt", 8)
    _drawn(folder / "gear", 8, first_seed=9100)
    found = calibration_photos(tiny_run, count=10, folder=folder)
    assert [photo.label for photo in found.photos] == ["bolt", "gear"] * 5
    assert _kinds(found) == ["missing_class", "not_all"]
    assert found.warnings == ("no calibration photo of washer",)


def test_repeated_and_unreadable_files_are_left_out_and_said(tiny_run: Run, tmp_path: Path) -> None:
    folder = _drawn(tmp_path / "own", 11)
    # The same pixels in another format, and in a copy.
    Image.open(folder / "003.png").save(folder / "other.bmp")
    shutil.copy(folder / "004.png", folder / "zz.png")
    (folder / "notes.txt").write_text("not a photo")
    found = calibration_photos(tiny_run, folder=folder)
    assert len(found.photos) == to_json(found.record)["audit"]["unique"] == 11
    by_kind = {finding.kind: finding for finding in found.findings}
    assert by_kind["repeated"].files == ("other.bmp", "zz.png")
    assert by_kind["unreadable"].files == ("notes.txt",)
    assert len(found.warnings) == 2


def test_few_and_dim_photos_are_warned_about(tiny_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for number in range(3):
        dim = np.asarray(draw_photo(number, 96, 96), np.uint8) // 4 + 40
        Image.fromarray(dim).save(folder / f"{number}.png")
    found = calibration_photos(tiny_run, folder=folder)
    assert _kinds(found) == ["few_photos", "narrow_range"]
    assert "only 3 different" in found.warnings[0]
    low, high = int(found.pixels.min()), int(found.pixels.max())
    assert f"{low} to {high} only" in found.warnings[1]


def test_the_audit_counts_by_content() -> None:
    photos = [
        CalibrationPhoto(f"{number}.png", "cat", f"hash {number}", f"pixels {number % 12}") for number in range(15)
    ]
    pixels = np.tile(np.arange(256, dtype=np.uint8)[None, :, None, None], (15, 1, 1, 3))
    (repeated,) = audit(photos, pixels, ("cat",))
    assert (repeated.kind, len(repeated.files)) == ("repeated", 6)
    assert "3 of 15" in repeated.message


@pytest.mark.parametrize("split", ["test", "val"])
@pytest.mark.parametrize("how", ["file", "pixels"])
def test_a_photo_that_is_scored_is_refused(tiny_run: Run, tmp_path: Path, split: Any, how: str) -> None:
    folder = _drawn(tmp_path / "own", 2)
    scored = tiny_run.of(split)[0]
    source = tiny_run.data_root / scored.path
    if how == "file":
        shutil.copy(source, folder / "copy.png")
    else:
        Image.open(source).convert("RGB").save(folder / "copy.bmp")
    with pytest.raises(InputError, match=scored.path) as caught:
        calibration_photos(tiny_run, folder=folder)
    assert f"{split} split (the same {how})" in str(caught.value)
    assert "copy" in str(caught.value)
    # Using a training photo is allowed.
    (path,) = folder.glob("copy.*")
    path.unlink()
    shutil.copy(tiny_run.data_root / tiny_run.of("train")[0].path, folder / "copy.png")
    assert len(calibration_photos(tiny_run, folder=folder).photos) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder.parent.mkdir(exist_ok=True), "no such folder"),
        (lambda folder: folder.write_text("a file"), "is a file"),
        (lambda folder: folder.mkdir(), "is empty"),
        (
            lambda folder: _drawn(folder / "spanner", 1),
            "spanner: is not a class of this model\nits classes are bolt, gear",
        ),
        (lambda folder: _drawn(folder / "train" / "bolt", 1), "train: is not a class"),
        (lambda folder: (_drawn(folder, 1), _drawn(folder / "bolt", 1)), "has photos beside class folders"),
        (lambda folder: (folder / "bolt").mkdir(parents=True), "no photos"),
        (
            lambda folder: (folder.mkdir(), (folder / "a.txt").write_text("text")),
            "none of its 1 files is a usable photo",
        ),
    ],
)
def test_folders_that_cannot_calibrate_are_refused(tiny_run: Run, tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "own")
    with pytest.raises(InputError, match=message) as caught:
        calibration_photos(tiny_run, folder=tmp_path / "own")
    assert str(tmp_path / "own") in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("folder", [None, "own"])
def test_no_photos_are_refused(tiny_run: Run, tmp_path: Path, folder: str | None) -> None:
    own = None if folder is None else _drawn(tmp_path / folder, 1)
    with pytest.raises(InputError, match="at least 1"):
        calibration_photos(tiny_run, count=0, folder=own)
