"""Colour profiles: applied once, in the shared preprocessing; sRGB and broken profiles change nothing."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from profiles import ADOBE_RGB, DISPLAY_P3, SRGB, cmyk_profile, grey_profile, rgb_profile

from edgetl_device import preprocess as module
from edgetl_device.decoding import colour, png_chunks
from edgetl_device.errors import Unavailable
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess, decode, preprocess

SPEC = Preprocess(size=square(32))
AS_STORED = Preprocess(size=square(32), colours="as-stored")
# sRGB's orange (200, 100, 50) in Display P3, by the matrices of IEC 61966-2-1 and SMPTE EG 432-1.
ORANGE, ORANGE_P3 = (200, 100, 50), (186, 106, 61)


def flat(colour: tuple[int, ...] | int, mode: str = "RGB", size: tuple[int, int] = (40, 40)) -> Image.Image:
    return Image.new(mode, size, colour)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def middle(data: bytes | Image.Image, spec: Preprocess = SPEC) -> np.ndarray:
    return preprocess(data, spec)[16, 16].astype(int)


@pytest.mark.parametrize(
    ("format", "options"),
    [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 100, "subsampling": 0})],
)
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_a_photo_in_display_p3_becomes_srgb(format: str, options: dict, fit: str) -> None:
    data = saved(flat(ORANGE_P3), format, icc_profile=rgb_profile(DISPLAY_P3), **options)
    assert np.abs(middle(data, Preprocess(size=square(32), fit=fit)) - ORANGE).max() <= 2
    assert np.abs(middle(data, AS_STORED) - ORANGE_P3).max() <= 2


def test_an_opened_image_is_converted_too_and_not_changed() -> None:
    image = Image.open(io.BytesIO(saved(flat(ORANGE_P3), "PNG", icc_profile=rgb_profile(DISPLAY_P3))))
    assert np.abs(middle(image) - ORANGE).max() <= 2
    assert image.getpixel((0, 0)) == ORANGE_P3


def test_transparent_palette_and_turned_photos_are_converted_once() -> None:
    profile = rgb_profile(DISPLAY_P3)
    clear = flat((*ORANGE_P3, 255), "RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 40, 10))
    pixels = preprocess(saved(clear, "PNG", icc_profile=profile), SPEC)
    assert np.abs(pixels[16, 16].astype(int) - ORANGE).max() <= 2
    assert pixels[2, 16].tolist() == [255, 255, 255]
    palette = flat(ORANGE_P3).quantize(2)
    assert np.abs(middle(saved(palette, "PNG", icc_profile=profile)) - ORANGE).max() <= 2
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.abs(middle(saved(flat(ORANGE_P3), "PNG", icc_profile=profile, exif=exif)) - ORANGE).max() <= 2


def test_grey_photos_follow_the_profile_of_greys_or_of_colours() -> None:
    # Half intensity: 186 at gamma 2.2, 255 * 0.5 ** (1 / 1.8) = 173 at gamma 1.8, 188 in sRGB.
    for gamma, level in ((2.2, 186), (1.8, 173)):
        for profile in (grey_profile(gamma), rgb_profile(SRGB, gamma)):
            data = saved(flat(level, "L"), "PNG", icc_profile=profile)
            assert np.abs(middle(data) - 188).max() <= 2, gamma
    wide = Image.fromarray(np.full((40, 40), 173 * 257, np.uint16))
    assert np.abs(middle(saved(wide, "PNG", icc_profile=grey_profile(1.8))) - 188).max() <= 2
    alpha = Image.merge("LA", (flat(173, "L"), flat(255, "L")))
    assert np.abs(middle(saved(alpha, "PNG", icc_profile=grey_profile(1.8))) - 188).max() <= 2


def test_inks_follow_their_profile_and_are_mixed_plainly_without_one() -> None:
    inks = flat((255, 0, 0, 0), "CMYK")
    assert middle(saved(inks, "TIFF")).tolist() == [0, 255, 255]
    cyan = middle(saved(inks, "TIFF", icc_profile=cmyk_profile()))
    assert cyan[0] < 60 < 120 < cyan[1] < cyan[2] < 255
    jpeg = saved(inks, "JPEG", icc_profile=cmyk_profile(), quality=100)
    assert np.abs(middle(jpeg) - cyan).max() <= 6


@pytest.mark.parametrize("made", ["littlecms", "specification"])
def test_photos_in_srgb_keep_every_bit(made: str) -> None:
    profile = (
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if made == "littlecms" else rgb_profile(SRGB)
    )
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8))
    for image, options in ((noise, {}), (noise.convert("L"), {}), (noise.convert("RGBA"), {})):
        plain = preprocess(saved(image, "PNG", **options), SPEC)
        assert np.array_equal(preprocess(saved(image, "PNG", icc_profile=profile), SPEC), plain)
        assert np.array_equal(preprocess(saved(image, "PNG"), AS_STORED), plain)


@pytest.mark.parametrize(
    ("profile", "why"),
    [
        (b"no profile at all", "cannot open profile"),
        (rgb_profile(DISPLAY_P3)[:200], "cannot"),
        (cmyk_profile(), "for CMYK and the photo is RGB"),
        (grey_profile(2.2), "for GRAY and the photo is RGB"),
    ],
    ids=["text", "truncated", "inks", "greys"],
)
def test_a_broken_profile_is_named_and_pixels_are_as_stored(profile: bytes, why: str) -> None:
    data = saved(flat(ORANGE), "PNG", icc_profile=profile)
    assert middle(data).tolist() == list(ORANGE)
    assert why in module.why_colours_as_stored(module.open_photo(data, "x"), "x")


def test_large_and_small_photos_are_converted_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (97, 131, 4), dtype=np.uint8)
    for mode, channels in (("RGBA", 4), ("CMYK", 4)):
        profile = cmyk_profile() if mode == "CMYK" else rgb_profile(ADOBE_RGB, 2.2)
        bands = [Image.fromarray(noise[..., i]) for i in range(channels)]
        data = saved(Image.merge(mode, bands), "TIFF", icc_profile=profile)
        whole = np.asarray(decode(data, SPEC))
        with monkeypatch.context() as patched:
            patched.setattr(module, "_BAND_PIXELS", 1310)
            np.testing.assert_array_equal(np.asarray(decode(data, SPEC)), whole)


def test_a_pillow_without_little_cms_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colour.features, "check", lambda _name: False)
    assert middle(saved(flat(ORANGE), "PNG")).tolist() == list(ORANGE)
    with pytest.raises(Unavailable, match="built without Little CMS"):
        middle(saved(flat(ORANGE_P3), "PNG", icc_profile=rgb_profile(DISPLAY_P3)))
    with pytest.raises(Unavailable, match="built without Little CMS"):
        middle(saved(flat((255, 0, 0, 0), "CMYK"), "TIFF", icc_profile=cmyk_profile()))


def test_documents_from_before_ignore_profiles_and_later_ones_say_what_they_do() -> None:
    old = {"size": 32, "fit": "stretch", "resample": "bilinear"}
    assert Preprocess.from_json(old) == AS_STORED
    assert AS_STORED.to_json() == old
    assert SPEC.to_json() == old | {"colours": "srgb"}
    assert Preprocess.from_json(SPEC.to_json()) == SPEC


# Depth


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_a_depth_range_becomes_black_to_white(format: str) -> None:
    ramp = np.repeat(np.linspace(0, 4095, 64).round().astype(np.uint16)[None], 64, axis=0)
    data = saved(Image.fromarray(ramp), format)
    assert preprocess(data, Preprocess(size=square(64))).max() == 15
    pixels = preprocess(data, Preprocess(size=square(64), depth_range=(0, 4095)))
    assert np.abs(pixels[0, :, 1] - np.linspace(0, 255, 64)).max() <= 1
    clipped = preprocess(data, Preprocess(size=square(64), depth_range=(1000, 2000)))[0, :, 0]
    assert (clipped[0], clipped[-1]) == (0, 255)


@pytest.mark.parametrize("limits", [[0, 0], [9, 3], [-1, 9], [0, 65_536], [1], "0..9"])
def test_a_depth_range_is_two_values_in_order(limits: object) -> None:
    with pytest.raises(module.InputError, match="depth_range"):
        Preprocess.from_json(SPEC.to_json() | {"depth_range": limits})
    spec = Preprocess(size=square(32), depth_range=(0, 4095))
    assert Preprocess.from_json(spec.to_json()) == spec


# Metadata


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


@pytest.mark.parametrize("after", [False, True], ids=["before the pixels", "after them"])
@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"x" * 3_000_000)),
        chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(b"x" * 3_000_000)),
        chunk(b"tEXt", b"prompt\0" + b"x" * 3_000_000) * 30,
        chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"x" * 400_000)) * 200,
        chunk(b"zTXt", b"prompt\0\0damaged"),
        chunk(b"iCCP", b"large\0\0" + zlib.compress(rgb_profile(SRGB, text=b"x" * 2_000_000))),
        chunk(b"iCCP", b"damaged\0\0damaged"),
        chunk(b"eXIf", b"no TIFF header"),
    ],
    ids=["zTXt", "iTXt", "90 MB of text", "80 MB of packed text", "damaged text", "profile", "damaged", "EXIF"],
)
def test_what_a_png_says_besides_its_pixels_does_not_lose_them(extra: bytes, after: bool) -> None:
    data = saved(flat(ORANGE), "PNG")
    place = len(data) - 12 if after else 33
    assert middle(data[:place] + extra + data[place:]).tolist() == list(ORANGE)


def test_a_large_profile_in_a_png_is_followed() -> None:
    data = saved(flat(ORANGE_P3), "PNG")
    extra = chunk(b"iCCP", b"p3\0\0" + zlib.compress(rgb_profile(DISPLAY_P3, text=b"x" * 2_000_000)))
    assert np.abs(middle(data[:33] + extra + data[33:]) - ORANGE).max() <= 2


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_what_a_png_packs_is_unpacked_up_to_a_total(kind: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of chunks of a kilobyte would unpack to gigabytes."""
    unpacked, unpack = [], png_chunks._unpack

    def count(packed: bytes, limit: int) -> bytes | None:
        found = unpack(packed, limit)
        unpacked.append(len(found or b""))
        return found

    monkeypatch.setattr(png_chunks, "_unpack", count)
    head = {b"zTXt": b"prompt\0\0", b"iTXt": b"prompt\0\1\0\0\0", b"iCCP": b"p3\0\0"}[kind]
    extra = chunk(kind, head + zlib.compress(b"x" * 500_000)) * 4000
    data = saved(flat(ORANGE), "PNG")
    assert middle(data[:33] + extra + data[33:]).tolist() == list(ORANGE)
    assert 0 < sum(unpacked) < 32_000_000


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\0\0no TIFF header", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_exif_that_is_none_does_not_lose_the_pixels(format: str, exif: bytes) -> None:
    data = saved(flat(ORANGE), format, exif=exif, quality=100)
    assert np.abs(middle(data) - ORANGE).max() <= 6


def test_what_pillow_says_of_a_file_it_does_not_open_is_passed_on() -> None:
    data = saved(flat(ORANGE), "PNG")
    with pytest.raises(module.PhotoError) as caught:
        preprocess(data[:25], SPEC)
    assert caught.value.kind == "not_image"
    assert caught.value.why.startswith("PNG: ")
    with pytest.raises(module.PhotoError) as caught:
        preprocess(b"only text", SPEC)
    assert caught.value.why == ""
