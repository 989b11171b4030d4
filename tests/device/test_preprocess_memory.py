"""Memory for decoding a photo: checked before it is allocated; bands give the same pixels as the whole photo."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from branches import UNMEASURED
from PIL import Image

from edgetl_device import preprocess as module
from edgetl_device.errors import Unavailable
from edgetl_device.input_size import square
from edgetl_device.preprocess import MAX_BYTES, PhotoError, Preprocess, decode, preprocess, read_photo

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")

SPEC = Preprocess(size=square(160))
# Print the peak memory of a new process (VmHWM) after importing preprocess, then after decoding the photo.
_CHILD = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from edgetl_device.bench.memory import own_peak_bytes
from edgetl_device.preprocess import Preprocess, preprocess
preprocess(Path(sys.argv[2]).read_bytes(), Preprocess())
print(own_peak_bytes())
preprocess(sys.argv[1], Preprocess())
print(own_peak_bytes())
"""


def png(width: int, height: int, *, depth: int, color: int, extra: bytes = b"") -> bytes:
    """A PNG of zeros, compressed row by row, so that making a large one takes little memory."""
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[color]
    row = b"\0" * (1 + (width * channels * depth + 7) // 8)
    packer, packed = zlib.compressobj(1), bytearray()
    block = row * max(1, (1 << 20) // len(row))
    rows = len(block) // len(row)
    for _ in range(height // rows):
        packed += packer.compress(block)
    packed += packer.compress(row * (height % rows)) + packer.flush()
    head = struct.pack(">2I5B", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", bytes(packed)) + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


PALETTE = chunk(b"PLTE", bytes(range(30))) + chunk(b"tRNS", b"\0\x80")


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    "make",
    [
        lambda: png(13_377, 13_377, depth=8, color=3, extra=PALETTE),
        lambda: png(13_377, 13_377, depth=16, color=0),
        lambda: png(13_377, 13_377, depth=8, color=6),
        lambda: png(178_956_970, 1, depth=8, color=0),
        lambda: png(1, 178_956_970, depth=1, color=0),
    ],
    ids=["palette", "16-bit grey", "rgba", "one row", "one column"],
)
def test_what_would_take_too_much_is_refused_before_it_is_taken(make: Callable[[], bytes], tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(make())
    # Only the file and the header are read: with 150 MB more than the interpreter has, decoding would fail otherwise.
    code = (
        "import resource, sys, warnings; warnings.simplefilter('ignore')\n"
        "from edgetl_device.preprocess import PhotoError, Preprocess, preprocess\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 150_000_000,) * 2)\n"
        "try: preprocess(sys.argv[1], Preprocess())\n"
        "except PhotoError as error: print(error.kind, str(error))\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | UNMEASURED)
    assert done.stdout.startswith(f"too_large {path}: is too large to decode"), done.stderr
    assert "over the limit of 537 MB" in done.stdout


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("palette.png", lambda: png(9_000, 9_000, depth=8, color=3, extra=PALETTE)),
        ("grey16.png", lambda: png(7_000, 7_000, depth=16, color=0)),
        ("rgba.png", lambda: png(7_000, 7_000, depth=8, color=6)),
        ("rgb.png", lambda: png(10_000, 10_000, depth=8, color=2)),
        ("key.png", lambda: png(7_000, 7_000, depth=8, color=2, extra=chunk(b"tRNS", bytes(6)))),
        ("turned.png", lambda: saved(Image.new("RGB", (6_000, 7_000)), "PNG", compress_level=1, exif=turned(6))),
        ("progressive.jpg", lambda: saved(Image.new("RGB", (7_000, 7_000)), "JPEG", progressive=True)),
        ("cmyk.jpg", lambda: saved(Image.new("CMYK", (5_000, 5_000)), "JPEG")),
        ("lossy.webp", lambda: saved(Image.new("RGB", (4_000, 4_000)), "WEBP", method=0)),
        ("lossless.webp", lambda: saved(Image.new("RGBA", (4_000, 4_000)), "WEBP", lossless=True, method=0)),
        (
            "strip.tif",
            lambda: saved(Image.new("RGB", (5_000, 5_000)), "TIFF", compression="tiff_lzw", strip_size=2**30),
        ),
        ("turned.tif", lambda: saved(Image.new("RGB", (5_000, 5_000)), "TIFF", exif=turned(3))),
        ("palette.gif", lambda: saved(Image.new("P", (8_000, 8_000)), "GIF")),
        ("plain.bmp", lambda: saved(Image.new("RGB", (5_000, 5_000)), "BMP")),
    ],
)
def test_the_bound_holds(
    name: str, make: Callable[[], bytes], tmp_path: Path, photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(make())
    stated: list[int] = []
    monkeypatch.setattr(module, "_check_memory", lambda _name, needed, _size: stated.append(needed))
    preprocess(path, SPEC)
    # A first photo of the same format makes Pillow load its plugin.
    small = tmp_path / f"small{path.suffix}"
    Image.open(path).resize((32, 32)).save(small)
    command = [sys.executable, "-c", _CHILD, str(path), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | UNMEASURED)
    before, after = map(int, done.stdout.split())
    assert after - before <= max(stated) + (8 << 20)
    assert max(stated) <= MAX_BYTES


def test_a_machine_with_less_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png(9_000, 9_000, depth=8, color=2)
    from edgetl_device.machine import environment

    monkeypatch.setattr(environment, "memory_available_bytes", lambda: 100_000_000)
    with pytest.raises(Unavailable, match="100 MB of memory are left"):
        decode(data, SPEC)
    assert decode(png(90, 90, depth=8, color=2), SPEC).size == (90, 90)


def test_memory_that_runs_out_is_said(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png(9_000, 9_000, depth=8, color=2))
    code = (
        "import resource, sys\n"
        "from edgetl_device.errors import Unavailable\n"
        "from edgetl_device.input_size import square\n"
        "from edgetl_device.preprocess import Preprocess, preprocess\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 100_000_000,) * 2)\n"
        "try: preprocess(sys.argv[1], Preprocess())\n"
        "except Unavailable as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | UNMEASURED)
    assert "cannot be decoded on this machine" in done.stdout, done.stderr


def noise(mode: str) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(0).integers(0, 256, (97, 131, channels), dtype=np.uint8)
    return Image.merge(mode, [Image.fromarray(pixels[..., channel]) for channel in range(channels)])


def colours() -> Image.Image:
    return noise("RGB").quantize(200)


def wide() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 65_536, (97, 131), dtype=np.uint16))


def with_key(data: bytes, value: int) -> bytes:
    """Return a grey PNG in which a value is transparent; early versions of Pillow do not write that at 16 bits."""
    header = 8 + 4 + 4 + 13 + 4
    return data[:header] + chunk(b"tRNS", value.to_bytes(2, "big")) + data[header:]


@pytest.mark.parametrize(
    "make",
    [
        lambda: saved(noise("RGBA"), "PNG"),
        lambda: saved(noise("LA"), "PNG"),
        lambda: saved(noise("L"), "PNG"),
        lambda: saved(noise("L"), "PNG", transparency=9),
        lambda: saved(noise("L").convert("1"), "PNG"),
        lambda: saved(colours(), "PNG"),
        lambda: saved(colours(), "PNG", transparency=3),
        lambda: saved(colours(), "PNG", transparency=bytes(range(200))),
        lambda: saved(colours(), "PNG", exif=turned(6)),
        lambda: saved(colours(), "GIF"),
        lambda: saved(wide(), "PNG"),
        lambda: saved(noise("RGB"), "PNG", transparency=tuple(np.asarray(noise("RGB"))[5, 7].tolist())),
        lambda: with_key(saved(wide(), "PNG"), int(np.asarray(wide())[5, 7])),
        lambda: saved(wide(), "TIFF"),
        lambda: saved(noise("CMYK"), "TIFF"),
        lambda: saved(noise("CMYK"), "JPEG"),
    ],
)
def test_bands_give_the_same_bits(make: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    data = make()
    whole = np.asarray(decode(data, SPEC))
    for pixels in (1, 131 * 10, 131 * 96):
        monkeypatch.setattr(module, "_BAND_PIXELS", pixels)
        np.testing.assert_array_equal(np.asarray(decode(data, SPEC)), whole)


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with open(tmp_path / "sparse.jpg", "wb") as stream:
        os.truncate(stream.fileno(), 200 << 30)

    def read_pipe() -> None:
        with contextlib.suppress(PhotoError):
            read_photo(tmp_path / "pipe.jpg")

    waiting = threading.Thread(target=read_pipe, daemon=True)
    waiting.start()
    waiting.join(10)
    assert not waiting.is_alive()
    for name, kind in (("pipe.jpg", "not_image"), ("sparse.jpg", "too_large"), ("/dev/zero", "not_image")):
        with pytest.raises(PhotoError) as caught:
            preprocess(tmp_path / name, SPEC)
        assert caught.value.kind == kind
    with pytest.raises(OSError, match="symbolic links"):
        read_photo(tmp_path / "loop.jpg")
    with pytest.raises(IsADirectoryError):
        read_photo(tmp_path)
