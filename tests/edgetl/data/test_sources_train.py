"""From an array and from a table to a bundle: the commands after training find the photos again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import small
from array_sources import table
from PIL import Image

from edgetl.quantization.options import QuantizeOptions
from edgetl.quantization.pipeline import quantize
from edgetl.runs.directory import Run
from edgetl.runs.evaluation import evaluate
from edgetl.runs.held_out import find_photos
from edgetl.training import train
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError
from edgetl_device.verify import verify

# Not by name, and one that is no file name.
NAMES = ("washer", "gear", "M8/bolt")
LABELS = ("washer", "gear", "bolt")
FLOAT_ONLY = QuantizeOptions(int8=False)


@pytest.fixture(scope="module")
def npz(tiny_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn parts as an ``.npz`` with class names beside it."""
    folder = tmp_path_factory.mktemp("arrays")
    files = [(path, index) for index, label in enumerate(LABELS) for path in sorted((tiny_photos / label).iterdir())]
    images = np.stack([np.asarray(Image.open(path).convert("RGB").resize((96, 96))) for path, _ in files])
    np.savez(folder / "parts.npz", images=images, labels=np.eye(3)[[index for _, index in files]])
    (folder / "class_names.txt").write_text("\n".join(NAMES))
    return folder / "parts.npz"


@pytest.fixture(scope="module")
def run(npz: Path) -> Run:
    return train(npz, npz.parent / "run", small.options(trainable_blocks=0))


def test_a_run_on_an_array_knows_its_source_and_order(run: Run, npz: Path) -> None:
    assert run.labels == NAMES
    assert run.data_root == npz.resolve()
    assert {sample.path.split("/")[0] for sample in run.samples} == {"washer", "gear", "M8_bolt"}
    # Right answers under wrong names would show here: chance is a third.
    assert evaluate(run.folder, npz).metrics.accuracy.top1 > 0.7


def test_the_bundle_of_an_array_carries_its_pictures_also_from_an_empty_cache(
    run: Run, npz: Path, fresh_cache: Path, tmp_path: Path
) -> None:
    copy = Run.open(Path(shutil.copytree(run.folder, tmp_path / "run")))
    quantize(copy, FLOAT_ONLY)
    bundle = Bundle.open(copy.folder / "bundle")
    assert verify(bundle).ok
    images = np.load(npz)["images"]
    held_out = run.of("test")
    assert len(bundle.photos()) == len(held_out) > 0
    for photo, sample in zip(bundle.photos(), held_out, strict=True):
        assert bundle.labels[photo.index] == sample.label
        written = tmp_path / "photo.bmp"
        written.write_bytes(bundle.read(photo.file))
        assert (np.asarray(Image.open(written)) == images[int(Path(sample.path).stem)]).all()


def test_an_array_that_moved_or_changed_is_said(run: Run, npz: Path, tmp_path: Path) -> None:
    held_out = run.of("test")
    away = npz.with_name("away.npz")
    npz.rename(away)
    try:
        with pytest.raises(InputError, match="data set of this run is missing\nGive its new path: --data"):
            find_photos(run, held_out)
        assert len(find_photos(run, held_out, data=away).pixels) == len(held_out)
    finally:
        away.rename(npz)
    arrays = np.load(npz)
    np.savez(tmp_path / "other.npz", images=255 - arrays["images"], labels=arrays["labels"])
    shutil.copy(npz.parent / "class_names.txt", tmp_path)
    with pytest.raises(InputError, match="was changed since training"):
        find_photos(run, held_out, data=tmp_path / "other.npz")


def test_a_table_trains_and_its_photos_are_found_where_they_lie(tiny_photos: Path, tmp_path: Path) -> None:
    rows = [f"{path},{path.parent.name}" for path in tiny_photos.glob("*/*")]
    run = train(table(tmp_path, "path,label", *rows), tmp_path / "run", small.options(trainable_blocks=0, views=0))
    assert run.labels == tuple(sorted(LABELS))
    assert run.data_root == tmp_path / "photos.csv"
    found = find_photos(run, run.of("test"))
    assert {path.parent.parent for path in found.paths} == {tiny_photos}
    assert [path.parent.name for path in found.paths] == [sample.label for sample in run.of("test")]
