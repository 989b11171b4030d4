"""Augmented views: seeded, uint8, without borders; stronger presets change more."""

from __future__ import annotations

import numpy as np
import pytest
from drawing import draw_photo

from edgetl._lib.extras import keras
from edgetl.features.augment import PRESETS, augmenter, mixes, share_mixer
from edgetl.features.augment.geometry import compose_moves
from edgetl_device.errors import InputError
from edgetl_device.input_size import InputSize, square

SIZE = 64
PHOTOS = np.stack([np.asarray(draw_photo(seed, SIZE, SIZE)) for seed in range(8)])
DRAWN = pytest.mark.parametrize("preset", [name for name in PRESETS if name != "none"])


def views(preset: str, seed: int = 0, photos: np.ndarray = PHOTOS) -> np.ndarray:
    return augmenter(preset, size=square(SIZE), seed=seed)(photos)


def test_none_leaves_photos_as_they_are() -> None:
    np.testing.assert_array_equal(views("none"), PHOTOS)


MIXED = pytest.mark.parametrize("preset", [name for name in PRESETS if mixes(name)])


@DRAWN
def test_type_shape_and_seed(preset: str) -> None:
    first = views(preset)
    assert (first.dtype, first.shape) == (np.uint8, PHOTOS.shape)
    np.testing.assert_array_equal(views(preset), first)
    assert (views(preset, seed=1) != first).any(axis=(1, 2, 3)).sum() >= 6


@DRAWN
def test_every_draw_is_another_view_and_the_sequence_repeats(preset: str) -> None:
    one, other = augmenter(preset, size=square(SIZE), seed=3), augmenter(preset, size=square(SIZE), seed=3)
    first, second = one(PHOTOS), one(PHOTOS)
    assert (first != second).any()
    np.testing.assert_array_equal(other(PHOTOS), first)
    np.testing.assert_array_equal(other(PHOTOS), second)


@DRAWN
def test_photos_of_a_batch_are_drawn_independently(preset: str) -> None:
    same = np.repeat(PHOTOS[:1], 8, axis=0)
    assert len({view.tobytes() for view in views(preset, photos=same)}) > 2


@pytest.mark.parametrize("preset", ["light", "standard", "strong", "no-flip", "colour", "mixup"])
def test_there_are_no_borders(preset: str) -> None:
    """A uniform grey photo stays uniform when moved, rotated and zoomed: edges are filled from the photo itself."""
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
    """Red stays the strongest channel: channels are not swapped and do not wrap around."""
    red = np.zeros((4, SIZE, SIZE, 3), np.uint8)
    red[..., 0] = 250
    for seed in range(4):
        for view in views("strong", seed, red):
            assert view[..., 0].min() > 100
            assert view[..., 1:].max() < view[..., 0].min()


def mean_column(pictures: np.ndarray) -> np.ndarray:
    """Return the horizontal position of each picture's bright half; negative if it is on the left."""
    weights = pictures.mean(axis=(1, 3))
    columns = np.linspace(-1, 1, weights.shape[1])
    return ((weights - weights.mean(axis=1, keepdims=True)) * columns).sum(axis=1)


@DRAWN
def test_no_flip_is_the_only_one_that_keeps_left_and_right(preset: str) -> None:
    bright_right = np.zeros((16, SIZE, SIZE, 3), np.uint8)
    bright_right[:, :, SIZE // 2 :] = 200
    sides = np.concatenate([mean_column(views(preset, seed, bright_right).astype(float)) for seed in range(2)])
    if preset == "no-flip":
        assert (sides > 0).all()
    else:
        assert (sides < 0).any()


def test_erase_puts_a_grey_patch_on_about_every_second_photo() -> None:
    dark = np.zeros((64, SIZE, SIZE, 3), np.uint8)
    patches = (views("erase", photos=dark) == (124, 116, 104)).all(axis=-1).mean(axis=(1, 2))
    erased = patches[patches > 0]
    assert 20 <= len(erased) <= 44
    assert 0.01 < erased.min() < erased.max() < 0.22


def test_rand_augment_does_other_things_to_other_photos_of_a_batch() -> None:
    """Some turn grey, some change colour, some only move: two operations are drawn for each photo."""
    same = np.repeat(PHOTOS[:1], 32, axis=0)
    found = views("rand-augment", photos=same)
    assert len({view.tobytes() for view in found}) > 20
    spread = np.ptp(found.astype(int), axis=-1).mean(axis=(1, 2))
    assert spread.min() < 0.6 * np.median(spread)
    kept = np.array([(np.isin(view, same[0])).mean() for view in found])
    assert kept.max() > 0.99, "some views only move"


@MIXED
def test_mixed_views_show_what_the_shares_say(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For uniform grey photos, the mean of a mixed view is the mean of its sources, weighted by their shares."""
    monkeypatch.setitem(PRESETS, preset, PRESETS[preset][-1:])
    greys = np.linspace(0, 255, 16).round()
    photos = np.broadcast_to(greys[:, None, None, None], (16, SIZE, SIZE, 3)).astype(np.uint8)
    draw, mix = augmenter(preset, size=square(SIZE), seed=3), share_mixer(preset, size=square(SIZE), seed=3)
    mixed = 0
    for _ in range(3):
        found, shares = draw(photos), mix(np.eye(16, dtype=np.float32))
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
        # CutMix pastes whole pixels: a box is up to one row and one column off.
        np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), shares @ greys, atol=1 if preset == "mixup" else 9)
        mixed += int((shares.max(axis=1) < 0.95).sum())
    assert mixed > 12


@DRAWN
def test_only_mixing_presets_change_the_shares(preset: str) -> None:
    shares = np.eye(8, dtype=np.float32)
    found = share_mixer(preset, size=square(SIZE), seed=0)(shares)
    assert (found == shares).all() != mixes(preset)


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="none, light, standard, strong"):
        augmenter("wild", size=square(SIZE), seed=0)


SMOOTH = np.stack([np.asarray(draw_photo(seed, 8, 8).resize((SIZE, SIZE)), np.float32) for seed in range(8)])
MOVE_LAYERS = [
    ("RandomFlip", {"mode": "horizontal"}),
    ("RandomRotation", {"factor": 0.06}),
    ("RandomZoom", {"height_factor": (-0.3, 0.3)}),
    ("RandomZoom", {"height_factor": (-0.3, 0.3), "width_factor": (-0.1, 0.2)}),
    ("RandomTranslation", {"height_factor": 0.1, "width_factor": 0.2}),
    ("RandomShear", {"x_factor": 0.1, "y_factor": 0.2}),
]


@pytest.mark.parametrize("width", [SIZE, 2 * SIZE // 3], ids=["square", "high"])
@pytest.mark.parametrize(("name", "arguments"), MOVE_LAYERS)
def test_a_move_is_what_the_layer_does(name: str, arguments: dict[str, object], width: int) -> None:
    layer, same = (getattr(keras().layers, name)(**arguments, seed=5) for _ in range(2))
    photos = np.ascontiguousarray(SMOOTH[:, :, :width])
    moved = compose_moves([layer], size=InputSize(SIZE, width))(photos).numpy()
    np.testing.assert_allclose(moved, same(photos, training=True).numpy(), atol=0.05)
    assert np.abs(moved - photos).mean() > 1


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("RandomFlip", {"mode": "vertical"}),
        ("RandomRotation", {"factor": 0.06, "fill_mode": "constant"}),
        ("RandomZoom", {"height_factor": 0.3, "interpolation": "nearest"}),
    ],
)
def test_a_move_that_would_be_done_otherwise_is_refused(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        compose_moves([getattr(keras().layers, name)(**arguments)], size=square(SIZE))


def test_moves_in_a_row_are_the_layers_one_after_the_other() -> None:
    """Except at the edges, where reflecting twice differs from reflecting once."""
    layers, same = ([getattr(keras().layers, name)(**options, seed=5) for name, options in MOVE_LAYERS] for _ in "ab")
    wanted = SMOOTH
    for layer in same:
        wanted = layer(wanted, training=True).numpy()
    inside = np.s_[:, SIZE // 3 : -SIZE // 3, SIZE // 3 : -SIZE // 3]
    difference = np.abs(compose_moves(layers, size=square(SIZE))(SMOOTH).numpy() - wanted)[inside]
    assert np.median(difference) < 2
