"""From a folder to samples: layouts, findings, what is left out, and splits that stay put."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from profiles import ADOBE_RGB, rgb_profile

from edgetl.data import AUDIT, Dataset, Finding, check_dataset, load_dataset, read_split, require_training, write_split
from edgetl.data.pixels import decode_files
from edgetl.quantization.findings import CALIBRATION
from edgetl_device._lib.documents import to_json
from edgetl_device._lib.files import sha256_file
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess

SPEC = Preprocess(size=square(32))
Make = Callable[..., Path]


def load(root: Path, **options: object) -> Dataset:
    return load_dataset(root, SPEC, **options)


def sides(dataset: Dataset) -> dict[str, str]:
    return {sample.path: sample.split for sample in dataset.samples}


def only(dataset: Dataset, kind: str) -> Finding:
    [finding] = [finding for finding in dataset.findings if finding.kind == kind]
    return finding


def kinds(dataset: Dataset) -> set[str]:
    return {finding.kind for finding in dataset.findings}


# Layouts


def test_flat_layout_is_cut_in_three(photo_folder: Make) -> None:
    dataset = load(photo_folder({"b": 40, "a": 40, "C": 40}))
    assert dataset.labels == ("C", "a", "b")
    assert len(dataset.samples) == 120
    for counts in dataset.counts().values():
        assert sum(counts.values()) == 40
        assert 1 <= counts["val"] <= 14
        assert 1 <= counts["test"] <= 14
    assert not dataset.findings
    assert dataset.pixels.array[dataset.pixels.rows(dataset.of("val"))].shape[1:] == (32, 32, 3)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_train_and_val_folders_are_taken_as_they_are(photo_folder: Make, val: str) -> None:
    dataset = load(photo_folder({"train/a": 6, "train/b": 6, f"{val}/a": 5, f"{val}/b": 5}))
    assert [len(dataset.of(split)) for split in ("train", "val", "test")] == [12, 10, 0]
    assert all(sample.path.startswith(f"{val}/") for sample in dataset.of("val"))


def test_without_a_val_folder_it_is_cut_from_train(photo_folder: Make) -> None:
    dataset = load(photo_folder({"train/a": 20, "train/b": 20, "test/a": 5, "test/b": 5}))
    assert len(dataset.of("test")) == 10
    assert dataset.of("val")
    assert all(sample.path.startswith("train/") for sample in dataset.of("val") + dataset.of("train"))


def test_a_train_folder_alone_is_cut_in_three(photo_folder: Make) -> None:
    counts = load(photo_folder({"train/a": 20, "train/b": 20})).counts()
    assert all(counts[label][split] for label in "ab" for split in ("train", "val", "test"))


def test_evaluation_folders_alone_load_but_do_not_train(photo_folder: Make) -> None:
    dataset = load(photo_folder({"test/a": 5}))
    assert len(dataset.of("test")) == 5
    assert not [finding for finding in dataset.findings if finding.severity == "error"]
    with pytest.raises(InputError, match="no training photos"):
        require_training(dataset)


def test_nested_folders_links_and_junk(photo_folder: Make) -> None:
    root = photo_folder({"a": 6, "b/day/1": 5, "b/night": 5, ".git/x": 3, "a/.thumbs": 2, "__MACOSX/a": 2})
    for name in (".DS_Store", "Thumbs.db", "a/.DS_Store", "a/Thumbs.db", "b/desktop.ini"):
        (root / name).write_bytes(b"junk")
    (root / "b" / "loop").symlink_to(root / "b")
    dataset = load(root)
    assert {label: sum(count.values()) for label, count in dataset.counts().items()} == {"a": 6, "b": 10}
    assert not dataset.findings


def test_a_class_may_be_called_train(photo_folder: Make) -> None:
    assert load(photo_folder({"train": 6, "tram": 6})).labels == ("train", "tram")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train/a": 3, "cats/b": 3}, "mixes split folders"),
        ({"val/a": 3, "valid/a": 3}, "two val folders"),
        ({"": 3}, "no class folders"),
        ({"train": 3}, "no photos in its class folders"),
        ({"a": 0, "b": 0}, "no photos in its class folders"),
    ],
)
def test_layouts_that_are_refused(photo_folder: Make, counts: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(photo_folder(counts))
    assert len(str(caught.value).splitlines()) <= 3


# Findings


def test_unreadable_files_are_left_out_and_listed(photo_folder: Make) -> None:
    root = photo_folder({"a": 6, "b": 6})
    photo = (root / "a" / "000.png").read_bytes()
    (root / "a" / "cut.png").write_bytes(photo[: len(photo) // 2])
    (root / "a" / "empty.jpg").write_bytes(b"")
    (root / "b" / "notes.txt").write_text("not a photo")
    (root / "b" / "dead.jpg").symlink_to("nowhere")
    (root / "README.md").write_text("outside")
    Image.new("F", (64, 64)).save(root / "b" / "floats.tif")
    os.mkfifo(root / "b" / "pipe.jpg")
    (root / "b" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(photo)
    dataset = load(root)
    assert len(dataset.samples) == 12
    assert {finding.kind: finding.files for finding in dataset.findings} == {
        "truncated": ("a/cut.png",),
        "empty": ("a/empty.jpg",),
        "not_image": ("b/notes.txt",),
        "unsupported": ("b/floats.tif",),
        "no_access": ("b/caf\\udce9.jpg", "b/dead.jpg", "b/pipe.jpg"),
        "stray": ("README.md",),
    }
    assert "3 files left out" in only(dataset, "no_access").message
    codes = {finding.kind: finding.code for finding in dataset.findings}
    assert codes == {
        "truncated": "truncated-image",
        "empty": "empty-file",
        "not_image": "not-an-image",
        "unsupported": "unsupported-pixels",
        "no_access": "unreadable-file",
        "stray": "ignored-file",
    }
    told = {one["kind"]: one["code"] for one in to_json(dataset.describe())["findings"]}
    assert told == codes


def test_no_code_is_given_twice() -> None:
    codes = [reason.code for reason in (*AUDIT.values(), *CALIBRATION.values())]
    assert len(set(codes)) == len(codes)
    assert all(reason.advice for reason in (*AUDIT.values(), *CALIBRATION.values()))


def test_small_photos_are_kept_and_listed(photo_folder: Make) -> None:
    root = photo_folder({"a": 6, "b": 6})
    Image.new("RGB", (31, 200), (1, 2, 3)).save(root / "a" / "icon.png")
    Image.new("RGB", (32, 32), (1, 2, 4)).save(root / "a" / "just.png")
    dataset = load(root)
    assert only(dataset, "small").files == ("a/icon.png",)
    assert "a/icon.png" in sides(dataset)


def test_of_identical_photos_one_is_kept(photo_folder: Make) -> None:
    root = photo_folder({"a": 6, "b": 6})
    shutil.copy(root / "a" / "002.png", root / "a" / "copy.png")
    Image.open(root / "b" / "001.png").save(root / "b" / "other.bmp")
    dataset = load(root)
    assert only(dataset, "duplicate_file").groups == (("a/002.png", "a/copy.png"),)
    assert only(dataset, "duplicate_pixels").groups == (("b/001.png", "b/other.bmp"),)
    assert {"a/002.png", "b/001.png"} <= set(sides(dataset))
    assert len(dataset.samples) == 12


def test_a_photo_under_two_labels_is_an_error_until_decided(photo_folder: Make) -> None:
    root = photo_folder({"a": 6, "b": 6})
    Image.open(root / "a" / "002.png").save(root / "b" / "same.bmp")
    with pytest.raises(InputError, match=r"two labels\nsuch as a/002.png = b/same.bmp\n.*on_conflict='drop'"):
        load(root)
    for dataset, severity in ((check_dataset(root, SPEC), "error"), (load(root, on_conflict="drop"), "warning")):
        assert only(dataset, "conflict").severity == severity
        assert only(dataset, "conflict").files == ("a/002.png", "b/same.bmp")
        assert len(dataset.samples) == 11
        assert not {"a/002.png", "b/same.bmp"} & set(sides(dataset))


def test_conflict_across_split_folders_too(photo_folder: Make) -> None:
    root = photo_folder({"train/a": 6, "train/b": 6, "test/a": 5, "test/b": 5})
    shutil.copy(root / "train/a/000.png", root / "test/b/x.png")
    with pytest.raises(InputError, match="two labels"):
        load(root)


def test_a_photo_in_training_and_evaluation_is_dropped_from_training(photo_folder: Make) -> None:
    root = photo_folder({f"{split}/{label}": 5 for split in ("train", "val", "test") for label in "ab"})
    shutil.copy(root / "val/a/000.png", root / "train/a/leak.png")
    shutil.copy(root / "test/a/001.png", root / "val/a/leak.png")
    shutil.copy(root / "test/b/001.png", root / "val/b/leak.png")
    shutil.copy(root / "test/b/001.png", root / "train/b/leak.png")
    dataset = load(root)
    assert {finding.code for finding in dataset.findings if finding.kind == "leak"} == {"leak-identical"}
    assert [(finding.message, finding.files) for finding in dataset.findings if finding.kind == "leak"] == [
        (
            "2 photos dropped from training: the same photo is in training and evaluation",
            ("train/a/leak.png", "val/a/000.png", "train/b/leak.png", "test/b/001.png"),
        ),
        (
            "2 photos dropped from validation: the same photo is in validation and test",
            ("val/a/leak.png", "test/a/001.png", "val/b/leak.png", "test/b/001.png"),
        ),
    ]
    assert not [path for path in sides(dataset) if "leak" in path]
    assert len({sample.group for sample in dataset.samples}) == len(dataset.samples) == 30


def test_class_findings(photo_folder: Make) -> None:
    root = photo_folder({"train/a": 30, "train/b": 7, "train/few": 2, "train/none": 0, "val/a": 2, "val/b": 2})
    dataset = load(root)
    assert dataset.labels == ("a", "b", "few")
    assert only(dataset, "empty_class").message.endswith(": none")
    assert only(dataset, "few_photos").message == "fewer than 5 photos in: few (2)"
    assert only(dataset, "imbalance").message == "imbalance: 30 training photos of a, 2 of few (over 4 to 1)"
    assert only(dataset, "class_mismatch").message.endswith(": val lacks few")
    require_training(dataset)


def test_balanced_enough(photo_folder: Make) -> None:
    assert "imbalance" not in kinds(load(photo_folder({"train/a": 20, "train/b": 5, "val/a": 2, "val/b": 2})))


def test_what_cannot_be_trained(photo_folder: Make) -> None:
    one = load(photo_folder({"a": 6}, "one"))
    assert only(one, "one_class").severity == "error"
    with pytest.raises(InputError, match="only one class, a"):
        require_training(one)
    untrained = load(photo_folder({"train/a": 6, "train/b": 6, "test/a": 5, "test/c": 5}, "untrained"))
    with pytest.raises(InputError, match="no training photos of c"):
        require_training(untrained)


def test_a_class_whose_training_photos_are_all_copies_says_so(photo_folder: Make) -> None:
    root = photo_folder({"train/a": 6, "train/b": 6, "test/a": 5, "test/b": 5})
    for photo in (root / "train" / "b").iterdir():
        with Image.open(photo) as image:
            image.save(root / "test" / "b" / f"copy of {photo.stem}.png")
    with pytest.raises(InputError, match="no training photos of b") as caught:
        require_training(load(root))
    assert caught.value.why.startswith("6 photos were dropped, because copies are in folders for evaluation: train/b/")
    assert "in one split only" in caught.value.hint


def test_a_class_that_is_dropped_as_copies_of_another_says_so(photo_folder: Make) -> None:
    root = photo_folder({"train/a": 6, "train/b": 6, "test/a": 5})
    for photo in (root / "train" / "b").iterdir():
        with Image.open(photo) as image:
            image.transpose(Image.Transpose.ROTATE_90).save(root / "test" / "a" / f"turned {photo.stem}.png")
    with pytest.raises(InputError, match="has only one class, a") as caught:
        require_training(load(root))
    assert caught.value.why.startswith("6 photos were dropped, because copies are in folders for evaluation: train/b/")


# Splits


def test_a_photo_does_not_move_when_others_come_or_go(photo_folder: Make) -> None:
    root = photo_folder({"a": 60, "b": 60})
    before = sides(load(root))
    photo_folder({"a/more": 60, "c": 60}, first_seed=500)
    after = sides(load(root))
    assert {path: after[path] for path in before} == before
    for path in list(before)[::3]:
        (root / path).unlink()
    fewer = sides(load(root))
    assert all(after[path] == side for path, side in fewer.items())


def test_a_renamed_or_re_encoded_photo_does_not_move(photo_folder: Make) -> None:
    root = photo_folder({"a": 30, "b": 30})
    before = load(root)
    for sample in before.samples:
        path = root / sample.path
        Image.open(path).save(path.with_name(f"new-{path.stem}.bmp"))
        path.unlink()
    after = load(root)
    assert {s.group: s.split for s in after.samples} == {s.group: s.split for s in before.samples}


def test_the_split_does_not_depend_on_the_size(photo_folder: Make) -> None:
    root = photo_folder({"a": 8, "b": 8})
    for path in root.rglob("*.png"):
        Image.open(path).resize((700, 700)).save(path.with_suffix(".jpg"))
        path.unlink()
    assert len({str(sides(load_dataset(root, Preprocess(size=square(size))))) for size in (96, 160, 224)}) == 1


def test_the_seed_changes_the_split_and_nothing_else(photo_folder: Make) -> None:
    root = photo_folder({"a": 30, "b": 30})
    first, again, other = load(root, seed=1), load(root, seed=1), load(root, seed=2)
    assert first.samples == again.samples
    assert first.fingerprint == again.fingerprint
    assert sides(first) != sides(other)
    assert first.fingerprint != other.fingerprint


def test_fractions_are_kept_within_chance(photo_folder: Make) -> None:
    root = photo_folder({"a": 300, "b": 300})
    dataset = load(root, val=0.1, test=0.3)
    # Four standard deviations of 600 draws.
    assert abs(len(dataset.of("test")) / 600 - 0.3) < 4 * (0.3 * 0.7 / 600) ** 0.5
    assert abs(len(dataset.of("val")) / 600 - 0.1) < 4 * (0.1 * 0.9 / 600) ** 0.5
    everything = load(root, val=0, test=0)
    assert len(everything.of("train")) == 600


@pytest.mark.parametrize("seed", range(12))
def test_every_side_of_a_small_class_has_a_photo(photo_folder: Make, seed: int) -> None:
    root = photo_folder({"one": 1, "two": 2, "three": 3, "four": 4})
    counts = load(root, seed=seed).counts()
    assert all(counts[label]["train"] for label in counts)
    assert all(counts[label][split] for label in ("three", "four") for split in ("val", "test"))


def test_only_the_stand_in_moves(photo_folder: Make) -> None:
    """Whoever differs from the thresholds' verdict in a small class is back in line once the class is large."""
    from edgetl.data.split import position

    root = photo_folder({"a": 5, "b": 5})
    small = load(root)
    photo_folder({"a/more": 80, "b/more": 80}, first_seed=500)
    large = sides(load(root))
    for sample in small.samples:
        where = position(sample.group, seed=0)
        verdict = "test" if where < 0.15 else "val" if where < 0.3 else "train"
        assert large[sample.path] == verdict
        ordered = sorted(position(other.group, 0) for other in small.samples if other.label == sample.label)
        if sample.split != verdict:
            assert where in ordered[:2]


@pytest.mark.parametrize("fractions", [{"val": 1.0}, {"test": -0.1}, {"val": 0.5, "test": 0.5}, {"val": float("nan")}])
def test_impossible_fractions(photo_folder: Make, fractions: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(fractions))):
        load(photo_folder({"a": 3, "b": 3}), **fractions)


def test_split_table_round_trip_and_damage(photo_folder: Make, tmp_path: Path) -> None:
    root = photo_folder({'odd, "name"': 6, "b": 6})
    samples = load(root).samples
    table = tmp_path / "split.csv"
    write_split(table, samples)
    assert read_split(table) == samples
    assert table.read_text().splitlines()[0] == "path,label,split,sha256,group"
    for damage in (table.read_text()[:-70], "a,b\n1,2\n", "", table.read_text().replace(",train,", ",trian,")):
        (tmp_path / "bad.csv").write_text(damage)
        with pytest.raises(InputError):
            read_split(tmp_path / "bad.csv")
    with pytest.raises(InputError, match="no such file"):
        read_split(tmp_path / "none.csv")


# The whole of it


def test_samples_point_at_their_files(photo_folder: Make) -> None:
    dataset = load(photo_folder({"a/x": 6, "b": 6}))
    for sample in dataset.samples:
        assert sha256_file(dataset.root / sample.path) == sample.sha256
    summary = dataset.describe()
    assert vars(summary.photos) == {split: len(dataset.of(split)) for split in ("train", "val", "test")}
    assert sum(counts.all for counts in summary.classes.values()) == 12


def test_loading_imports_no_tensorflow(photo_folder: Make) -> None:
    code = (
        "import sys\nfrom edgetl.data import load_dataset\n"
        "from edgetl_device.input_size import square\nfrom edgetl_device.preprocess import Preprocess\n"
        "load_dataset(sys.argv[1], Preprocess(size=square(32)))\n"
        "sys.exit(any(name.split('.')[0] in ('tensorflow', 'keras') for name in sys.modules))\n"
    )
    root = photo_folder({"a": 3, "b": 3})
    assert subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True).returncode == 0


def test_a_header_without_pixels_is_left_out(photo_folder: Make) -> None:
    root = photo_folder({"a": 6, "b": 6})
    Image.new("RGB", (64, 64)).save(root / "a" / "none.bmp")
    data = bytearray((root / "a" / "none.bmp").read_bytes())
    data[18:26] = struct.pack("<2i", 0, 0)
    (root / "a" / "none.bmp").write_bytes(data)
    assert only(load(root), "not_image").files == ("a/none.bmp",)


def test_the_shared_food_has_one_leak(shared_data: Path) -> None:
    dataset = load(shared_data / "food3")
    assert only(dataset, "leak").files == ("train/chapati/chapati006.jpg", "validation/chapati/chapati001.jpg")
    assert kinds(dataset) == {"leak"}
    assert "train/chapati/chapati006.jpg" not in sides(dataset)
    assert sides(dataset)["validation/chapati/chapati001.jpg"] == "val"
    assert [len(dataset.of(split)) for split in ("train", "val", "test")] == [44, 15, 0]


def test_the_shared_flowers_are_clean(shared_data: Path) -> None:
    dataset = load(shared_data / "flowers")
    assert dataset.labels == ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    assert len(dataset.of("test")) == 200
    assert len(dataset.of("train")) + len(dataset.of("val")) == 400
    # A photo with the profile of a grey one.
    assert kinds(dataset) == {"broken_profile"}
    assert only(dataset, "broken_profile").files == ("train/dandelion/4633514720_22e82c5f7c_m.jpg",)


def test_a_class_with_a_line_break_in_its_name_is_refused(photo_folder: Callable[..., Path]) -> None:
    root = photo_folder({"cat": 5, "dog\nhouse": 5})
    with pytest.raises(InputError, match="line break"):
        load_dataset(root, Preprocess(size=square(32)))


def test_files_that_are_too_large_are_left_out_unread(photo_folder: Make) -> None:
    """200 GB would take minutes to hash, and memory to read."""
    root = photo_folder({"a": 6, "b": 6})
    with open(root / "a" / "sparse.jpg", "wb") as stream:
        stream.truncate(200 << 30)
    (finding,) = (one for one in load(root).findings if one.kind == "too_large")
    assert finding.files == ("a/sparse.jpg",)


def test_digests_are_those_of_the_whole_picture(tmp_path: Path) -> None:
    """They are taken in bands; the split hangs on them."""
    noise = np.random.default_rng(0).integers(0, 256, (700, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    sha256 = sha256_file(tmp_path / "photo.png")
    fact = decode_files({sha256: tmp_path / "photo.png"}, SPEC).facts[sha256]
    assert fact.digest == hashlib.sha256(b"90 x 700\n" + noise.tobytes()).hexdigest()


# Colours and depth


def test_broken_profiles_are_found_and_good_ones_leave_the_split_as_it_was(photo_folder: Make) -> None:
    root = photo_folder({"a": 20, "b": 20})
    before = sides(load(root))
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        Image.open(path).save(path, icc_profile=b"broken" if number < 3 else rgb_profile(ADOBE_RGB, 2.2))
    dataset = load(root)
    assert sides(dataset) == before
    found = only(dataset, "broken_profile")
    assert (found.code, found.severity, len(found.files)) == ("broken-colour-profile", "warning", 3)
    assert "3 photos with a colour profile that cannot be used (cannot open profile" in found.message


def wide_folder(root: Path, bits: int) -> Path:
    """Photos of two classes as a sensor of so many bits takes them, one pixel in each as bright as 16 bits can be."""
    random = np.random.default_rng(0)
    for label, level in (("a", 0.3), ("b", 0.6)):
        (root / label).mkdir(parents=True)
        for number in range(20):
            values = random.uniform(level - 0.3, level + 0.4, (64, 64)) * (2**bits - 1)
            values[0, 0] = 65_535
            Image.fromarray(values.round().astype(np.uint16)).save(root / label / f"{number:02}.png")
    return root


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_16_bit_greys_that_use_little_of_their_range_are_found(bits: int, tmp_path: Path) -> None:
    root = wide_folder(tmp_path / "photos", bits)
    plain = load(root)
    if bits == 16:
        assert "narrow_depth" not in kinds(plain)
        return
    found = only(plain, "narrow_depth")
    assert found.code == "narrow-depth-range"
    assert "40 photos of 16-bit grey use " in found.message
    stretched = load(root, auto_depth=True)
    low, high = stretched.spec.depth_range or (0, 0)
    assert low <= 2 ** (bits - 8)
    assert 0.99 * 2**bits <= high < 2**bits
    assert "narrow_depth" not in kinds(stretched)
    assert sides(stretched) == sides(plain), "the range must not move photos between splits"
    assert np.percentile(plain.pixels.array, 99) < 70
    assert np.percentile(stretched.pixels.array, 99) > 180
    assert stretched.describe().preprocess.depth_range == (low, high)


def test_the_range_of_photos_without_16_bits_is_not_guessed(photo_folder: Make) -> None:
    with pytest.raises(InputError, match=r"has no depth range\nnone of its training photos is grey with more than 8"):
        load(photo_folder({"a": 8, "b": 8}), auto_depth=True)
