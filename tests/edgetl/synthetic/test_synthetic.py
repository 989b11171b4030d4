"""The synthetic photos: marked as such, reproducible, never written into a foreign folder."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetl.synthetic import CLASSES, COMMENT, draw_dataset, draw_noise, draw_photo
from edgetl_device.errors import InputError


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_folder_a_class_with_jpegs_that_say_they_are_synthetic(tmp_path: Path) -> None:
    drawn = []
    folder = draw_dataset(tmp_path / "parts", per_class=2, size=96, progress=drawn.append)

    assert sum(drawn) == 2 * len(CLASSES)
    files = _files(folder)
    assert sorted(files) == sorted(f"{name}/{index:03d}.jpg" for name in CLASSES for index in range(2))
    for data in files.values():
        photo = _opened(data)
        assert photo.format == "JPEG"
        assert photo.info["comment"].decode() == COMMENT
        assert photo.mode == "RGB"
        assert abs(photo.width * photo.height - 96**2) < 0.02 * 96**2
    assert [path.name for path in tmp_path.iterdir()] == ["parts"], "nothing temporary may stay behind"


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_photos(tmp_path: Path) -> None:
    first = _files(draw_dataset(tmp_path / "a", per_class=2, size=80, seed=7))
    again = _files(draw_dataset(tmp_path / "b", per_class=2, size=80, seed=7))
    other = _files(draw_dataset(tmp_path / "c", per_class=2, size=80, seed=8))

    assert first == again
    assert not set(first.values()) & set(other.values())


def test_more_photos_change_none_of_the_first_ones(tmp_path: Path) -> None:
    few = _files(draw_dataset(tmp_path / "few", per_class=1, classes=["gear", "bolt"], size=80))
    many = _files(draw_dataset(tmp_path / "many", per_class=3, size=80))

    assert few.items() <= many.items()
    assert len(set(many.values())) == len(many), "no two photos may be alike"


def test_noise_is_marked_the_same_every_time_and_of_many_grains() -> None:
    files = [draw_noise(index, size=80) for index in range(12)]
    assert files == [draw_noise(index, size=80) for index in range(12)]
    assert len(set(files)) == 12
    assert draw_noise(0, size=80, seed=1) != files[0]
    pictures = [_opened(data) for data in files]
    for picture in pictures:
        assert (picture.format, picture.size, picture.mode) == ("PNG", (80, 80), "RGB")
        assert picture.info["Comment"] == COMMENT
    # Neighbouring pixels differ by more where the grain is finer.
    steps = [float(np.abs(np.diff(np.asarray(picture, np.float32), axis=1)).mean()) for picture in pictures[:6]]
    assert steps[5] > 4 * steps[0]


@pytest.mark.parametrize("name", CLASSES)
def test_photos_of_a_class_vary_in_light_and_colour_and_are_never_blank(name: str) -> None:
    photos = [np.asarray(_opened(draw_photo(name, index, size=96)), np.float32) for index in range(12)]

    assert min(photo.std() for photo in photos) > 6
    assert all(15 < photo.mean() < 240 for photo in photos)
    assert np.std([photo.mean() for photo in photos]) > 8
    assert {photo.shape[1] > photo.shape[0] for photo in photos} == {True, False}


def test_the_subject_differs_between_classes_where_all_else_is_equal_in_kind() -> None:
    """Fine detail distinguishes a toothed gear from a plain washer, which a renderer of one shape would not."""

    def detail(name: str) -> float:
        values = []
        for index in range(24):
            grey = np.asarray(_opened(draw_photo(name, index, size=160, seed=3)).convert("L"), np.float32)
            smooth = np.asarray(Image.fromarray(grey).resize((40, 40)).resize(grey.shape[::-1]))
            values.append(float(np.percentile(np.abs(grey - smooth), 95)))
        return float(np.median(values))

    assert detail("gear") > 1.1 * detail("washer")


@pytest.mark.parametrize("content", ["photo.jpg", ".hidden"])
def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / content).write_text("mine")

    with pytest.raises(InputError, match="exists already") as raised:
        draw_dataset(tmp_path, per_class=1)

    assert raised.value.hint
    assert [path.name for path in tmp_path.iterdir()] == [content]


@pytest.mark.parametrize(
    "wrong",
    [{"per_class": 0}, {"size": 8}, {"size": 5000}, {"seed": -1}, {"classes": ["cog"]}, {"classes": ["gear", "gear"]}],
    ids=str,
)
def test_arguments_out_of_range_are_refused_before_anything_is_written(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(InputError):
        draw_dataset(tmp_path / "parts", **({"per_class": 1} | wrong))

    assert not any(tmp_path.iterdir())


def test_an_interrupted_drawing_leaves_nothing(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_dataset(tmp_path / "parts", per_class=20, size=64, progress=stop)

    assert not any(tmp_path.iterdir())
