"""Augmented views: seeded, uint8, without borders, the stronger the more different."""

from __future__ import annotations

import numpy as np
import pytest
from drawing import draw_photo

from edgetl.augment import PRESETS, augmenter
from edgetl_device.errors import InputError

SIZE = 64
PHOTOS = np.stack([np.asarray(draw_photo(seed, SIZE, SIZE)) for seed in range(8)])
DRAWN = pytest.mark.parametrize("preset", [name for name in PRESETS if name != "none"])


def views(preset: str, seed: int = 0, photos: np.ndarray = PHOTOS) -> np.ndarray:
    return augmenter(preset, size=SIZE, seed=seed)(photos)


def test_none_leaves_photos_as_they_are() -> None:
    np.testing.assert_array_equal(views("none"), PHOTOS)


@DRAWN
def test_type_shape_and_seed(preset: str) -> None:
    first = views(preset)
    assert (first.dtype, first.shape) == (np.uint8, PHOTOS.shape)
    np.testing.assert_array_equal(views(preset), first)
    assert (views(preset, seed=1) != first).any(axis=(1, 2, 3)).all()


@DRAWN
def test_every_draw_is_another_view_and_the_sequence_repeats(preset: str) -> None:
    one, other = augmenter(preset, size=SIZE, seed=3), augmenter(preset, size=SIZE, seed=3)
    first, second = one(PHOTOS), one(PHOTOS)
    assert (first != second).any()
    np.testing.assert_array_equal(other(PHOTOS), first)
    np.testing.assert_array_equal(other(PHOTOS), second)


@DRAWN
def test_photos_of_a_batch_are_drawn_independently(preset: str) -> None:
    same = np.repeat(PHOTOS[:1], 8, axis=0)
    assert len({view.tobytes() for view in views(preset, photos=same)}) > 2


@DRAWN
def test_there_are_no_borders(preset: str) -> None:
    """A grey photo moved, turned and zoomed stays one grey: what comes in at the edges is the photo itself."""
    grey = np.full((8, SIZE, SIZE, 3), 120, np.uint8)
    for view in views(preset, photos=grey):
        assert np.ptp(view.astype(int)) <= 1


def test_stronger_presets_change_more() -> None:
    def change(preset: str) -> float:
        return float(np.mean([np.abs(views(preset, seed).astype(float) - PHOTOS).mean() for seed in range(4)]))

    changes = [change(preset) for preset in ("none", "light", "standard", "strong")]
    assert changes == sorted(changes)
    assert len(set(changes)) == 4


def test_colours_stay_in_place_and_range() -> None:
    """Red stays the reddest channel: no channel is swapped, none wraps around."""
    red = np.zeros((4, SIZE, SIZE, 3), np.uint8)
    red[..., 0] = 250
    for seed in range(4):
        for view in views("strong", seed, red):
            assert view[..., 0].min() > 100
            assert view[..., 1:].max() < view[..., 0].min()


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="none, light, standard, strong"):
        augmenter("wild", size=SIZE, seed=0)
