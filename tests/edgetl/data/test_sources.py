"""Data sets as people have them: arrays, IDX, STL-10 and CSV give the samples that a folder would."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from array_sources import NAMES, classes, load, npz, pictures, refused, table, write_idx, write_stl10
from PIL import Image

from edgetl.data import Dataset, photos_folder
from edgetl.data.split_folders import write_folders
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import InputError

Make = Callable[..., Path]


def pixels_of(dataset: Dataset) -> dict[str, np.ndarray]:
    """Return the original pixels of each sample by path."""
    return {one.path: np.asarray(Image.open(dataset.folder / one.path)) for one in dataset.samples}


# Every form, right


@pytest.mark.parametrize("form", ["npz", "compressed", "npy"])
def test_arrays_give_every_picture_its_pixels_label_and_split(tmp_path: Path, form: str) -> None:
    x, y, x_test, y_test = pictures(30), classes(30), pictures(9, seed=1), classes(9)
    data = tmp_path / "parts.npz"
    if form == "npy":
        data = tmp_path / "arrays"
        data.mkdir()
        for name, array in (("x_train", x), ("y_train", y), ("x_test", x_test), ("y_test", y_test)):
            np.save(data / f"{name}.npy", array)
    else:
        (np.savez if form == "npz" else np.savez_compressed)(data, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    (tmp_path / ("arrays" if form == "npy" else ".") / "class_names.txt").write_text("\n".join(NAMES))
    dataset = load(data)
    assert dataset.root == data
    # As the file has them, not by name.
    assert dataset.labels == NAMES
    assert [len(dataset.of("train")) + len(dataset.of("val")), len(dataset.of("test"))] == [30, 9]
    assert dataset.of("val")
    found = pixels_of(dataset)
    for sample in dataset.samples:
        side, label, file = sample.path.split("/")
        row = int(file.removesuffix(".bmp"))
        images, labels = (x, y) if side == "train" else (x_test, y_test)
        assert (images[row] == found[sample.path]).all()
        assert sample.label == label == NAMES[labels[row]]
        assert sample.split == "test" if side == "test" else sample.split in ("train", "val")


@pytest.mark.parametrize(
    "keys",
    [
        ("images", "labels"),
        ("X", "y"),
        ("data", "target"),
        ("train_images", "train_labels"),
        ("x_train", "y_train"),
        ("X-Train", "Y-Train"),
    ],
)
def test_common_names_of_arrays(tmp_path: Path, keys: tuple[str, str]) -> None:
    dataset = load(npz(tmp_path / "a.npz", **{keys[0]: pictures(12), keys[1]: classes(12)}))
    assert len(dataset.samples) == 12
    assert {sample.split for sample in dataset.samples} == {"train", "val", "test"}


@pytest.mark.parametrize("shape", [(20, 12, 12), (20, 12, 12, 1), (20, 12, 12, 3), (20, 9, 15, 3)])
@pytest.mark.parametrize("kind", ["uint8", "int64", "float16", "float64", "fortran"])
def test_kinds_of_pixels(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    stored = np.asfortranarray(x) if kind == "fortran" else x / 255 if "float" in kind else x
    stored = stored if kind == "fortran" else stored.astype(kind)
    dataset = load(npz(tmp_path / "a.npz", x=stored, y=classes(20)))
    found = pixels_of(dataset)
    assert len(found) == 20
    for path, pixels in found.items():
        assert (x[int(Path(path).stem)].squeeze() == pixels).all()


@pytest.mark.parametrize(
    "labels",
    [
        classes(12),
        classes(12).astype(np.uint8),
        classes(12)[:, None],
        classes(12).astype(np.float32),
        np.eye(3)[classes(12)],
        np.eye(3, dtype=np.int32)[classes(12)],
    ],
    ids=["int64", "uint8", "column", "whole floats", "one-hot floats", "one-hot integers"],
)
def test_kinds_of_labels(tmp_path: Path, labels: np.ndarray) -> None:
    dataset = load(npz(tmp_path / "a.npz", x=pictures(12), y=labels))
    assert dataset.labels == ("0", "1", "2")
    assert all(int(sample.label) == int(Path(sample.path).stem) % 3 for sample in dataset.samples)


def test_labels_that_are_names(tmp_path: Path) -> None:
    labels = np.array(NAMES)[classes(12)]
    assert load(npz(tmp_path / "a.npz", x=pictures(12), y=labels)).labels == tuple(sorted(NAMES))
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    dataset = load(npz(tmp_path / "a.npz", x=pictures(12), y=labels.astype("S")))
    assert dataset.labels == NAMES
    assert all(sample.label == labels[int(Path(sample.path).stem)] for sample in dataset.samples)


def test_numbers_as_names_keep_the_order_of_the_indices(tmp_path: Path) -> None:
    dataset = load(npz(tmp_path / "a.npz", x=pictures(60), y=classes(60, of=12)))
    assert dataset.labels == tuple(sorted(dataset.labels)) == tuple(f"{index:02}" for index in range(12))


def test_class_names_inside_the_npz_and_classes_without_photos(tmp_path: Path) -> None:
    names = np.array([*NAMES, "T-shirt/top"])
    y = np.where(classes(12) == 2, 3, classes(12))
    dataset = load(npz(tmp_path / "a.npz", x=pictures(12), y=y, classes=4, class_names=names, extra=np.zeros(3)))
    assert dataset.labels == ("wheel", "bolt", "T-shirt/top")
    messages = {finding.kind: finding.message for finding in dataset.findings}
    assert messages["empty_class"].endswith(": nut")
    assert next(one for one in dataset.findings if one.kind == "stray").files == ("extra",)
    # A label is no path.
    write_folders(dataset, tmp_path / "out", link=False)
    assert {path.name for path in (tmp_path / "out/train").iterdir()} == {"wheel", "bolt", "T-shirt_top"}


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files(tmp_path: Path, packed: bool) -> None:
    dataset = load(write_idx(tmp_path / "digits", packed=packed))
    assert [len(dataset.of("train")) + len(dataset.of("val")), len(dataset.of("test"))] == [18, 6]
    found = pixels_of(dataset)
    for sample in dataset.samples:
        images = pictures(18, channels=0) if sample.path.startswith("train") else pictures(6, channels=0, seed=1)
        assert (images[int(Path(sample.path).stem)] == found[sample.path]).all()
    # torchvision leaves both kinds side by side: the same set.
    twin = write_idx(tmp_path / "twin", packed=not packed)
    for file in twin.iterdir():
        shutil.copy(file, tmp_path / "digits")
    assert load(tmp_path / "digits").fingerprint == dataset.fingerprint


def test_stl10_files(tmp_path: Path) -> None:
    dataset = load(write_stl10(tmp_path / "stl10_binary"))
    assert dataset.labels == NAMES
    found = pixels_of(dataset)
    for sample in dataset.samples:
        side, label, file = sample.path.split("/")
        row = int(file.removesuffix(".bmp"))
        images = pictures(12, side=96) if side == "train" else pictures(4, side=96, seed=1)
        assert (images[row] == found[sample.path]).all()
        assert label == NAMES[row % 3]
    (tmp_path / "stl10_binary/class_names.txt").unlink()
    assert load(tmp_path / "stl10_binary").labels == ("1", "2", "3")


def test_one_array_of_a_folder_is_all_there_is_to_split(tmp_path: Path) -> None:
    for name in ("train", "test"):
        np.save(tmp_path / f"x_{name}.npy", pictures(15, seed=len(name)))
        np.save(tmp_path / f"y_{name}.npy", classes(15))
    dataset = load(tmp_path / "x_test.npy")
    assert {sample.split for sample in dataset.samples} == {"train", "val", "test"}
    assert len(dataset.samples) == 15


def test_a_csv_names_photos_where_they_lie(photo_folder: Make) -> None:
    root = photo_folder({"raw": 12})
    (root / "lists").mkdir()
    lines = [f"{'../raw' if index % 2 else root / 'raw'}/{index:03}.png,{NAMES[index % 3]}" for index in range(12)]
    dataset = load(table(root / "lists", "path,label", *lines))
    assert dataset.labels == tuple(sorted(NAMES))
    assert len(dataset.samples) == 12
    assert {sample.split for sample in dataset.samples} == {"train", "val", "test"}
    for sample in dataset.samples:
        assert sha256_file(dataset.folder / sample.path) == sample.sha256
        assert sample.label == NAMES[int(Path(sample.path).stem) % 3]


def test_a_csv_with_splits_in_any_column_order_and_with_semicolons(photo_folder: Make) -> None:
    root = photo_folder({"raw": 12})
    sides = ["train"] * 6 + ["Valid"] * 3 + ["test"] * 3
    lines = [f"{side};x;raw/{index:03}.png;{'ab'[index % 2]}" for index, side in enumerate(sides)]
    dataset = load(table(root, "Split;note;Path;Label", "", *lines))
    assert [len(dataset.of(split)) for split in ("train", "val", "test")] == [6, 3, 3]
    assert all(sample.path < "raw/006.png" for sample in dataset.of("train"))


def test_class_names_beside_a_csv_order_it_and_name_its_numbers(photo_folder: Make) -> None:
    root = photo_folder({"raw": 9})
    (root / "classes.txt").write_text("\n".join(NAMES))
    by_name = load(table(root, "path,label", *(f"raw/{index:03}.png,{NAMES[index % 3]}" for index in range(9))))
    by_index = load(table(root, "path,label", *(f"raw/{index:03}.png,{index % 3}" for index in range(9))))
    assert by_name.labels == by_index.labels == NAMES
    assert by_name.fingerprint == by_index.fingerprint


def test_the_audit_sees_copies_and_conflicts_in_arrays_too(tmp_path: Path) -> None:
    x, y = pictures(12), classes(12)
    x[3] = x[0]
    dataset = load(npz(tmp_path / "a.npz", x=x, y=y))
    [copies] = [one for one in dataset.findings if one.kind == "duplicate_file"]
    assert copies.groups == (("0/00.bmp", "0/03.bmp"),)
    x[4] = x[0]
    refused(npz(tmp_path / "b.npz", x=x, y=y), "two labels")


def test_small_pictures_are_said_to_be_enlarged(tmp_path: Path) -> None:
    [finding] = [
        one
        for one in load(npz(tmp_path / "a.npz", x=pictures(30, side=8), y=classes(30))).findings
        if one.kind == "small"
    ]
    assert finding.message.startswith("all 30 photos smaller than 32 px: enlarged")
    assert not finding.files


# The cache, and finding photos again


def test_photos_are_found_again_when_the_cache_is_gone(tmp_path: Path, fresh_cache: Path) -> None:
    data = npz(tmp_path / "a.npz", x=pictures(12), y=classes(12))
    dataset = load(data)
    before = {sample.path: sample.sha256 for sample in dataset.samples}
    shutil.rmtree(fresh_cache)
    folder = photos_folder(data)
    assert {path: sha256_file(folder / path) for path in before} == before
    data.unlink()
    with pytest.raises(InputError, match="data set of this run is missing"):
        photos_folder(data)


def test_a_lost_picture_is_written_again(tmp_path: Path, fresh_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = npz(tmp_path / "a.npz", x_train=pictures(12), y_train=classes(12))
    first = load(data)
    (first.folder / first.samples[0].path).unlink()
    assert load(data).samples == first.samples
    assert "damaged cache entry" in capsys.readouterr().err


def test_other_content_or_names_are_other_pictures(tmp_path: Path) -> None:
    data = npz(tmp_path / "a.npz", x=pictures(12), y=classes(12))
    first = load(data)
    npz(data, x=pictures(12), y=classes(12)[::-1])
    assert load(data).folder != first.folder
    npz(data, x=pictures(12), y=classes(12))
    (tmp_path / "labels.txt").write_text("\n".join(NAMES))
    assert load(data).labels == NAMES


def test_nothing_is_left_of_a_refused_source(tmp_path: Path, fresh_cache: Path) -> None:
    refused(npz(tmp_path / "a.npz", x=pictures(12) / 200, y=classes(12)), "floats")
    assert not list(fresh_cache.rglob("*.bmp"))
    assert not list((fresh_cache / "pictures").iterdir())
