"""Held-out photos in bundles: no position, owner or serial number, and pixels identical bit for bit."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from profiles import ADOBE_RGB, SRGB, cmyk_profile, grey_profile, rgb_profile

from edgetl_device import photo_metadata
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.photo_metadata import without_metadata
from edgetl_device.preprocess import Preprocess, decode, preprocess

SPEC = Preprocess(size=square(64))
SECRETS = ("Anna Example", "SN-4711", "2024:05:17", "Canon", "C:\\Users\\anna", "secret-thumbnail")
_GPS, _ARTIST, _SERIAL, _ORIENTATION = 0x8825, 0x013B, 0xA431, 0x0112


def noise(mode: str = "RGB", width: int = 210, height: int = 140) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    cells = np.random.default_rng(3).integers(0, 256, (7, 10, channels), dtype=np.uint8)
    bands = [Image.fromarray(cells[..., band]).resize((width, height)) for band in range(channels)]
    return Image.merge(mode, bands) if channels > 1 else bands[0]


def exif(orientation: int = 1) -> Image.Exif:
    """A camera's metadata: position, owner, serial number, time, orientation."""
    tags = Image.Exif()
    tags[_ORIENTATION] = orientation
    tags[_ARTIST] = "Anna Example"
    tags[0x010F] = "Canon"
    tags[0x0132] = "2024:05:17 10:00:00"
    tags.get_ifd(0x8769)[_SERIAL] = "SN-4711"
    tags.get_ifd(_GPS).update({1: "N", 2: (48.0, 8.0, 15.0), 3: "E", 4: (11.0, 34.0, 30.0)})
    return tags


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "Anna Example")
    info.add_itxt("Comment", "SN-4711", zip=True)
    info.add_text("Source", "C:\\Users\\anna", zip=True)
    return info


def with_segments(data: bytes) -> bytes:
    """A JPEG with a comment, XMP, IPTC, a JFIF thumbnail, a maker's segment, and trailing bytes."""
    extra = [
        (0xFE, b"Anna Example"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><Artist>Anna Example</Artist></x:xmpmeta>"),
        (0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0cAnna Example"),
        (0xE0, b"JFXX\0\x13\x01\x01secret-thumbnail"),
        (0xE5, b"SN-4711"),
    ]
    segments = b"".join(bytes([0xFF, kind]) + struct.pack(">H", len(body) + 2) + body for kind, body in extra)
    return data[:2] + segments + data[2:] + b"SN-4711 secret-thumbnail"


PHOTOS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(noise(), "JPEG", exif=exif(), icc_profile=b"Anna Example" * 9, comment=b"Anna Example"),
    "jpeg turned": lambda: with_segments(saved(noise(), "JPEG", exif=exif(6))),
    "jpeg mirrored": lambda: saved(noise(), "JPEG", exif=exif(5), quality=60, subsampling=2),
    "large jpeg": lambda: saved(noise(width=900, height=700), "JPEG", exif=exif(8)),
    "progressive": lambda: with_segments(saved(noise(), "JPEG", progressive=True, exif=exif(3))),
    "restarts": lambda: saved(noise(), "JPEG", exif=exif(), restart_marker_rows=1),
    "grey jpeg": lambda: with_segments(saved(noise("L"), "JPEG", exif=exif(6))),
    "cmyk jpeg": lambda: with_segments(saved(noise("CMYK"), "JPEG", exif=exif())),
    "rgb jpeg": lambda: with_segments(saved(noise(), "JPEG", keep_rgb=True, exif=exif(7))),
    "mpo": lambda: saved(noise(), "MPO", save_all=True, append_images=[noise().rotate(90)], exif=exif(6)),
    "png": lambda: saved(noise(), "PNG", exif=exif(6), pnginfo=text(), icc_profile=b"Anna Example" * 9),
    "palette": lambda: saved(noise().quantize(99), "PNG", transparency=bytes(range(99)), exif=exif(), pnginfo=text()),
    "rgba": lambda: saved(noise("RGBA"), "PNG", exif=exif(4), pnginfo=text()),
    "animated png": lambda: saved(noise(), "PNG", save_all=True, append_images=[noise().rotate(90)], pnginfo=text()),
    "webp": lambda: saved(noise(), "WEBP", exif=exif(6), xmp=b"Anna Example", icc_profile=b"Anna Example" * 9),
    "lossless webp": lambda: saved(noise("RGBA"), "WEBP", lossless=True, exif=exif(), xmp=b"Anna Example"),
    "animated webp": lambda: saved(
        noise(), "WEBP", save_all=True, append_images=[noise().rotate(180)], exif=exif(), xmp=b"Anna Example"
    ),
    "tiff": lambda: saved(noise(), "TIFF", exif=exif(6)),
    "16-bit tiff": lambda: saved(
        Image.fromarray(np.random.default_rng(0).integers(0, 65_536, (90, 80), dtype=np.uint16)), "TIFF", exif=exif()
    ),
    "gif": lambda: saved(noise().quantize(99), "GIF", comment=b"Anna Example"),
    "bmp with a tail": lambda: saved(noise(), "BMP") + b"SN-4711",
}


@pytest.mark.parametrize("name", PHOTOS)
def test_only_the_pixels_travel(name: str) -> None:
    data = PHOTOS[name]()
    stripped, suffix = without_metadata(data, SPEC, name=name)
    assert suffix == (".png" if name in ("tiff", "16-bit tiff", "gif", "bmp with a tail") else "")
    for spec in (SPEC, Preprocess(size=square(160)), Preprocess(size=square(224))):
        np.testing.assert_array_equal(np.asarray(decode(stripped, spec)), np.asarray(decode(data, spec)))
    for secret in SECRETS:
        assert secret.encode() not in stripped
        assert secret.encode("utf-16-le") not in stripped
    with Image.open(io.BytesIO(stripped)) as image:
        found = image.getexif()
        assert set(found) <= {_ORIENTATION}
        assert not found.get_ifd(_GPS)
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "adobe",
                                   "adobe_transform", "exif", "transparency", "progressive", "progression", "loop",
                                   "background", "timestamp", "duration"}  # fmt: skip
    assert without_metadata(stripped, SPEC, name=name) == (stripped, "")


@pytest.mark.parametrize(
    "make",
    [lambda: saved(noise(), "JPEG"), lambda: saved(noise(), "PNG"), lambda: saved(noise(), "BMP"),
     lambda: saved(noise(), "WEBP")],
    ids=["jpeg", "png", "bmp", "webp"],
)  # fmt: skip
def test_a_file_without_metadata_stays_as_it_is(make: Callable[[], bytes]) -> None:
    data = make()
    assert without_metadata(data, SPEC, name="photo") == (data, "")


def test_pixels_that_would_change_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a decoder used something that is stripped: here the orientation is lost."""
    monkeypatch.setattr(photo_metadata, "_kept", lambda _data, _spec, _name: (1, b""))
    with pytest.raises(InputError, match=r"a\.jpg: its metadata cannot be removed"):
        without_metadata(saved(noise(), "JPEG", exif=exif(6)), SPEC, name="a.jpg")


def test_real_photos_keep_their_pixels() -> None:
    for photo in sorted((Path(__file__).parent.parent / "golden" / "photos").iterdir()):
        data = photo.read_bytes()
        stripped, _ = without_metadata(data, SPEC, name=photo.name)
        np.testing.assert_array_equal(np.asarray(decode(stripped, SPEC)), np.asarray(decode(data, SPEC)))


@pytest.mark.parametrize(
    ("mode", "format", "profile"),
    [
        ("RGB", "JPEG", rgb_profile(ADOBE_RGB, 2.2, b"Anna Example")),
        ("RGB", "JPEG", rgb_profile(ADOBE_RGB, 2.2, b"Anna Example" * 10_000)),
        ("RGB", "PNG", rgb_profile(ADOBE_RGB, 2.2, b"Anna Example")),
        ("RGB", "PNG", rgb_profile(ADOBE_RGB, 2.2, b"Anna Example" * 100_000)),
        ("RGB", "WEBP", rgb_profile(ADOBE_RGB, 2.2, b"Anna Example")),
        ("RGB", "TIFF", rgb_profile(ADOBE_RGB, 2.2, b"Anna Example")),
        ("RGBA", "PNG", rgb_profile(ADOBE_RGB, 2.2, b"Anna Example")),
        ("L", "JPEG", grey_profile(1.8)),
        ("CMYK", "JPEG", cmyk_profile()),
        ("CMYK", "TIFF", cmyk_profile()),
    ],
)
def test_of_a_profile_only_the_colours_are_kept(mode: str, format: str, profile: bytes) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(noise(mode), format, icc_profile=profile, exif=exif(6), **options)
    stripped, _ = without_metadata(data, SPEC, name="photo")
    assert b"Anna" not in stripped
    assert b"\x07\xe8\0\x05\0\x11" not in stripped, "the profile's date"
    assert np.array_equal(preprocess(stripped, SPEC), preprocess(data, SPEC))
    if mode != "L":
        assert not np.array_equal(
            preprocess(stripped, SPEC), preprocess(data, Preprocess(square(64), colours="as-stored"))
        )


def test_a_profile_that_changes_nothing_is_not_kept() -> None:
    for spec, profile in (
        (SPEC, rgb_profile(SRGB)),
        (SPEC, b"broken"),
        (Preprocess(square(64), colours="as-stored"), rgb_profile(ADOBE_RGB, 2.2)),
    ):
        stripped, _ = without_metadata(saved(noise(), "PNG", icc_profile=profile), spec, name="photo")
        assert b"iCCP" not in stripped
