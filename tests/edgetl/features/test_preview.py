"""``edgetl data preview``: the same views that training uses, with the labels of mixed ones."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import small
from PIL import Image

from edgetl.data import Dataset, load_dataset
from edgetl.features import frozen_base
from edgetl.features.preview import grid, preview
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess


@pytest.fixture(scope="module")
def dataset(tiny_photos: Path) -> Dataset:
    return load_dataset(tiny_photos, Preprocess(size=square(48)))


@pytest.mark.parametrize("preset", ["standard", "cutmix"])
def test_views_are_those_of_training(dataset: Dataset, preset: str) -> None:
    rows = dataset.pixels.rows(dataset.of("train"))
    drawn = frozen_base.view_pixels(dataset.pixels, rows, preset=preset, seed=4, count=3)
    found = preview(dataset, preset=preset, seed=4, photos=5, views=3)
    assert len(found) == 5
    for row in found:
        (photo,) = [place for place, one in enumerate(rows) if (dataset.pixels.array[one] == row.pictures[0]).all()]
        for view, picture in zip(drawn, row.pictures[1:], strict=True):
            np.testing.assert_array_equal(picture, view[photo])


def test_the_sample_is_stratified_and_another_seed_takes_other_photos(dataset: Dataset) -> None:
    def photos(seed: int, count: int) -> list[str]:
        return [row.captions[0] for row in preview(dataset, preset="light", seed=seed, photos=count, views=1)]

    assert photos(0, 3) == [f"light: {label}" for label in small.LABELS]
    assert len(photos(0, 100)) == len(dataset.of("train"))
    one, other = (preview(dataset, preset="light", seed=seed, photos=3, views=1) for seed in (0, 1))
    assert any((a.pictures[0] != b.pictures[0]).any() for a, b in zip(one, other, strict=True))


def test_captions_say_what_mixed_views_show(dataset: Dataset) -> None:
    samples = dataset.of("train")
    targets = np.array([dataset.labels.index(sample.label) for sample in samples])
    options = {"preset": "mixup", "seed": 0, "count": 4}
    shown = frozen_base.view_targets(targets, classes=3, size=square(48), **options)  # type: ignore[arg-type]
    assert shown is not None
    said = [row.captions[1:] for row in preview(dataset, preset="mixup", seed=0, photos=100, views=4)]
    mixed = 0
    for photo, captions in enumerate(said):
        for view, caption in zip(shown, captions, strict=True):
            if "+" not in caption:
                assert caption in dataset.labels
                continue
            mixed += 1
            for share, label in re.findall(r"(\d\.\d\d) (\w+)", caption):
                assert float(share) == pytest.approx(view[photo][dataset.labels.index(label)], abs=0.0051)
    assert mixed > 20
    plain = preview(dataset, preset="standard", seed=0, photos=2, views=2)
    assert [row.captions[1:] for row in plain] == [("", ""), ("", "")]


def test_the_grid_shows_every_picture_as_it_is(dataset: Dataset) -> None:
    rows = preview(dataset, preset="standard", seed=0, photos=3, views=2)
    sheet = np.asarray(grid(rows))
    for row in rows:
        for picture in row.pictures:
            corner = (sheet == picture[0, 0]).all(axis=-1)
            places = [(y, x) for y, x in np.argwhere(corner) if sheet[y : y + 48, x : x + 48].shape == picture.shape]
            assert any((sheet[y : y + 48, x : x + 48] == picture).all() for y, x in places)


def test_the_command(tiny_photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "views.png"
    flags = ("--size", 48, "--photos", 2, "--views", 3, "-o", out)
    done = small.edgetl("data", "preview", tiny_photos, *flags, "--augment", "mixup")
    assert done.returncode == 0, done.stderr
    with Image.open(out) as picture:
        assert f"{out} ({picture.width} x {picture.height} px" in done.stdout
        assert picture.width > 4 * 48
    assert small.left_over(out.parent) == []
    for arguments, said in (
        (("--augment", "wild"), "none, light, standard"),
        (("-o", tmp_path / "views.gif"), ".png or .jpg"),
        (("--size", 2), "size"),
    ):
        assert said in small.refused(small.edgetl("data", "preview", tiny_photos, *arguments))


def test_an_unknown_preset(dataset: Dataset) -> None:
    with pytest.raises(InputError, match="rand-augment"):
        preview(dataset, preset="wild", seed=0, photos=1, views=1)
