"""The same photo gives the same pixels with every Pillow that is allowed: those of ``tests/golden/pixels``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import __version__ as pillow_version

from edgetl_device.input_size import InputSize, square
from edgetl_device.preprocess import Preprocess, preprocess

FOLDER = Path(__file__).parents[1] / "golden" / "pixels"
SPECS = {
    "stretch": Preprocess(size=square(24)),
    "pad": Preprocess(size=square(60), fit="pad", resample="bicubic"),
    "wide grey crop": Preprocess(size=InputSize(20, 36, 1), fit="crop"),
    "high pad": Preprocess(size=InputSize(40, 24), fit="pad"),
}
PHOTOS = sorted(path.name for path in FOLDER.iterdir() if path.suffix != ".npz")


@pytest.fixture(scope="module")
def golden() -> Iterator[dict[str, npt.NDArray[np.uint8]]]:
    with np.load(FOLDER / "pixels.npz") as arrays:
        yield dict(arrays)


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("name", PHOTOS)
def test_pixels_are_golden(golden: dict[str, npt.NDArray[np.uint8]], name: str, kind: str) -> None:
    found, wanted = preprocess(FOLDER / name, SPECS[kind]), golden[f"{name} {kind}"]
    # Pillow 13 rounds some resized greys otherwise than those before.
    older = kind == "wide grey crop" and int(pillow_version.partition(".")[0]) < 13
    assert np.abs(found.astype(int) - wanted).max() <= older


def test_each_kind_of_photo_is_there(golden: dict[str, npt.NDArray[np.uint8]]) -> None:
    assert set(golden) == {f"{name} {kind}" for name in PHOTOS for kind in SPECS}
    kinds = {"rgb", "rgba", "palette", "grey", "grey16", "profile", "grey_profile", "turned", "cmyk", "cmyk_profile"}
    assert kinds <= {Path(name).stem for name in PHOTOS}
    # A profile changes the pixels, and EXIF's orientation turns them.
    assert (golden["profile.png pad"] != golden["rgb.png pad"]).any()
    assert golden["turned.jpg pad"][:, 0].max() == 0 < golden["rgb.jpg pad"][:, 0].max()
