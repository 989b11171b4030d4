"""Bytes to tensor: every format and mode, orientation, reduced decoding, and errors for bad files."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from branches import UNMEASURED
from PIL import Image, ImageOps
from profiles import DISPLAY_P3, rgb_profile

from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.preprocess import PhotoError, Preprocess, decode, fit, preprocess

# Pillow warns about odd EXIF and about photos over half of preprocess's limit; neither is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")

SPEC = Preprocess(size=square(32))


def blocks(width: int = 128, height: int = 96) -> Image.Image:
    """Four flat quarters (red, green / blue, yellow), which reveal wrong orientation, channel order or range."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (200, 20, 20)
    pixels[: height // 2, width // 2 :] = (20, 200, 20)
    pixels[height // 2 :, : width // 2] = (20, 20, 200)
    pixels[height // 2 :, width // 2 :] = (200, 200, 20)
    return Image.fromarray(pixels)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def corners(pixels: np.ndarray) -> np.ndarray:
    """The middle of each quarter: int, [top left, top right, bottom left, bottom right] x RGB."""
    quarter = len(pixels) // 4
    return pixels[[quarter, quarter, -quarter, -quarter], [quarter, -quarter, quarter, -quarter]].astype(int)


EXPECTED = corners(np.asarray(blocks(32, 32)))


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("GIF", {}, 0),
        ("JPEG", {"quality": 95}, 4),
        ("JPEG", {"quality": 95, "progressive": True}, 4),
        ("WEBP", {"quality": 95}, 12),
    ],
)
def test_every_format_gives_the_same_rgb(format: str, options: dict, tolerance: int) -> None:
    pixels = preprocess(saved(blocks(), format, **options), SPEC)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (32, 32, 3)
    assert np.abs(corners(pixels) - EXPECTED).max() <= tolerance


def test_mpo_as_phones_write_it_is_read_as_its_first_picture() -> None:
    data = saved(blocks(1600, 1200), "MPO", save_all=True, append_images=[Image.new("RGB", (1600, 1200))])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert np.abs(corners(preprocess(data, SPEC)) - EXPECTED).max() <= 4
    assert decode(data, SPEC).size == (200, 150)


def test_gif_gives_its_first_frame() -> None:
    data = saved(blocks(), "GIF", save_all=True, append_images=[Image.new("RGB", (128, 96))])
    assert np.array_equal(corners(preprocess(data, SPEC)), EXPECTED)


def test_grey_palette_and_bilevel() -> None:
    grey = blocks().convert("L")
    expected = np.repeat(corners(np.asarray(grey.resize((32, 32)))[..., None]), 3, axis=1)
    assert np.array_equal(corners(preprocess(saved(grey, "PNG"), SPEC)), expected)
    palette = blocks().quantize(4)
    assert np.abs(corners(preprocess(saved(palette, "PNG"), SPEC)) - EXPECTED).max() <= 2
    bilevel = Image.new("1", (64, 64), 1)
    assert preprocess(saved(bilevel, "PNG"), SPEC).min() == 255


def test_transparent_pixels_show_white() -> None:
    image = blocks().convert("RGBA")
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, 64, 48))
    image.putalpha(alpha)
    for format in ("PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if format == "WEBP" else {}
        found = corners(preprocess(saved(image, format, **options), SPEC))
        assert found[0].tolist() == [255, 255, 255], format
        assert np.array_equal(found[1:], EXPECTED[1:]), format
    grey = Image.merge("LA", (Image.new("L", (64, 64), 10), Image.new("L", (64, 64), 0)))
    assert preprocess(saved(grey, "PNG"), SPEC).min() == 255
    palette = Image.new("P", (64, 64), 0)
    palette.putpalette([10, 20, 30])
    assert preprocess(saved(palette, "PNG", transparency=0), SPEC).min() == 255


def png_with_key(samples: np.ndarray, *, depth: int, key: tuple[int, ...]) -> bytes:
    """A PNG of a depth of 1 to 16 bits with a transparent colour, written by hand: Pillow writes 8 bits."""
    height, width, channels = samples.shape
    flat = samples.reshape(height, width * channels)
    if depth == 16:
        rows = flat.astype(">u2").view(np.uint8)
    else:
        bits = (flat[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">2I5B", width, height, depth, 0 if channels == 1 else 2, 0, 0, 0)
    trns = struct.pack(f">{channels}H", *key)
    chunks = ((b"IHDR", head), (b"tRNS", trns), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


@pytest.mark.parametrize(("depth", "channels"), [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3)])
def test_a_colour_key_shows_white_at_every_depth(depth: int, channels: int) -> None:
    most = 2**depth - 1
    # The upper half has the key's value, a dark one; the lower half another.
    key, other = (most // 3, most // 2 + 1) if depth > 1 else (0, 1)
    samples = np.full((64, 64, channels), other, np.int64)
    samples[:32] = key
    data = png_with_key(samples, depth=depth, key=(key,) * channels)
    found = preprocess(data, SPEC)
    assert found[:14].min() == 255
    expected = 255 if depth == 1 else other >> 8 if depth == 16 else other * 255 // most
    assert np.unique(found[18:]).tolist() == [expected]
    # What has only some of the key's values is no part of it.
    if channels == 3:
        samples[:32, :, 0] = other
        assert preprocess(png_with_key(samples, depth=depth, key=(key,) * 3), SPEC)[:14].max() < 255


@pytest.mark.parametrize("profile", [None, rgb_profile(DISPLAY_P3)])
def test_a_colour_key_is_laid_on_the_background_of_an_alpha_channel(profile: bytes | None) -> None:
    options = {} if profile is None else {"icc_profile": profile}
    keyed = saved(blocks(), "PNG", transparency=(200, 20, 20), **options)
    image = blocks().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 64, 48))
    found, expected = (preprocess(one, SPEC) for one in (keyed, saved(image, "PNG", **options)))
    # At the edges of the quarters both are mixed with white.
    np.testing.assert_array_equal(found, expected)
    assert corners(found)[0].tolist() == [255, 255, 255]


def test_a_colour_key_is_seen_in_an_image_of_the_caller_which_stays_as_it_is() -> None:
    image = blocks()
    image.info["transparency"] = (200, 20, 20)
    assert corners(preprocess(image, SPEC))[0].tolist() == [255, 255, 255]
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (200, 20, 20)


def test_a_colour_key_of_16_bit_greys_is_compared_before_the_range_is_stretched() -> None:
    samples = np.full((64, 64, 1), 900, np.int64)
    samples[:32] = 901
    spec = Preprocess(size=square(32), depth_range=(0, 4095))
    found = preprocess(png_with_key(samples, depth=16, key=(901,)), spec)
    assert found[:14].min() == 255
    assert np.unique(found[18:]).tolist() == [900 * 255 // 4095]


def test_cmyk_jpeg_is_not_inverted() -> None:
    data = saved(blocks().convert("CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(corners(preprocess(data, SPEC)) - EXPECTED).max() <= 8


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_upper_8_bits(format: str) -> None:
    ramp = np.full((64, 64), 0x1234, np.uint16)
    ramp[:, 32:] = 0xC8FF
    pixels = preprocess(saved(Image.fromarray(ramp), format), SPEC)
    assert pixels[16, 4].tolist() == [0x12] * 3
    assert pixels[16, -4].tolist() == [0xC8] * 3


def test_16_bit_rgb_png() -> None:
    row = b"\x00" + struct.pack(">3H", 0x1234, 0x8000, 0xFFFF) * 64
    pixels = preprocess(png(64, 64, depth=16, color=2, data=zlib.compress(row * 64)), SPEC)
    assert np.abs(pixels[16, 16].astype(int) - [0x12, 0x80, 0xFF]).max() <= 1


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(format: str, orientation: int) -> None:
    # How a camera in this orientation stores an upright scene: the inverse of the transform that the tag asks for.
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = blocks() if orientation == 1 else blocks().transpose(stored[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(format, {})
    data = saved(image, format, exif=exif, **options)
    assert decode(data, SPEC).size == (128, 96)
    assert np.abs(corners(preprocess(data, SPEC)) - EXPECTED).max() <= 4


def test_a_photo_with_an_odd_exif_tag_is_still_read_and_turned() -> None:
    # ImageWidth as text: ImageOps.exif_transpose rewrites all tags, and raises struct.error here.
    entries = struct.pack("<2H2I", 0x0112, 3, 1, 6) + struct.pack("<2HI4s", 0x0100, 2, 4, b"abc\0")
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0)
    data = saved(blocks().transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)
    assert np.abs(corners(preprocess(data, SPEC)) - EXPECTED).max() <= 4


def test_large_jpegs_are_decoded_reduced_and_stay_close_to_the_full_decode() -> None:
    # Measured: mean 0.1 to 0.2 and maximum 3 on photos of 1280 x 720 and on smooth noise, 1.7 and 6 on these hard
    # edges, 1.1 and 16 on the worst photo tried.
    y, x = np.mgrid[:1200, :1600]
    stripes = ((x * 7 + y * 3) // 90 % 2 * 255).astype(np.uint8)
    cells = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    smooth = Image.fromarray(cells).resize((1600, 1200), Image.Resampling.BICUBIC)
    for image in (Image.fromarray(stripes).convert("RGB"), smooth):
        data = saved(image, "JPEG", quality=90)
        for size, reduced in ((96, (400, 300)), (160, (800, 600)), (224, (800, 600)), (320, (1600, 1200))):
            spec = Preprocess(size=square(size))
            assert decode(data, spec).size == reduced
            full = fit(Image.open(io.BytesIO(data)).convert("RGB"), spec)
            difference = np.abs(preprocess(data, spec).astype(int) - full)
            assert difference.mean() <= 2
            assert difference.max() <= 16


def test_a_pil_image_is_taken_as_it_is_and_left_as_it_was() -> None:
    data = saved(blocks(1600, 1200), "JPEG")
    image = Image.open(io.BytesIO(data))
    pixels = preprocess(image, SPEC)
    assert image.size == (1600, 1200)
    assert np.abs(pixels.astype(int) - preprocess(data, SPEC)).max() <= 16


def test_path_and_bytes_agree_and_repeat(tmp_path: Path) -> None:
    data = saved(blocks(), "JPEG")
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    first = preprocess(path, SPEC)
    assert np.array_equal(first, preprocess(str(path), SPEC))
    assert all(np.array_equal(first, preprocess(data, SPEC)) for _ in range(3))


def test_the_three_fits() -> None:
    wide = Image.new("RGB", (90, 30), (255, 0, 0))
    wide.paste((0, 255, 0), (30, 0, 60, 30))
    stretched, cropped, padded = (
        preprocess(wide, Preprocess(size=square(30), fit=name)) for name in ("stretch", "crop", "pad")
    )
    assert np.array_equal(stretched, np.asarray(wide.resize((30, 30), Image.Resampling.BILINEAR)))
    assert (cropped[:, 2:-2] == (0, 255, 0)).all()
    assert (padded[:9] == 0).all()
    assert (padded[-9:] == 0).all()
    assert padded[15, 2].tolist() == [255, 0, 0]
    assert padded[15, 15].tolist() == [0, 255, 0]


@pytest.mark.parametrize("name", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes(name: str, size: tuple[int, int]) -> None:
    assert preprocess(Image.new("RGB", size), Preprocess(size=square(32), fit=name)).shape == (32, 32, 3)


def test_bicubic_is_another_result() -> None:
    data = saved(blocks(), "PNG")
    bicubic = preprocess(data, Preprocess(size=square(31), resample="bicubic"))
    assert np.array_equal(bicubic, np.asarray(blocks().resize((31, 31), Image.Resampling.BICUBIC)))
    assert not np.array_equal(bicubic, preprocess(data, Preprocess(size=square(31))))


def png(width: int, height: int, *, depth: int = 1, color: int = 0, data: bytes = b"") -> bytes:
    """A hand-made PNG, whose header may contain what no encoder would write."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in (
        (b"IHDR", struct.pack(">2I5B", width, height, depth, color, 0, 0, 0)),
        (b"IDAT", data),
        (b"IEND", b""),
    ):
        parts.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return b"".join(parts)


def huge_png() -> bytes:
    return png(30_000, 30_000, data=zlib.compress(b"\x00" * (30_000 * 3751), 9))


def bmp_without_pixels() -> bytes:
    data = bytearray(saved(blocks(), "BMP"))
    data[18:26] = struct.pack("<2i", 0, 0)
    return bytes(data)


def floats() -> bytes:
    return saved(Image.fromarray(np.zeros((64, 64), np.float32)), "TIFF")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: b"", "empty"),
        (lambda: b"not a photo, only text\n" * 50, "not_image"),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "not_image"),
        (lambda: saved(blocks(800, 600), "JPEG")[:-400], "truncated"),
        (lambda: saved(blocks(), "PNG")[:-60], "truncated"),
        (bmp_without_pixels, "not_image"),
        (lambda: png(0, 0), "not_image"),
        (huge_png, "too_large"),
        (lambda: png(13_400, 13_400), "too_large"),
        (floats, "unsupported"),
    ],
    ids=["empty", "text", "eps", "cut jpeg", "cut png", "0x0 bmp", "0x0 png", "30000", "over the limit", "floats"],
)
def test_bad_files(make: Callable[[], bytes], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(make())
    with pytest.raises(PhotoError) as caught:
        preprocess(path, SPEC)
    assert caught.value.kind == kind
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_damaged_bytes_never_give_anything_but_a_photo_error() -> None:
    """Photos with a few changed bytes give pixels or a PhotoError."""
    exif = Image.Exif()
    exif[0x0112] = 6
    originals = [saved(blocks(), format, exif=exif) for format in ("JPEG", "PNG", "WEBP")]
    originals += [saved(blocks(), "BMP"), saved(blocks(), "GIF")]
    random = np.random.default_rng(1)
    outcomes = set()
    for _ in range(3000):
        data = bytearray(originals[random.integers(len(originals))])
        for _ in range(random.integers(1, 6)):
            data[random.integers(min(len(data), int(random.choice([80, 10**6]))))] = random.integers(256)
        try:
            outcomes.add(preprocess(bytes(data), SPEC).shape)
        except PhotoError as error:
            outcomes.add(error.kind)
    assert {(32, 32, 3), "not_image", "truncated"} <= outcomes


@pytest.mark.parametrize(
    "document",
    [
        {"size": 160, "fit": "stretch"},
        {"size": 160, "fit": "stretch", "resample": "bilinear", "mean": 0},
        {"size": 8, "fit": "stretch", "resample": "bilinear"},
        {"size": "160", "fit": "stretch", "resample": "bilinear"},
        {"size": 160, "fit": "squeeze", "resample": "bilinear"},
        {"size": 160, "fit": "stretch", "resample": "nearest"},
        [160],
    ],
)
def test_a_spec_is_never_guessed(document: object) -> None:
    with pytest.raises(InputError):
        Preprocess.from_json(document)


@pytest.mark.parametrize(
    "fields",
    [{"size": 8}, {"size": 1 << 20}, {"fit": "squeeze"}, {"resample": "nearest"}, {"colours": "p3"}, {"fit": None}],
)
def test_nor_is_one_that_is_made_in_python(fields: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"preprocess {next(iter(fields))} "):
        Preprocess(**fields)  # type: ignore[arg-type]


def test_a_spec_survives_json() -> None:
    spec = Preprocess(size=square(224), fit="crop", resample="bicubic")
    assert Preprocess.from_json(spec.to_json()) == spec


def test_a_huge_png_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(huge_png())
    code = (
        "import resource, sys\n"
        "from edgetl_device.preprocess import *\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    preprocess(sys.argv[1], Preprocess())\n"
        "except PhotoError:\n    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | UNMEASURED)
    assert int(done.stdout) < 20_000, "KiB; the decoded photo would take 900,000 and more"


def test_upright_photos_are_not_turned_twice() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(saved(blocks(), "PNG", exif=exif)))
    assert decode(ImageOps.exif_transpose(image), SPEC).size == (96, 128)
