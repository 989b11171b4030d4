from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from profiles import ADOBE_RGB, rgb_profile

from edgetl.export import bundle
from edgetl.export.bundle import PhotoFile, VariantFile, write_bundle
from edgetl_device._lib.files import sha256_bytes, sha256_file
from edgetl_device.bundle import Bundle, ReferenceArrays
from edgetl_device.errors import EdgetlError, InputError
from edgetl_device.input_size import square
from edgetl_device.packing import pack
from edgetl_device.preprocess import Preprocess, preprocess
from edgetl_device.verify import verify

GOLDEN = Path(__file__).parent.parent.parent / "golden"


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Any]:
    """Arguments of ``write_bundle``, from the parts of the tiny bundle."""
    tiny = Bundle.open(GOLDEN / "tiny.edgetl")
    (tmp_path / "photos").mkdir()
    evalset = []
    for photo in tiny.photos():
        path = tmp_path / "photos" / Path(photo.file).name
        path.write_bytes(tiny.read(photo.file))
        evalset.append(PhotoFile(path, tiny.labels[photo.index], sha256_file(path)))
    reference = tiny.reference()
    return {
        "labels": tiny.labels,
        "preprocess": tiny.preprocess,
        "variants": [
            VariantFile(v.name, v.format, v.precision, tiny.read(v.file), v.calibration, v.accuracy, v.agreement)
            for v in tiny.variants
        ],
        "evalset": evalset,
        "reference": ReferenceArrays(reference.probabilities, reference.logits),
        "provenance": {"run": "a test"},
    }


def test_what_is_written_verifies_and_holds_what_was_given(parts: dict[str, Any], tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "run" / "bundle", **parts)
    report = verify(bundle)
    assert report.ok, report
    assert [check.status for check in report.checks] == ["ok"] * 7 + ["skipped"]  # not signed
    assert bundle.labels == parts["labels"]
    assert bundle.provenance == {"run": "a test"}
    for variant, given in zip(bundle.variants, parts["variants"], strict=True):
        assert bundle.read(variant.file) == given.data
        assert (variant.accuracy, variant.agreement) == (given.accuracy, given.agreement)
    for photo, given in zip(bundle.photos(), parts["evalset"], strict=True):
        assert (bundle.labels[photo.index], bundle.read(photo.file)) == (given.label, given.path.read_bytes())
    reference = bundle.reference()
    assert (reference.probabilities == parts["reference"].probabilities).all()
    for row, pixels in zip(reference.golden_rows, reference.golden_pixels, strict=True):
        assert (pixels == preprocess(parts["evalset"][row].path, parts["preprocess"])).all()
    assert {bundle.labels[bundle.photos()[row].index] for row in reference.golden_rows} == set(bundle.labels)


def test_specs_come_from_the_models_themselves(parts: dict[str, Any], tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", **parts)
    document = json.loads((bundle.path / "bundle.json").read_text())
    int8 = next(row for row in document["variants"] if row["name"] == "int8")
    assert int8["input"] == {"dtype": "uint8", "shape": [1, 32, 32, 3], "scale": 1.0, "zero_point": 0}
    assert int8["output"] == {"dtype": "uint8", "shape": [1, 3], "scale": 1 / 256, "zero_point": 0}
    onnx = next(row for row in document["variants"] if row["name"] == "int8-onnx")
    assert onnx["input"] == {"dtype": "uint8", "shape": [1, 32, 32, 3]}


def test_every_file_is_listed_with_its_hash(parts: dict[str, Any], tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", **parts)
    document = json.loads((bundle.path / "bundle.json").read_text())
    there = {p.relative_to(bundle.path).as_posix() for p in bundle.path.rglob("*") if p.is_file()} - {"bundle.json"}
    assert set(document["files"]) == there
    for name, entry in document["files"].items():
        data = (bundle.path / name).read_bytes()
        assert entry == {"sha256": sha256_bytes(data), "bytes": len(data)}
    assert (bundle.path / "labels.txt").read_text() == "circle\nsquare\ntriangle\n"


def test_packing_is_deterministic_stored_and_the_same_bundle(parts: dict[str, Any], tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", **parts)
    (bundle.path / ".DS_Store").write_text("left by a file manager")
    first = pack(bundle.path, tmp_path / "first.edgetl").read_bytes()
    copy = shutil.copytree(bundle.path, tmp_path / "copy", copy_function=shutil.copyfile)
    assert pack(copy, tmp_path / "second.edgetl").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "first.edgetl") as archive:
        members = archive.infolist()
    assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}
    assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}
    assert [member.filename for member in members] == ["bundle.json", *sorted(bundle.files)]
    packed = Bundle.open(tmp_path / "first.edgetl")
    assert packed.digest == bundle.digest
    assert verify(packed).ok


def test_a_damaged_bundle_is_not_packed(parts: dict[str, Any], tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", **parts)
    (bundle.path / "labels.txt").write_text("x")
    with pytest.raises(InputError, match=r"labels\.txt"):
        pack(bundle.path, tmp_path / "out.edgetl")
    assert not list(tmp_path.glob("*out.edgetl*"))


def test_a_failed_write_leaves_the_old_bundle(parts: dict[str, Any], tmp_path: Path) -> None:
    old = write_bundle(tmp_path / "bundle", **parts)
    photo = parts["evalset"][-1]
    photo.path.write_bytes(photo.path.read_bytes() + b"x")
    with pytest.raises(InputError, match="changed"):
        write_bundle(tmp_path / "bundle", **parts)
    assert Bundle.open(tmp_path / "bundle").digest == old.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "photos"]


def test_labels_and_names_that_file_systems_dislike(parts: dict[str, Any], tmp_path: Path) -> None:
    strange = ('crêpe/sucre, "doux"', "..", "three words here")
    renamed = dict(zip(parts["labels"], strange, strict=True))
    parts["labels"] = strange
    parts["evalset"] = [replace(photo, label=renamed[photo.label]) for photo in parts["evalset"]]
    bundle = write_bundle(tmp_path / "bundle", **parts)
    assert [bundle.labels[photo.index] for photo in bundle.photos()] == [photo.label for photo in parts["evalset"]]
    assert all(photo.file.isascii() for photo in bundle.photos())
    assert verify(bundle).ok


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("circle",)},
        {"labels": ("circle", "circle", "square")},
        {"labels": ("circle", "square", "other")},
        {"variants": []},
        {"variants": [VariantFile("int8", "tflite", "int8", b"text")]},
        {"variants": [VariantFile("../int8", "tflite", "int8", b"text")]},
        {"evalset": []},
        {"reference": ReferenceArrays(np.zeros((11, 3), np.float32), np.zeros((11, 3), np.float32))},
        {"preprocess": Preprocess(size=square(48))},
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict[str, Any], tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(EdgetlError):
        write_bundle(tmp_path / "bundle", **(parts | change))
    assert not (tmp_path / "bundle").exists()


def test_a_photo_that_changed_since_it_was_read_is_refused(parts: dict[str, Any], tmp_path: Path) -> None:
    first, *others = parts["evalset"]
    copy = tmp_path / "photo.jpg"
    copy.write_bytes(others[0].path.read_bytes())
    with pytest.raises(InputError, match=r"photo\.jpg: the photo changed since it was read"):
        write_bundle(tmp_path / "bundle", **(parts | {"evalset": [replace(first, path=copy), *others]}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.jpg", "photos"]


def test_a_model_of_more_classes_than_labels_is_refused(parts: dict[str, Any], tmp_path: Path) -> None:
    kept = [photo for photo in parts["evalset"] if photo.label != "triangle"]
    arrays = ReferenceArrays(np.zeros((len(kept), 2), np.float32), np.zeros((len(kept), 2), np.float32))
    with pytest.raises(InputError, match="labels"):
        write_bundle(
            tmp_path / "bundle", **(parts | {"labels": ("circle", "square"), "evalset": kept, "reference": arrays})
        )


def test_the_golden_files_are_small() -> None:
    size = sum(path.stat().st_size for path in [GOLDEN / "tiny.edgetl", *(GOLDEN / "photos").iterdir()])
    assert size < 150_000
    assert bundle.GOLDEN_PHOTOS >= 3


def test_photos_of_other_colours_and_depths_are_proved_on_the_device(parts: dict[str, Any], tmp_path: Path) -> None:
    # Two photos have profiles, a third has 12 bits; their golden pixels come from the same preprocessing.
    evalset = parts["evalset"]
    for row in range(3):
        path = evalset[row].path.with_suffix(".png")
        with Image.open(evalset[row].path) as image:
            if row < 2:
                image.save(path, icc_profile=rgb_profile(ADOBE_RGB, 2.2))
            else:
                Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 16).save(path)
        evalset[row] = replace(evalset[row], path=path, sha256=sha256_file(path))
    parts["preprocess"] = Preprocess(size=square(32), depth_range=(0, 4095))
    written = write_bundle(tmp_path / "bundle", **parts)
    document = json.loads((written.path / "bundle.json").read_text())
    assert document["preprocess"]["colours"] == "srgb"
    assert document["preprocess"]["depth_range"] == [0, 4095]
    packed = Bundle.open(pack(written.path, tmp_path / "x.edgetl"))
    golden = next(check for check in verify(packed).checks if check.name == "golden pixels")
    assert golden.status == "ok", golden
    before = Preprocess(size=square(32), colours="as-stored")
    for row in range(3):
        pixels = preprocess(packed.read(packed.photos()[row].file), packed.preprocess)
        assert np.array_equal(pixels, preprocess(evalset[row].path, packed.preprocess))
        assert np.abs(pixels.astype(int) - preprocess(evalset[row].path, before)).max() > 20
