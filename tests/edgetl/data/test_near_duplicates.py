"""The same photo turned, mirrored, rescaled, recompressed or cropped; and photos that only look alike."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from drawing import draw_photo
from PIL import Image

from edgetl.data import Dataset, Finding, check_dataset
from edgetl.data import near_duplicates as module
from edgetl.data.near_duplicates import MOST_COPIES, SIDE, connected, find_pairs, near_duplicates
from edgetl.data.split import assign, position
from edgetl.data.types import FoundPhoto
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess

SPEC = Preprocess(size=square(32))


@cache
def photo(seed: int) -> Image.Image:
    """Draw large shapes with smaller ones on them, 160 x 120: the spectrum of a photo."""
    large = np.asarray(draw_photo(seed, 320, 240).crop((0, 0, 160, 120)), np.float32)
    small = np.asarray(draw_photo(1000 + seed, 160, 120), np.float32)
    return Image.fromarray((0.75 * large + 0.25 * small).astype(np.uint8))


def recompressed(image: Image.Image, quality: int = 30) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def cropped(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop((int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height)))


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(one.resize((SIDE, SIDE), Image.Resampling.BOX).convert("L")) for one in images])


def pairs(images: list[Image.Image]) -> list[tuple[int, int]]:
    return find_pairs(thumbnails(images), np.arange(len(images)))


TRANSFORMS: dict[str, Callable[[Image.Image], Image.Image]] = {
    **{one.name: lambda image, one=one: image.transpose(one) for one in Image.Transpose},
    "rescaled": lambda image: image.resize((67, 50)),
    "recompressed": recompressed,
    "cropped left": lambda image: cropped(image, 0.08, 0, 0, 0),
    "cropped all round": lambda image: cropped(image, 0.04, 0.03, 0.02, 0.05),
    "all at once": lambda image: recompressed(
        cropped(image.transpose(Image.Transpose.ROTATE_90), 0.03, 0.02, 0.02, 0.03).resize((100, 100)), 50
    ),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_copy_is_found_and_nothing_else(name: str) -> None:
    originals = [photo(seed) for seed in range(30)]
    copies = [TRANSFORMS[name](one) for one in originals[:10]]
    assert pairs(originals + copies) == [(index, 30 + index) for index in range(10)]


def test_unlike_photos_and_flat_ones_are_no_pairs() -> None:
    flat = [Image.new("RGB", (64, 64), (grey, grey, grey)) for grey in (0, 20, 128, 255)]
    assert pairs([photo(seed) for seed in range(60)] + flat) == []
    assert pairs(flat) == []
    assert pairs([photo(0)]) == []


def test_photos_of_a_fixed_camera_are_no_copies_but_their_copies_are() -> None:
    scene = np.asarray(photo(0), np.float32)
    random = np.random.default_rng(0)

    def frame(index: int) -> Image.Image:
        pixels = scene + random.normal(0, 3, scene.shape)
        y, x = random.integers(0, 100), random.integers(0, 140)
        pixels[y : y + 20, x : x + 20] = np.asarray(photo(100 + index).resize((20, 20)), np.float32)
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))

    frames = [frame(index) for index in range(40)]
    assert pairs(frames) == []
    # A few turned: after turning back they are like all others, and as they are like each other.
    turned = [one.transpose(Image.Transpose.ROTATE_90) if index in (1, 5) else one for index, one in enumerate(frames)]
    assert pairs(turned) == []
    assert pairs([*turned, recompressed(frames[3])]) == [(3, 40)]


def test_groups_are_what_pairs_connect_and_large_ones_are_apart() -> None:
    assert connected([(4, 2), (7, 9), (2, 0), (9, 8)]) == [[0, 2, 4], [7, 8, 9]]
    # Pure copies of a photo, beyond what orientations and sizes give.
    many = [recompressed(photo(1), 95 - index) for index in range(MOST_COPIES + 1)]
    others = [photo(seed) for seed in range(2, 60)]
    images = thumbnails([*many, *others, others[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    groups, alike = near_duplicates(images, np.arange(len(images)))
    assert groups == [[len(many), len(images) - 1]]
    assert alike == [list(range(len(many)))]


def test_many_that_look_alike_across_folders_are_said_to_be(tmp_path: Path) -> None:
    images = {f"train/a/{index}.png": recompressed(photo(1), 95 - index) for index in range(MOST_COPIES)}
    images |= {f"test/a/{index}.png": recompressed(photo(1), 50 - index) for index in range(2)}
    # What most photos of a set have in common counts as their scene.
    images |= {f"{'test' if seed % 5 == 0 else 'train'}/b/{seed}.png": photo(seed) for seed in range(2, 80)}
    (alike,) = (one for one in check_dataset(save(tmp_path, images), SPEC).findings if one.kind == "alike")
    # Two of the qualities give the same bytes.
    assert f"{MOST_COPIES + 1} photos look alike" in alike.message
    assert "in 1 of 1 groups they are in training and in evaluation folders" in alike.message


def test_only_the_rows_asked_for_are_compared() -> None:
    images = thumbnails([photo(0), photo(0), photo(1), photo(0)])
    assert find_pairs(images, np.array([2, 3, 0])) == [(1, 2)]


# Work


def drawn(count: int) -> np.ndarray:
    """Draw thumbnails with the spectrum of photos, uint8 [count, 32, 32]."""
    random = np.random.default_rng(0)
    squared = np.fft.fftfreq(SIDE)[:, None] ** 2 + np.fft.rfftfreq(SIDE)[None] ** 2
    squared[0, 0] = 1
    white = np.fft.rfft2(random.standard_normal((count, SIDE, SIDE)))
    pictures = np.fft.irfft2(white * squared**-0.75, s=(SIDE, SIDE))
    return np.clip(128 + 50 * pictures / pictures.std((1, 2), keepdims=True), 0, 255).astype(np.uint8)


def compared(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float, list[tuple[int, int]]]:
    """Return signatures compared and pairs registered per photo, and the pairs found."""
    looked, registered = [0], [0]
    neighbourhoods, shapes = module._neighbourhoods, module.agreement_of_shapes

    def counted(signatures: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for rows, columns in neighbourhoods(signatures):
            looked[0] += len(rows) * len(columns)
            yield rows, columns

    def counted_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        registered[0] += len(first)
        return shapes(first, second)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_neighbourhoods", counted)
        patch.setattr(module, "agreement_of_shapes", counted_pairs)
        found = find_pairs(images, np.arange(len(images)))
    return looked[0] / len(images), registered[0] / len(images), found


def test_the_work_grows_with_the_photos_and_not_with_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    few, _, _ = compared(drawn(2_000), monkeypatch)
    assert few == 2_000  # all with all
    images = drawn(20_000)
    images[-100:] = np.rot90(images[:100], axes=(1, 2))
    many, registered, found = compared(images, monkeypatch)
    assert many < 12_000
    assert registered <= 4
    assert {(index, 19_900 + index) for index in range(100)} <= set(found)


def test_photos_of_one_signature_are_in_cells_of_a_bounded_size() -> None:
    signatures = np.zeros((40_000, 35), np.float32)
    seen = np.zeros(40_000, int)
    for rows, columns in module._neighbourhoods(signatures):
        assert len(rows) <= 1024
        assert len(columns) <= 32 * 1024
        assert set(rows) <= set(columns)
        seen[rows] += 1
    assert (seen == 1).all()


# Data sets


def save(root: Path, images: dict[str, Image.Image]) -> Path:
    for name, image in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
    return root


def found(dataset: Dataset, kind: str) -> Finding:
    [finding] = [finding for finding in dataset.findings if finding.kind == kind]
    return finding


def photos_of(*folders: str, count: int = 6) -> dict[str, Image.Image]:
    return {
        f"{folder}/{index}.png": photo(20 * place + index)
        for place, folder in enumerate(folders)
        for index in range(count)
    }


def test_a_copy_of_a_held_out_photo_is_dropped_from_training(tmp_path: Path) -> None:
    images = photos_of("train/a", "train/b", "val/a", "val/b", "test/a", "test/b")
    images["train/a/turned.png"] = images["test/a/0.png"].transpose(Image.Transpose.ROTATE_270)
    images["val/b/mirrored.png"] = images["test/b/1.png"].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    images["train/b/small.png"] = images["val/b/2.png"].resize((80, 60))
    dataset = check_dataset(save(tmp_path, images), SPEC)
    gone = {"train/a/turned.png", "val/b/mirrored.png", "train/b/small.png"}
    assert {sample.path for sample in dataset.samples} == set(images) - gone
    train, val = sorted(
        (one for one in dataset.findings if one.kind == "near_leak"), key=lambda one: "training and" not in one.message
    )
    assert train.groups == (("test/a/0.png", "train/a/turned.png"), ("train/b/small.png", "val/b/2.png"))
    assert val.groups == (("test/b/1.png", "val/b/mirrored.png"),)
    assert train.message.startswith("2 photos dropped from training")
    assert val.message.startswith("1 photo dropped from validation")
    assert {train.code, val.code} == {"leak-near-duplicate"}
    assert {train.severity, val.severity} == {"warning"}


def test_copies_in_one_split_are_kept_and_named(tmp_path: Path) -> None:
    images = photos_of("train/a", "train/b", "test/a", "test/b")
    images["test/a/copy.png"] = images["test/a/0.png"].transpose(Image.Transpose.ROTATE_90)
    dataset = check_dataset(save(tmp_path, images), SPEC)
    assert {sample.path for sample in dataset.samples} == set(images)
    assert found(dataset, "near_duplicate").groups == (("test/a/0.png", "test/a/copy.png"),)


def test_copies_under_two_labels_are_named_and_stay_on_one_side(tmp_path: Path) -> None:
    images = photos_of("a", "b", count=20)
    for index in range(10):
        images[f"b/copy{index}.png"] = images[f"a/{index}.png"].transpose(Image.Transpose.TRANSPOSE)
    dataset = check_dataset(save(tmp_path, images), SPEC)
    assert len(found(dataset, "near_conflict").groups) == 10
    sides = {sample.path: sample.split for sample in dataset.samples}
    assert all(sides[f"a/{index}.png"] == sides[f"b/copy{index}.png"] for index in range(10))


def test_splits_keep_copies_together_where_they_would_not_be_by_their_own_pixels(tmp_path: Path) -> None:
    images = photos_of("a", "b", count=20)
    for label, index in product("ab", range(20)):
        images[f"{label}/copy{index}.png"] = images[f"{label}/{index}.png"].transpose(Image.Transpose.ROTATE_180)
        images[f"{label}/small{index}.png"] = images[f"{label}/{index}.png"].resize((80, 60))
    dataset = check_dataset(save(tmp_path, images), SPEC)
    sides = {sample.path: sample.split for sample in dataset.samples}
    assert set(sides.values()) == {"train", "val", "test"}
    for label, index in product("ab", range(20)):
        assert len({sides[f"{label}/{kind}{index}.png"] for kind in ("", "copy", "small")}) == 1
    alone = {sample.path: position(sample.group, 0) < 0.15 for sample in dataset.samples}
    assert any(
        alone[f"{label}/{index}.png"] != alone[f"{label}/copy{index}.png"] for label, index in product("ab", range(20))
    )


def test_a_smaller_copy_does_not_move_a_photo() -> None:
    def one(name: str, side: int) -> FoundPhoto:
        return FoundPhoto(name, "a", None, name, name, side, side)

    photos = [one(f"photo{index}", 100) for index in range(50)]
    before = assign(photos, seed=0, val=0.2, test=0.2)
    small = [one(f"small{index}", 50) for index in range(50)]
    groups = list(zip(photos, small, strict=True))
    after = assign([*photos, *small], seed=0, val=0.2, test=0.2, copies=groups)
    assert {name: after[name] for name in before} == before
    assert all(after[large.path] == after[little.path] for large, little in groups)


def test_small_pictures_are_not_compared(tmp_path: Path) -> None:
    images = {f"{label}/{seed}.png": photo(seed).resize((28, 28)) for seed in range(8) for label in "a"}
    images |= {f"b/{seed}.png": photo(seed).resize((28, 28)).transpose(Image.Transpose.ROTATE_90) for seed in range(8)}
    dataset = check_dataset(save(tmp_path, images), SPEC)
    assert not {one.kind for one in dataset.findings} & {"near_duplicate", "near_conflict", "near_leak"}


# Real photos


def test_all_known_twins_of_a_published_set_are_found_and_no_other(shared_data: Path) -> None:
    root = shared_data / "waste_twins"
    with open(root / "twins.csv", newline="") as stream:
        twins = {frozenset((row["a"], row["b"])) for row in csv.DictReader(stream)}
    dataset = check_dataset(root, SPEC)
    assert len(twins) == 41
    paths = sorted(path for path in root.rglob("*.png"))
    pictures = pairs([Image.open(path) for path in paths])
    assert {frozenset(paths[one].relative_to(root).as_posix() for one in pair) for pair in pictures} == twins
    # Identical photos under two labels are an error of their own, and are not compared with others.
    conflicts = {path for one in dataset.findings if one.kind == "conflict" for path in one.files}
    kinds = ("leak", "duplicate_file", "duplicate_pixels", "conflict", "near_leak", "near_duplicate", "near_conflict")
    named = {frozenset(group) for one in dataset.findings if one.kind in kinds for group in one.groups}
    assert named <= twins
    assert {pair for pair in twins if not pair & conflicts} <= named
    training = {sample.path for sample in dataset.of("train")}
    held_out = {sample.path for sample in dataset.of("test")}
    assert not any(pair & training and pair & held_out for pair in twins)


@pytest.mark.parametrize("name", ["flowers", "waste", "food3"])
def test_sets_without_near_duplicates_have_none(shared_data: Path, name: str) -> None:
    dataset = check_dataset(shared_data / name, SPEC)
    assert not {one.kind for one in dataset.findings} & {"near_leak", "near_duplicate", "near_conflict", "alike"}
