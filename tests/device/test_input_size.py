"""Inputs that are not square, and inputs of one channel: parsing, documents, preprocessing, bundles."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from edgetl_device._lib import documents
from edgetl_device.bundle import Bundle, Manifest, read_manifest
from edgetl_device.classifier import Classifier
from edgetl_device.errors import InputError
from edgetl_device.input_size import InputSize, parse_size, size_value, square
from edgetl_device.preprocess import Preprocess, decode, preprocess

WIDE, GREY = InputSize(32, 48), InputSize(32, 48, 1)
Reseal = Callable[[Callable[[dict[str, Any]], None]], Path]


def photo(width: int = 200, height: int = 100) -> Image.Image:
    """Return a photo with another colour at each place."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([255 * x / width, 255 * y / height, 90 + 0 * x], axis=-1).astype(np.uint8))


@pytest.mark.parametrize(
    ("value", "size", "kept"),
    [
        (96, square(96), 96),
        ("96", square(96), 96),
        ("96x96", square(96), 96),
        ("240x320", InputSize(240, 320), "240x320"),
    ],
)
def test_a_size_is_a_number_or_two(value: int | str, size: InputSize, kept: int | str) -> None:
    assert (parse_size(value), size_value(value)) == (size, kept)
    assert size_value(size) == kept
    assert parse_size(str(size)) == size


NO_SIZES = (
    "0x96",
    "96x",
    "x96",
    "96x96x3",
    "15x96",
    "96x2049",
    "-96x96",
    "96 x 96",
    "9" * 40,
    "",
    15,
    2049,
    True,
    96.0,
)


@pytest.mark.parametrize("value", NO_SIZES)
def test_what_is_no_size_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="must be 16 to 2048, or two of these as HEIGHTxWIDTH"):
        parse_size(value)


def test_a_size_is_printed_as_it_is_given() -> None:
    assert [size.px for size in (square(96), WIDE, GREY)] == ["96 px", "32x48 px", "32x48 px, grey"]
    assert Preprocess(size=GREY).described().startswith("size 32x48, grey, fit stretch")


def test_a_square_of_three_channels_is_written_as_before() -> None:
    assert Preprocess(size=square(96)).to_json()["size"] == 96
    for size in (WIDE, GREY, InputSize(96, 96, 1)):
        spec = Preprocess(size=size)
        assert spec.to_json()["size"] == {"height": size.height, "width": size.width, "channels": size.channels}
        assert Preprocess.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("size", "why"),
    [
        ({"height": 32, "width": 48, "channels": 2}, r"size\.channels must be 1 or 3"),
        ({"height": 32, "width": 48, "channels": 4}, r"size\.channels must be 1 or 3"),
        ({"height": 10**9, "width": 48, "channels": 3}, r"size\.height is 1000000000, over 2048"),
        ({"height": 32, "width": 0, "channels": 3}, r"size\.width is 0, under 16"),
        ({"height": 32, "width": 48}, r"size\.channels is missing"),
        ({"height": 32, "width": 48, "channels": 3, "depth": 2}, "unknown field"),
        ([32, 48], "must be a whole number"),
        (10**9, "over 2048"),
    ],
)
def test_other_sizes_in_a_bundle_are_refused(
    reseal: Reseal, size: Any, why: str, device: Callable[..., Any], refuses: Callable[..., None]
) -> None:
    folder = reseal(lambda document: document["preprocess"].update(size=size))
    with pytest.raises(InputError, match=why):
        Bundle.open(folder)
    if size == 10**9 or (isinstance(size, dict) and size.get("channels") == 4):
        refuses(device("verify", folder), 2, "bundle.json: preprocess.size")


def test_only_bundles_that_need_it_have_the_new_schema(tiny: Bundle) -> None:
    """So that an earlier edgetl reads the others, and refuses these by their schema."""
    before = json.loads(tiny.descriptions()["bundle.json"])
    assert before["schema"] == "edgetl.bundle/1"
    manifest = documents.of_json(Manifest, before, name="it")
    assert documents.to_json(documents.sealed(manifest)) == before
    for size in (WIDE, GREY, InputSize(32, 32, 1)):
        changed = documents.sealed(
            documents.of_json(Manifest, before | {"preprocess": Preprocess(size=size).to_json()}, name="it")
        )
        assert documents.to_json(changed)["schema"] == "edgetl.bundle/2"
        assert read_manifest(documents.dumps(changed).encode(), name="it") == changed
    drawn = documents.sealed(documents.of_json(Manifest, before | {"truth": "model"}, name="it"))
    assert documents.to_json(drawn)["schema"] == "edgetl.bundle/3"
    assert read_manifest(documents.dumps(drawn).encode(), name="it") == drawn


def test_stretch_fills_a_rectangle() -> None:
    pixels = preprocess(photo(), Preprocess(size=WIDE))
    assert pixels.shape == (32, 48, 3)
    np.testing.assert_array_equal(pixels, np.asarray(photo().resize((48, 32), Image.Resampling.BILINEAR)))


@pytest.mark.parametrize("size", [WIDE, InputSize(48, 32), InputSize(32, 200)])
def test_crop_takes_the_middle_in_the_aspect_ratio_of_the_input(size: InputSize) -> None:
    pixels = preprocess(photo(), Preprocess(size=size, fit="crop"))
    assert pixels.shape == size.shape
    share = min(1.0, 100 * size.width / size.height / 200)
    # Red runs from left to right over the photo, so that its ends show what was cut off.
    ends = pixels[:, :, 0].mean(axis=0)[[0, -1]] / 255
    np.testing.assert_allclose(ends, [(1 - share) / 2, (1 + share) / 2], atol=0.02)


@pytest.mark.parametrize(
    ("size", "bars"), [(WIDE, (4, 0)), (InputSize(48, 32), (16, 0)), (InputSize(32, 128), (0, 32))]
)
def test_pad_shows_the_whole_photo_between_black_bars(size: InputSize, bars: tuple[int, int]) -> None:
    down, across = bars
    pixels = preprocess(photo(), Preprocess(size=size, fit="pad"))
    shown = photo().resize((size.width - 2 * across, size.height - 2 * down), Image.Resampling.BILINEAR)
    expected = ImageOps.expand(shown, (across, down), fill=0)
    np.testing.assert_array_equal(pixels, np.asarray(expected))


def test_grey_is_the_luma_of_the_colours_after_they_are_srgb(tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "golden" / "pixels"
    for name in ("rgb.png", "profile.png", "cmyk_profile.jpg", "rgba.png"):
        colours = preprocess(folder / name, Preprocess(size=WIDE))
        grey = preprocess(folder / name, Preprocess(size=GREY))
        assert grey.shape == (32, 48, 1)
        np.testing.assert_array_equal(grey[..., 0], np.asarray(Image.fromarray(colours).convert("L")))
    # Of a grey photo nothing changes.
    three = preprocess(folder / "grey.png", Preprocess(size=WIDE))
    np.testing.assert_array_equal(np.repeat(preprocess(folder / "grey.png", Preprocess(size=GREY)), 3, axis=-1), three)


@pytest.mark.parametrize("turn", [1, 6])
def test_a_jpeg_is_never_reduced_below_twice_the_input(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = io.BytesIO()
    photo(1600, 800).save(data, "JPEG", exif=exif)
    for size in (InputSize(50, 200), InputSize(200, 50)):
        assert min(decode(data.getvalue(), Preprocess(size=size)).size) >= 400


def test_a_model_of_another_shape_than_the_bundle_says_is_refused(reseal: Reseal) -> None:
    bundle = Bundle.open(reseal(lambda document: document["preprocess"].update(size=vars(WIDE))))
    with pytest.raises(InputError, match="the bundle says 32x48 px and 3 labels"):
        Classifier(bundle)


def test_a_grey_array_is_not_for_a_model_of_three_channels(tiny: Bundle) -> None:
    with Classifier(tiny) as one, pytest.raises(InputError, match=r"expected uint8 RGB \[H, W, 3\]$"):
        one.pixels(np.zeros((32, 32, 1), np.uint8))
