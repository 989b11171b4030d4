"""HEIC and AVIF: read like every other format where there is a decoder, and named where there is none."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from branches import UNMEASURED
from PIL import Image
from profiles import DISPLAY_P3, rgb_profile

from edgetl_device import doctor
from edgetl_device.bench import photoset
from edgetl_device.bundle import Bundle
from edgetl_device.decoding import heif
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.live.watch import new_photos
from edgetl_device.preprocess import PhotoError, Preprocess, decode, preprocess

SPEC = Preprocess(size=square(32))
# The start of a file: its type with the brands of what follows.
HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
# A file that names only in its second place what it is, as libheif writes it.
AVIF_HEAD = b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf"


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without pillow-heif and with a Pillow that has no libavif."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(heif.features, "modules", {})


def blocks(width: int = 128, height: int = 96) -> Image.Image:
    """Four flat quarters: red, green / blue, yellow."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (200, 20, 20)
    pixels[: height // 2, width // 2 :] = (20, 200, 20)
    pixels[height // 2 :, : width // 2] = (20, 20, 200)
    pixels[height // 2 :, width // 2 :] = (200, 200, 20)
    return Image.fromarray(pixels)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    """Encode with this machine's encoder, or skip the test."""
    if format == heif.HEIC:
        pytest.importorskip("pillow_heif", reason="pillow-heif is not installed here").register_heif_opener()
    elif heif.load_decoder(heif.AVIF):
        pytest.skip("this Pillow reads no AVIF")
    stream = io.BytesIO()
    image.save(stream, format, **({"quality": 95} | options))
    return stream.getvalue()


def corners(pixels: np.ndarray) -> np.ndarray:
    quarter = len(pixels) // 4
    return pixels[[quarter, quarter, -quarter, -quarter], [quarter, -quarter, quarter, -quarter]].astype(int)


EXPECTED = corners(np.asarray(blocks(32, 32)))
both = pytest.mark.parametrize("format", [heif.HEIC, heif.AVIF])


@both
def test_colours_are_those_of_other_formats(format: str) -> None:
    assert np.abs(corners(preprocess(saved(blocks(), format), SPEC)) - EXPECTED).max() <= 12
    grey = saved(blocks().convert("L"), format)
    expected = np.repeat(corners(np.asarray(blocks().convert("L").resize((32, 32)))[..., None]), 3, axis=1)
    assert np.abs(corners(preprocess(grey, SPEC)) - expected).max() <= 6


@both
@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_orientation_is_applied_once(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    reference = io.BytesIO()
    blocks().save(reference, "PNG", exif=exif)
    expected = decode(reference.getvalue(), SPEC)
    found = decode(saved(blocks(), format, exif=exif.tobytes()), SPEC)
    assert found.size == expected.size
    assert (
        np.abs(corners(np.asarray(found.resize((32, 32)))) - corners(np.asarray(expected.resize((32, 32))))).max() < 16
    )


@both
def test_transparent_pixels_show_white(format: str) -> None:
    image = blocks().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 64, 48))
    found = corners(preprocess(saved(image, format), SPEC))
    assert found[0].min() >= 250
    assert np.abs(found[1:] - EXPECTED[1:]).max() <= 12


@both
def test_a_colour_profile_is_converted(format: str) -> None:
    # White, so that nothing is lost by the codec: Display P3's red is beyond sRGB's.
    image = Image.new("RGB", (64, 64), (180, 60, 60))
    plain, wide = (preprocess(saved(image, format, icc_profile=one), SPEC) for one in (None, rgb_profile(DISPLAY_P3)))
    assert int(wide[..., 0].mean()) > int(plain[..., 0].mean()) + 5


@both
def test_large_photos_are_averaged_by_a_power_of_two(format: str) -> None:
    data = saved(blocks(608, 520), format)
    small = decode(data, SPEC)
    assert small.size == (76, 65)
    assert np.abs(corners(preprocess(data, SPEC)) - EXPECTED).max() <= 12
    assert decode(data, Preprocess(size=square(160))).size == (608, 520)


@both
def test_the_content_counts_and_not_the_name(format: str, tmp_path: Path) -> None:
    (tmp_path / "IMG_0001.jpg").write_bytes(saved(blocks(), format))
    assert np.abs(corners(preprocess(tmp_path / "IMG_0001.jpg", SPEC)) - EXPECTED).max() <= 12


@both
def test_damaged_files_are_refused_at_every_length(format: str) -> None:
    data = saved(blocks(), format)
    for length in (*range(0, 96, 7), *range(96, len(data) - 1, max(1, len(data) // 40))):
        with pytest.raises(PhotoError) as caught:
            preprocess(data[:length], SPEC)
        assert caught.value.kind in ("empty", "not_image", "truncated"), length


@pytest.mark.parametrize("kind", ["camera", "deep"])
def test_the_bound_on_memory_holds(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed here")
    width, height = (2048, 1536) if kind == "camera" else (1280, 1024)
    if kind == "camera":
        pillow_heif.from_pillow(Image.new("RGB", (width, height), (9, 90, 200))).save(tmp_path / "a.heic")
    else:
        pixels = np.full((height, width, 4), 40_000, np.uint16)
        made = pillow_heif.from_bytes("RGBA;16", (width, height), pixels.tobytes())
        made.save(tmp_path / "a.heic", chroma=444)
    pillow_heif.from_pillow(Image.new("RGB", (32, 32))).save(tmp_path / "small.heic")
    stated: list[int] = []
    monkeypatch.setattr("edgetl_device.preprocess._check_memory", lambda _name, needed, _size: stated.append(needed))
    preprocess(tmp_path / "a.heic", SPEC)
    code = (
        "import sys\n"
        "from edgetl_device.bench.memory import own_peak_bytes\n"
        "from edgetl_device.input_size import square\n"
        "from edgetl_device.preprocess import Preprocess, preprocess\n"
        "for path in sys.argv[1:]:\n"
        "    preprocess(path, Preprocess(size=square(32)))\n"
        "    print(own_peak_bytes())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "small.heic"), str(tmp_path / "a.heic")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | UNMEASURED)
    before, after = map(int, done.stdout.split())
    assert after - before <= max(stated) + (8 << 20)
    # Twelve megapixels of a phone, and 48 where it writes them, are within the limit.
    assert kind == "deep" or max(stated) / (width * height) * 48_000_000 < (512 << 20)


@both
@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process can be limited on Linux")
def test_a_picture_larger_than_its_file_states_is_refused_before_it_takes_memory(format: str, tmp_path: Path) -> None:
    side = 6000
    data = bytearray(saved(Image.new("RGB", (side, side), (90, 120, 40)), format, quality=30))
    # ISO/IEC 23008-12, 6.5.3: width and height follow the name, version and flags of the box ispe.
    places = [at.start() for at in re.finditer(b"ispe", data)]
    assert places
    for at in places:
        data[at + 8 : at + 16] = struct.pack(">II", 64, 64)
    (tmp_path / "small.img").write_bytes(saved(blocks(), format))
    (tmp_path / "large.img").write_bytes(data)
    code = (
        "import sys\n"
        "from edgetl_device.bench.memory import own_peak_bytes\n"
        "from edgetl_device.input_size import square\n"
        "from edgetl_device.preprocess import PhotoError, Preprocess, preprocess\n"
        "preprocess(sys.argv[1], Preprocess(size=square(32)))\n"
        "before = own_peak_bytes()\n"
        "try:\n"
        "    preprocess(sys.argv[2], Preprocess(size=square(32)))\n"
        "except PhotoError as error:\n"
        "    print(error.kind, own_peak_bytes() - before)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "small.img"), str(tmp_path / "large.img")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | UNMEASURED)
    kind, taken = done.stdout.split()
    assert kind in ("too_large", "truncated")
    assert int(taken) < 16 << 20


def test_an_old_decoder_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(__version__="1.3.0"))
    with pytest.raises(PhotoError, match="is HEIC") as caught:
        preprocess(HEIC_HEAD + bytes(100), SPEC)
    assert "1.4 is the first that does not" in str(caught.value)


@pytest.mark.parametrize(
    ("head", "named"),
    [
        (HEIC_HEAD, ("is HEIC", "reading HEIC needs pillow-heif, which is not installed here")),
        (AVIF_HEAD, ("is AVIF", "reading AVIF needs Pillow 11.3 or newer")),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", ("is AVIF",)),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", ("is HEIC",)),
        # Counts of brands that the file does not have.
        (b"\xff\xff\xff\xffftypheic", ("is HEIC",)),
        (b"\0\0\0\0ftypavis", ("is AVIF",)),
    ],
)
@pytest.mark.usefixtures("no_decoder")
def test_without_a_decoder_the_photo_is_named_with_what_to_install(head: bytes, named: tuple[str, ...]) -> None:
    with pytest.raises(PhotoError) as caught:
        preprocess(head + bytes(100), SPEC)
    assert caught.value.kind == "no_decoder"
    assert "pip install 'pillow-heif>=1.4' 'pillow>=11.3' (the extra heif)" in str(caught.value)
    for part in named:
        assert part in str(caught.value)


def test_a_film_is_no_photo() -> None:
    with pytest.raises(PhotoError) as caught:
        preprocess(b"\0\0\0\x18ftypisom\0\0\0\0mp42isom" + bytes(100), SPEC)
    assert caught.value.kind == "not_image"


@pytest.mark.usefixtures("no_decoder")
def test_a_bench_on_a_folder_says_what_is_missing(tiny: Bundle, tmp_path: Path) -> None:
    (tmp_path / tiny.labels[0]).mkdir()
    (tmp_path / tiny.labels[0] / "a.heic").write_bytes(HEIC_HEAD)
    with pytest.raises(InputError, match="reading HEIC needs pillow-heif, which is not installed here"):
        photoset.of_folder(tmp_path, tiny)


def test_a_watched_folder_gives_them(tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIF", "c.hif", "d.avif", "e.mov"):
        (tmp_path / name).write_bytes(HEIC_HEAD)
    found = new_photos(tmp_path, existing=True, settle_s=0)
    assert {next(found).name for _ in range(4)} == {"a.heic", "b.HEIF", "c.hif", "d.avif"}


def test_doctor_says_whether_they_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for container in (heif.HEIC, heif.AVIF):
        if why := heif.load_decoder(container):
            pytest.skip(why)

    def check() -> doctor.Check:
        (found,) = (one for one in doctor.examine().checks if one.name == "HEIC and AVIF")
        return found

    assert check().status == "ok"
    assert "pillow-heif" in check().found
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert (check().status, check().code, check().fix) == ("absent", "heif-missing", heif.INSTALL)
