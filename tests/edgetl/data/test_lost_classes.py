"""No class disappears because its photos cannot be read, and HEIC and AVIF are photos like others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawing import draw_photo
from PIL import Image
from small import python, refused

from edgetl.data import check_dataset, load_dataset
from edgetl.training.pipeline import say_formats
from edgetl_device.decoding import heif
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.photo_metadata import without_metadata
from edgetl_device.preprocess import Preprocess, decode, fit

SPEC = Preprocess(size=square(32))
Make = Callable[..., Path]
# Enough of a file to be known by.
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture
def no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


@pytest.fixture
def phones(photo_folder: Make) -> Path:
    """Two classes of JPEGs, and one whose 15 photos a phone took."""
    root = photo_folder({"ant": 8, "bee": 8})
    for path in root.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    (root / "cat").mkdir()
    for index in range(15):
        (root / "cat" / f"IMG_{index:04}.HEIC").write_bytes(HEIC + bytes([index]))
    return root


@pytest.mark.usefixtures("no_decoder")
def test_a_class_of_heic_stops_where_there_is_no_decoder(phones: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_dataset(phones, SPEC)
    what, why, hint = str(caught.value).splitlines()
    assert "15 of 15 photos of cat" in what
    assert "pip install 'pillow-heif>=1.4'" in what
    assert "cat/IMG_0000.HEIC" in why
    assert hint
    found = check_dataset(phones, SPEC).findings
    assert [(one.kind, one.code, one.severity, len(one.files)) for one in found if one.severity == "error"] == [
        ("lost_class", "class-unreadable", "error", 15)
    ]
    assert "no_decoder" in {one.kind for one in found}


def without_a_decoder(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``edgetl`` where pillow-heif is not installed."""
    return python(
        "import sys; sys.modules['pillow_heif'] = None\n"
        f"from edgetl.cli import main; sys.argv = ['edgetl', *{[str(one) for one in arguments]!r}]; sys.exit(main())"
    )


def test_data_check_ends_with_2(phones: Path) -> None:
    done = without_a_decoder("data", "check", phones, "--json")
    assert "15 of 15 photos of cat" in refused(done)
    assert {"lost_class", "no_decoder"} <= {one["kind"] for one in json.loads(done.stdout)["findings"]}


@pytest.mark.slow
def test_train_ends_with_2(phones: Path, tmp_path: Path) -> None:
    """Importing TensorFlow, which it does meanwhile, takes the time."""
    assert "15 of 15 photos of cat" in refused(without_a_decoder("train", phones, "--out", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("bad", "stops"), [(5, False), (6, True)])
def test_half_of_a_class_is_too_much_whatever_the_reason(photo_folder: Make, bad: int, stops: bool) -> None:
    root = photo_folder({"a": 8, "b": 6})
    for index in range(bad):
        content = (b"", b"no photo", (root / "a" / "000.png").read_bytes()[:200])[index % 3]
        (root / "b" / f"bad{index}.jpg").write_bytes(content)
    errors = [one for one in check_dataset(root, SPEC).findings if one.severity == "error"]
    assert [one.kind for one in errors] == (["lost_class"] if stops else [])
    if stops:
        assert "6 of 12 photos of b" in errors[0].message
        assert set(errors[0].files) == {f"b/bad{index}.jpg" for index in range(bad)}
        with pytest.raises(InputError, match="6 of 12 photos of b"):
            load_dataset(root, SPEC)


def test_notes_are_no_photos_that_are_lost(photo_folder: Make) -> None:
    root = photo_folder({"a": 8, "b": 2})
    for index in range(9):
        (root / "b" / f"{index}.txt").write_text("notes")
    assert not [one for one in load_dataset(root, SPEC).findings if one.severity == "error"]


@pytest.fixture
def heic_folder(photo_folder: Make) -> Path:
    """Two classes, one of them with HEIC and AVIF."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed here")
    if why := heif.load_decoder(heif.AVIF):
        pytest.skip(why)
    pillow_heif.register_heif_opener()
    root = photo_folder({"a": 8})
    (root / "b").mkdir()
    for index in range(8):
        suffix = "heic" if index % 2 else "avif"
        draw_photo(100 + index, 200, 152).save(root / "b" / f"{index}.{suffix}", quality=80)
    return root


def test_with_a_decoder_they_are_photos(heic_folder: Path) -> None:
    dataset = load_dataset(heic_folder, SPEC)
    assert dataset.labels == ("a", "b")
    assert len(dataset.samples) == 16
    (found,) = [one for one in dataset.findings if one.kind == "heif"]
    assert (found.severity, found.code, len(found.files)) == ("info", "heif-photos", 8)
    assert "edgetl-device[heif]" in found.message
    pixels = dict(zip([one.path for one in dataset.samples], dataset.pixels.rows(dataset.samples), strict=True))
    expected = fit(draw_photo(101, 200, 152), SPEC).astype(int)
    assert np.abs(dataset.pixels.array[pixels["b/1.heic"]].astype(int) - expected).mean() < 6


def test_training_names_them_before_it_begins(heic_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say_formats(load_dataset(heic_folder, SPEC))
    said = capsys.readouterr().err
    assert "8 photos in HEIC or AVIF: a board that is given such photos needs edgetl-device[heif]" in said
    assert "(b/0.avif, b/1.heic, b/2.avif and 5 more)" in said


def test_installing_a_decoder_is_enough(heic_folder: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path) -> None:
    from importlib import metadata

    version = metadata.version

    def absent(name: str) -> str:
        if name == "pillow-heif":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pillow_heif", None)
        without.setattr(metadata, "version", absent)
        with pytest.raises(InputError, match="4 of 8 photos of b"):
            load_dataset(heic_folder, SPEC)
    assert len(load_dataset(heic_folder, SPEC).samples) == 16


def test_the_split_does_not_depend_on_the_size(heic_folder: Path) -> None:
    draw_photo(300, 700, 660).save(heic_folder / "b" / "large.heic", quality=80)
    splits = [load_dataset(heic_folder, Preprocess(size=square(size))) for size in (32, 160)]
    assert splits[0].samples == splits[1].samples


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_a_bundle_holds_them_as_png_that_every_board_reads(heic_folder: Path, suffix: str) -> None:
    path = heic_folder / "b" / f"large.{suffix}"
    draw_photo(7, 900, 700).save(path, quality=80)
    data, name = without_metadata(path.read_bytes(), SPEC, name=str(path))
    assert name == ".png"
    assert data.startswith(b"\x89PNG")
    np.testing.assert_array_equal(fit(decode(data, SPEC), SPEC), fit(decode(path, SPEC), SPEC))
    # Not of the resolution of the file: bundles of hundreds of a phone's photos would have gigabytes.
    assert decode(data, SPEC).size == (112, 87) or decode(data, SPEC).size == (113, 88)
