"""Folders as people have them: which are splits, which are classes, and what is neither."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import small
from drawing import draw_photo

from edgetl.data import Dataset, check_dataset, list_photos, photos_folder
from edgetl.data.readers.split_names import split_of
from edgetl_device.bench.photoset import of_folder
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess
from edgetl_device.text import normal_names

Make = Callable[..., Path]
GOLDEN = Path(__file__).parents[2] / "golden" / "tiny.edgetl"


def load(root: Path) -> Dataset:
    return check_dataset(root, Preprocess(size=square(32)))


def found(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    return {finding.kind: finding.files for finding in dataset.findings if finding.kind not in ("few_photos", "small")}


def refused(root: Path, *said: str) -> None:
    with pytest.raises(InputError) as caught:
        load(root)
    assert len(str(caught.value).splitlines()) <= 3
    for part in said:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["train", "Training", "TRAIN", "train_set", "trainset", "training_set", "TrainData", "seg_train"]),
        ("val", ["val", "valid", "Validation", "validation-set", "dev", "Val Images"]),
        ("test", ["test", "Testing", "test_set", "testset", "seg_test", "evaluation", "images-test", "Test Set"]),
        (None, ["tram", "trainer", "contest", "set", "data", "train_test", "tests", "", "Testudo", "valve", "sunset"]),
    ],
)
def test_names_of_splits(split: str | None, names: list[str]) -> None:
    assert {name: split_of(name) for name in names} == dict.fromkeys(names, split)


def test_training_and_testing_are_splits(photo_folder: Make) -> None:
    dataset = load(photo_folder({f"Training/{one}": 8 for one in "abc"} | {f"Testing/{one}": 3 for one in "abc"}))
    assert dataset.labels == ("a", "b", "c")
    assert len(dataset.of("test")) == 9
    assert {sample.path.split("/")[0] for sample in dataset.of("train") + dataset.of("val")} == {"Training"}


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        # Splits below the classes, everywhere or in one of them.
        (
            {"a/train": 2, "a/test": 2, "b/train": 2, "b/test": 2},
            ["split folders below a: test, train", "FOLDER/{train"],
        ),
        ({"a/Training": 2, "a/Testing": 2, "b": 2}, ["split folders below a"]),
        # The layout of MVTec AD, all of it and one of its categories.
        (
            {
                f"{one}/{two}": 2
                for one in ("bottle", "cable")
                for two in ("train/good", "test/bad", "ground_truth/bad")
            },
            ["the same subfolders (ground_truth, test, train)", "photos/bottle"],
        ),
        ({"train/good": 2, "test/bad": 2, "ground_truth/bad": 2}, ["mixes split folders (test)", "ground_truth"]),
        # Which level are the classes?
        ({f"{one}/{two}": 2 for one in ("cats", "dogs") for two in ("day", "night")}, ["(cats, dogs)", "(day, night)"]),
        ({f"train/{one}/{two}": 2 for one in ("cats", "dogs") for two in ("day", "night")}, ["(cats, dogs)"]),
        # Detection and segmentation.
        ({"images": 2, "masks": 2}, ["images, masks", "not of classes", "FOLDER/<class>"]),
        ({"train/images": 2, "train/labels": 2, "valid/images": 2, "valid/labels": 2}, ["images, labels"]),
        ({"JPEGImages": 2, "Annotations": 2}, ["Annotations, JPEGImages"]),
    ],
)
def test_what_is_unclear_is_refused_with_the_layouts(
    photo_folder: Make, counts: dict[str, int], said: list[str]
) -> None:
    refused(photo_folder(counts), *said)


def test_nested_folders_of_a_class_are_still_read(photo_folder: Make) -> None:
    dataset = load(photo_folder({"a/day": 3, "a/night": 3, "b/day": 3, "c/images": 3}))
    assert {label: sum(count.values()) for label, count in dataset.counts().items()} == {"a": 6, "b": 3, "c": 3}
    # The one subfolder that every class has can be no class.
    assert load(photo_folder({"a/images": 3, "b/images": 3}, name="other", first_seed=50)).labels == ("a", "b")


@pytest.mark.parametrize(
    ("counts", "base"),
    [
        ({"flower_photos/daisy": 3, "flower_photos/rose": 3}, "flower_photos"),
        ({"archive/data/daisy": 3, "archive/data/rose": 3}, "archive/data"),
        ({"archive/train/daisy": 3, "archive/train/rose": 3}, "archive"),
    ],
)
def test_a_root_in_wrapping_folders_is_followed_and_named(
    photo_folder: Make, counts: dict[str, int], base: str
) -> None:
    root = photo_folder(counts)
    (root / "LICENSE.txt").write_text("a licence")
    dataset = load(root)
    assert dataset.labels == ("daisy", "rose")
    [wrapped] = [finding for finding in dataset.findings if finding.kind == "wrapped"]
    assert base in wrapped.message
    assert all((photos_folder(root) / sample.path).is_file() for sample in dataset.samples)


def test_splits_that_hold_themselves_are_followed(photo_folder: Make) -> None:
    counts = {
        "seg_train/seg_train/sea": 4,
        "seg_train/seg_train/ice": 4,
        "seg_test/images/sea": 2,
        "seg_test/images/ice": 2,
    }
    dataset = load(photo_folder(counts))
    assert dataset.labels == ("ice", "sea")
    assert len(dataset.of("test")) == 4


def test_a_single_class_stays_one(photo_folder: Make) -> None:
    root = photo_folder({"cats": 6})
    assert load(root).labels == ("cats",)
    assert load(photo_folder({"cats/day": 6}, name="other", first_seed=50)).labels == ("cats",)


def test_masks_beside_photos_are_left_out(photo_folder: Make) -> None:
    root = photo_folder({"benign": 4, "malignant": 4})
    shutil.move(root / "benign/000.png", root / "benign/benign (1).png")
    masks = ("benign/benign (1)_mask", "benign/benign (1)_mask_1", "malignant/002_gt")
    for number, name in enumerate((*masks, "malignant/gas_mask")):
        draw_photo(100 + number).save(root / f"{name}.png")
    dataset = load(root)
    assert found(dataset)["mask"] == tuple(sorted(f"{name}.png" for name in masks))
    assert len(dataset.samples) == 9


# What edgetl writes is no data


def test_runs_and_bundles_are_no_data(photo_folder: Make) -> None:
    root = photo_folder(
        {"a": 4, "b": 4, "runs/photos/plots": 2, "runs/other.unfinished": 2, "bundle/evalset": 2, "b/old/evalset": 1}
    )
    for name in ("runs/photos/run.json", "bundle/bundle.json", "b/old/bundle.json"):
        (root / name).write_text("{}")
    dataset = load(root)
    assert dataset.labels == ("a", "b")
    assert len(dataset.samples) == 8
    assert found(dataset)["stray"] == ("bundle/", "runs/")
    refused(root / "runs/photos", "was written by edgetl")
    refused(root / "runs", "only output of edgetl")


def test_nothing_is_written_among_the_photos(photo_folder: Make) -> None:
    root = photo_folder({"a": 4, "b": 4})
    for arguments in (
        ("train", "."),
        ("train", root, "--out", root / "a/run"),
        ("data", "split", ".", "split"),
        ("data", "preview", ".", "-o", "a/views.png"),
        ("advise", ".", "--plot", "b/depth.png"),
    ):
        text = small.refused(small.edgetl(*arguments, cwd=root))
        assert "lies inside" in text
        assert str(root.parent) in text
    assert sorted(path.name for path in root.rglob("*") if path.is_dir()) == ["a", "b"]


def test_a_listing_is_of_the_folder_that_was_given(photo_folder: Make) -> None:
    root = photo_folder({"photos/a": 2, "photos/b": 2})
    scan = list_photos(root)
    assert [file.path for file in scan.files] == [f"photos/{one}/00{n}.png" for one in "ab" for n in (0, 1)]
    assert scan.base == "photos"


# One form of text

COMPOSED, DECOMPOSED = "g\u00e4nsebl\u00fcmchen", "ga\u0308nseblu\u0308mchen"


def test_two_folders_that_look_the_same_are_an_error(photo_folder: Make) -> None:
    refused(photo_folder({COMPOSED: 3, DECOMPOSED: 3, "a": 3}), f"two folders of the class {COMPOSED}", r"\u0308")
    refused(photo_folder({"rose ": 3, "rose": 3}, name="spaces"), "two folders of the class rose")


def test_labels_have_one_form(photo_folder: Make) -> None:
    root = photo_folder({f"train/{DECOMPOSED}": 4, "train/a": 4, f"test/{COMPOSED}": 2, "test/a": 2})
    dataset = load(root)
    assert dataset.labels == ("a", COMPOSED)
    assert dataset.counts()[COMPOSED]["test"] == 2
    assert all((root / sample.path).is_file() for sample in dataset.samples)


def test_a_table_finds_files_whose_names_are_composed_differently(photo_folder: Make) -> None:
    root = photo_folder({DECOMPOSED: 4, "a": 4})
    rows = [f"{COMPOSED}/00{n}.png,{COMPOSED if n % 2 else DECOMPOSED}" for n in range(4)]
    rows += [f"a/00{n}.png,a" for n in range(4)]
    (root / "photos.csv").write_text("path,label\n" + "\n".join(rows), encoding="utf-8")
    (root / "classes.txt").write_text(f"{DECOMPOSED}\na\n", encoding="utf-8")
    dataset = load(root / "photos.csv")
    assert dataset.labels == (COMPOSED, "a")
    assert len(dataset.samples) == 8
    assert all((dataset.folder / sample.path).is_file() for sample in dataset.samples)


def test_a_model_knows_its_class_in_any_form(photo_folder: Make, tmp_path: Path) -> None:
    """A run of an earlier edgetl may have decomposed labels."""
    labels = ("a", DECOMPOSED)
    assert normal_names(labels) == ("a", COMPOSED)
    assert normal_names((COMPOSED, DECOMPOSED)) == (COMPOSED, DECOMPOSED)
    root = photo_folder({COMPOSED: 2, "a": 2})
    with zipfile.ZipFile(GOLDEN) as archive:
        archive.extractall(tmp_path / "tiny")
    bundle = replace(Bundle.open(tmp_path / "tiny"), labels=labels)
    assert [photo.index for photo in of_folder(root, bundle).photos] == [0, 0, 1, 1]


# What systems put beside photos

_SYSTEMS = {
    "Linux": ["lost+found", ".Trash-1000", "__pycache__"],
    "macOS": ["__MACOSX", "._a", ".Spotlight-V100", "Icon\r", "Network Trash Folder", "Temporary Items"],
    "Windows": ["System Volume Information", "$RECYCLE.BIN", "RECYCLER", "Thumbs.db", "FOUND.000", "~$list.docx"],
    "NAS": ["@eaDir", "#recycle", "@Recycle", "@tmp", "#snapshot", "~snapshot", "a.jpg@SynoEAStream"],
    "cameras": ["AVF_INFO", "CANONMSC", "EOSMISC", "LOST.DIR", "MVI_0001.THM", "M0100.CTG"],
}


@pytest.mark.parametrize("system", _SYSTEMS)
def test_what_systems_leave_is_no_class_and_no_photo(photo_folder: Make, system: str) -> None:
    root = photo_folder({"a": 5, "b": 5})
    for place in (root, root / "a"):
        for name in _SYSTEMS[system]:
            # As a folder with a photo in it, or as a file.
            if Path(name).suffix and not name.startswith("."):
                (place / name).write_bytes((root / "b/000.png").read_bytes()[::-1])
            else:
                (place / name).mkdir()
                draw_photo(77).save(place / name / "000.png")
    dataset = load(root)
    assert dataset.labels == ("a", "b")
    assert len(dataset.samples) == 10
    assert not dataset.findings


# Files in other forms


def test_a_table_with_backslashes(photo_folder: Make) -> None:
    root = photo_folder({"images/a": 4, "images/b": 4})
    rows = [f"images\\{label}\\00{n}.png,{label}" for label in "ab" for n in range(4)]
    (root / "photos.csv").write_text("path,label\n" + "\n".join(rows))
    dataset = load(root / "photos.csv")
    assert [sample.path for sample in dataset.samples[:2]] == ["images/a/000.png", "images/a/001.png"]
    # On Linux a backslash may be part of a name.
    (root / "images/a/000.png").rename(root / "images\\a\\000.png")
    assert "images\\a\\000.png" in [sample.path for sample in load(root / "photos.csv").samples]


def test_pointers_of_large_file_storage(photo_folder: Make) -> None:
    root = photo_folder({"a": 5, "b": 5})
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d" * 32 + "\nsize 12345\n"
    (root / "a/lfs.jpg").write_text(pointer)
    (root / "b/annex.jpg").write_text("/annex/objects/SHA256E-s12345--" + "4d" * 32 + ".jpg\n")
    assert found(load(root)) == {"pointer": ("a/lfs.jpg", "b/annex.jpg")}
    for path in root.rglob("*.png"):
        path.write_text(pointer)
    refused(root, "pointer of Git LFS", "git lfs pull")
