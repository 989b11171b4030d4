"""The frozen base in LiteRT: Keras' outputs, one row per photo, computed once and again after any change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small

from edgetl._lib.extras import keras
from edgetl.backbones import blocks, build_base, resolve_weights
from edgetl.backbones.truncate import truncate
from edgetl.data.pixels import PixelCache, decode_files, hash_files
from edgetl.features import frozen_base
from edgetl.features.augment import PRESETS
from edgetl.training.network import cut_layer
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess

pytestmark = pytest.mark.no_cover


@cache
def base() -> Any:
    weights = resolve_weights("mobilenet_v2", width=1.0, request="auto")
    whole = build_base("mobilenet_v2", size=square(small.SIZE), width=1.0, weights=weights)
    # Only its first blocks, which convert in a third of the time.
    return truncate("mobilenet_v2", whole, "8")


def cut(count: int = 4) -> str:
    found = cut_layer("mobilenet_v2", blocks("mobilenet_v2", base()), count)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def pixels(tiny_photos: Path) -> PixelCache:
    paths = sorted(tiny_photos.rglob("*.jpg"))
    hashes = [str(sha256) for sha256 in hash_files(paths)]
    return decode_files(dict(zip(hashes, paths, strict=True)), Preprocess(size=square(small.SIZE)))


def in_keras(pictures: np.ndarray, layer: str) -> tuple[np.ndarray, np.ndarray]:
    pooled = keras().layers.GlobalAveragePooling2D()(base().output)
    model = keras().Model(base().input, [pooled, base().get_layer(layer).output])
    return tuple(np.asarray(array) for array in model.predict(pictures.astype(np.float32), verbose=0))


def assert_near(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    """Compare row by row, relative to the size of the activations in the row."""
    assert found.shape == wanted.shape
    axes = tuple(range(1, wanted.ndim))
    error = np.abs(found.astype(np.float64) - wanted).max(axes) / np.abs(wanted).max(axes)
    assert error.max() < tolerance, error


def test_litert_gives_what_keras_gives_in_the_order_of_the_photos(pixels: PixelCache) -> None:
    wanted_pooled, wanted_cut = in_keras(pixels.array, cut())
    found = frozen_base.photo_activations(frozen_base.freeze(base(), cut()), pixels)
    assert (found.pooled.dtype, found.cut.dtype) == (np.float32, np.float16)
    assert_near(found.pooled, wanted_pooled, 1e-3)
    assert_near(found.cut, wanted_cut, 2e-3)
    # The comparison above is meaningful only if photos differ by more than the tolerance.
    assert np.abs(found.pooled[0] - found.pooled[1]).max() > 0.1 * np.abs(found.pooled[0]).max()


def test_without_a_cut_only_pooled_features_are_kept(pixels: PixelCache) -> None:
    found = frozen_base.photo_activations(frozen_base.freeze(base(), None), pixels)
    assert found.cut is None
    assert_near(found.pooled, in_keras(pixels.array, cut())[0], 1e-3)


def test_row_i_of_a_view_belongs_to_rows_i(pixels: PixelCache) -> None:
    frozen = frozen_base.freeze(base(), cut())
    photos = frozen_base.photo_activations(frozen, pixels)
    rows = np.random.default_rng(0).permutation(len(pixels.array))
    views = frozen_base.view_activations(frozen, pixels, rows, preset="none", seed=0, count=2)
    assert len(views) == 2
    for view in views:
        np.testing.assert_array_equal(view.pooled, photos.pooled[rows])
        np.testing.assert_array_equal(view.cut, photos.cut[rows])
    for view in frozen_base.view_pixels(pixels, rows, preset="none", seed=0, count=2):
        np.testing.assert_array_equal(view, pixels.array[rows])


def test_views_are_activations_of_the_augmented_photos(pixels: PixelCache) -> None:
    frozen, rows = frozen_base.freeze(base(), cut()), np.arange(10)
    options: dict[str, Any] = {"preset": "standard", "seed": 5, "count": 2}
    pictures = frozen_base.view_pixels(pixels, rows, **options)
    views = frozen_base.view_activations(frozen, pixels, rows, **options)
    assert (pictures[0] != pictures[1]).any()
    for picture, view in zip(pictures, views, strict=True):
        assert (picture != pixels.array[rows]).any(axis=(1, 2, 3)).all()
        assert_near(view.pooled, in_keras(picture, cut())[0], 1e-3)
    assert frozen_base.view_activations(frozen, pixels, rows, preset="standard", seed=5, count=0) == []


@pytest.mark.parametrize("preset", ["mixup", "cutmix"])
@pytest.mark.usefixtures("fresh_cache")
def test_mixed_views_mix_classes_and_their_targets_say_how(
    preset: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Photos are ordered by class, as in a data set: black, grey, white."""
    monkeypatch.setitem(PRESETS, preset, PRESETS[preset][-1:])
    greys, targets = np.array([0, 120, 250]), np.repeat(np.arange(3), 40)
    array = np.empty((120, 32, 32, 3), np.uint8)
    array[:] = greys[targets][:, None, None, None]
    plain = PixelCache(key="greys", array=array, row={}, facts={}, thumbnails=array[..., 0])
    rows = np.arange(120)
    options: dict[str, Any] = {"preset": preset, "seed": 5, "count": 2}
    views = frozen_base.view_pixels(plain, rows, **options)
    shown = frozen_base.view_targets(targets, classes=3, size=square(32), **options)
    assert shown is not None
    assert (shown[0] != shown[1]).any()
    for view, shares in zip(views, shown, strict=True):
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(view.mean(axis=(1, 2, 3)), shares @ greys, atol=1 if preset == "mixup" else 16)
        assert ((shares > 0.05) & (shares < 0.95)).any(axis=1).mean() > 0.2
        own = shares[rows, targets]
        assert 0.4 < own.mean() < 0.9
    assert frozen_base.view_targets(targets, classes=3, size=square(32), preset="standard", seed=5, count=2) is None


@pytest.mark.usefixtures("fresh_cache")
def test_computed_once(pixels: PixelCache, capfd: pytest.CaptureFixture[str]) -> None:
    def everything() -> list[np.ndarray]:
        frozen = frozen_base.freeze(base(), cut())
        photos = frozen_base.photo_activations(frozen, pixels)
        (view,) = frozen_base.view_activations(frozen, pixels, np.arange(5), preset="light", seed=0, count=1)
        (picture,) = frozen_base.view_pixels(pixels, np.arange(5), preset="light", seed=0, count=1)
        return [photos.pooled, photos.cut, view.pooled, view.cut, picture]

    first = everything()
    said = capfd.readouterr().err
    for words in ("Preparing the frozen base", "Frozen base, photos", "1 augmented views", "Augmented views"):
        assert words in said
    again = everything()
    assert capfd.readouterr().err == ""
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_base_has_another_key_for_other_weights_and_another_cut() -> None:
    keys = {frozen_base.freeze(base(), where).key for where in (None, cut(4), cut(5))}
    kernel = base().get_layer("Conv1").kernel
    before = kernel.numpy()
    try:
        kernel.assign(before * np.float32(1.001))
        keys.add(frozen_base.freeze(base(), cut(4)).key)
    finally:
        kernel.assign(before)
    assert len(keys) == 4
    assert frozen_base.freeze(base(), cut(4)).key in keys


def test_activations_are_found_again_only_for_the_same_photos_views_and_base(
    pixels: PixelCache, fresh_cache: Path, tiny_photos: Path
) -> None:
    frozen, other_base = frozen_base.freeze(base(), cut()), frozen_base.freeze(base(), None)
    # Two sets of as many photos.
    one, two = (
        decode_files({str(hash_files([path])[0]): path}, Preprocess(size=square(small.SIZE)))
        for path in sorted(tiny_photos.rglob("*.jpg"))[:2]
    )
    rows = np.arange(3)

    def view(which: Any = frozen, rows: Any = rows, preset: str = "light", seed: int = 0, count: int = 1) -> Any:
        return lambda: frozen_base.view_activations(which, pixels, rows, preset=preset, seed=seed, count=count)

    asked: list[Callable[[], Any]] = [
        lambda: frozen_base.photo_activations(frozen, pixels),
        lambda: frozen_base.photo_activations(other_base, pixels),
        lambda: frozen_base.photo_activations(frozen, one),
        lambda: frozen_base.photo_activations(frozen, two),
        view(), view(which=other_base), view(rows=rows[::-1]), view(preset="standard"), view(seed=1), view(count=2),
    ]  # fmt: skip
    for number, ask in enumerate(asked, start=1):
        ask()
        assert len(list((fresh_cache / "activations").iterdir())) == number
    for ask in asked:
        ask()
    assert len(list((fresh_cache / "activations").iterdir())) == len(asked)


@pytest.mark.parametrize("file", ["pooled.npy", "cut.npy"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:-7]), Path.unlink])
def test_damaged_activations_are_computed_again(
    pixels: PixelCache, fresh_cache: Path, file: str, damage: Callable[[Path], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    frozen = frozen_base.freeze(base(), cut())
    first = frozen_base.photo_activations(frozen, pixels)
    wanted = (np.array(first.pooled), np.array(first.cut))
    del first
    (entry,) = (fresh_cache / "activations").iterdir()
    damage(entry / file)
    capfd.readouterr()
    found = frozen_base.photo_activations(frozen, pixels)
    np.testing.assert_array_equal(found.pooled, wanted[0])
    np.testing.assert_array_equal(found.cut, wanted[1])
    assert "Frozen base, photos" in capfd.readouterr().err


def test_a_damaged_base_is_converted_again(pixels: PixelCache, fresh_cache: Path) -> None:
    wanted = np.array(frozen_base.photo_activations(frozen_base.freeze(base(), None), pixels).pooled)
    (file,) = (fresh_cache / "bases").rglob("*.tflite")
    file.write_bytes(b"half")
    shutil.rmtree(fresh_cache / "activations")
    found = frozen_base.photo_activations(frozen_base.freeze(base(), None), pixels)
    np.testing.assert_array_equal(found.pooled, wanted)
