"""``bench --data``: a labelled folder instead of the bundle's own photos."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgetl_device._lib import jsonfile
from edgetl_device._lib.documents import to_json
from edgetl_device.bench import accuracy, photoset, result
from edgetl_device.bench.options import BenchOptions
from edgetl_device.bench.run import run_bench
from edgetl_device.bundle import Bundle
from edgetl_device.classifier import Classifier
from edgetl_device.errors import InputError

QUICK: dict[str, Any] = {"duration": 0.05, "quick": True}


@pytest.fixture
def data(tiny: Bundle, tmp_path: Path) -> Path:
    """The photos of the tiny bundle as a labelled folder, renamed, with files that file managers leave behind."""
    root = tmp_path / "field"
    for number, photo in enumerate(tiny.photos()):
        folder = root / tiny.labels[photo.index] / ("more" if number % 2 else ".")
        target = folder / f"photo{number}{Path(photo.file).suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(tiny.read(photo.file))
    for junk in ("circle/Thumbs.db", "square/.DS_Store", "README.txt"):
        (root / junk).write_bytes(b"no photo")
    return root


def test_the_same_photos_in_a_folder_give_the_same_accuracy(data: Path, tiny: Bundle, tmp_path: Path) -> None:
    document = run_bench(tiny, BenchOptions(variants=["int8"], data=data, **QUICK)).to_json()
    own = run_bench(tiny, BenchOptions(variants=["int8"], **QUICK)).to_json()
    found = document["evalset"]
    assert (found["source"], found["name"], found["reference_name"]) == ("folder", "field", "float32 on this device")
    assert found["digest"] == own["evalset"]["digest"]
    assert document["settings"]["photos_timed"] == len(found["photos"]) == 12
    assert document["runs"][0]["accuracy"] == own["runs"][0]["accuracy"]
    by_hash = dict(
        zip((p["sha256"] for p in own["evalset"]["photos"]), own["runs"][0]["answers"]["predicted"], strict=True)
    )
    assert document["runs"][0]["answers"]["predicted"] == [by_hash[photo["sha256"]] for photo in found["photos"]]
    jsonfile.write_json(tmp_path / "result.json", document)
    assert result.read(tmp_path / "result.json").to_json() == document


def test_pairs_are_with_the_float32_variant_on_this_device(data: Path, tiny: Bundle) -> None:
    # Mislabel a circle that float32 classifies correctly as a square, so that both variants are wrong.
    shutil.move(next((data / "circle").glob("photo*")), data / "square" / "moved.png")
    document = run_bench(tiny, BenchOptions(variants=["int8"], data=data, **QUICK)).to_json()
    photos = photoset.of_folder(data, tiny)
    with Classifier(tiny, "float32") as float32, Classifier(tiny, "int8") as int8:
        pixels = [float32.pixels(photos.read(photo)) for photo in photos.photos]
        wanted = accuracy.score(
            np.stack([int8.run(one) for one in pixels]),
            np.array([photo.index for photo in photos.photos]),
            np.stack([float32.run(one) for one in pixels]),
        )
    (run,) = document["runs"]
    assert run["agreement"] == to_json(wanted.agreement)
    assert run["accuracy"] == to_json(wanted.accuracy)
    assert run["accuracy"]["correct"] < 12
    assert document["evalset"]["digest"] != photoset.of_bundle(tiny).digest


def without_float32(document: dict[str, Any]) -> None:
    document["variants"] = [one for one in document["variants"] if one["precision"] != "float32"]


def test_without_a_float32_variant_nothing_is_paired_and_the_result_says_why(
    data: Path, reseal: Callable[[Callable[[dict[str, Any]], None]], Path], tmp_path: Path
) -> None:
    bundle = Bundle.open(reseal(without_float32))
    said: list[str] = []
    document = run_bench(bundle, BenchOptions(variants=["int8"], data=data, **QUICK), say=said.append).to_json()
    why = "tiny has no float32 variant: the reference for other photos is a float32 variant"
    assert document["evalset"]["reference"] == document["runs"][0]["agreement"] == {"unknown": why}
    assert "reference_name" not in document["evalset"]
    assert "no drop and no agreement: tiny has no float32 variant" in said
    jsonfile.write_json(tmp_path / "result.json", document)
    assert result.read(tmp_path / "result.json").to_json() == document
    document["runs"][0]["agreement"] = {"photos": 12, "top1": 1.0}
    document["digest"] = jsonfile.digest(document)
    jsonfile.write_json(tmp_path / "result.json", document)
    with pytest.raises(InputError, match=r"runs\[0\]\.agreement\.agree is missing"):
        result.read(tmp_path / "result.json")


def test_folders_that_cannot_be_used_are_refused(data: Path, tiny: Bundle) -> None:
    def refused(folder: Path) -> str:
        with pytest.raises(InputError) as refusal:
            photoset.of_folder(folder, tiny)
        return str(refusal.value)

    assert "no such folder" in refused(data / "absent")
    assert "is a file" in refused(data / "README.txt")
    (data / "hexagon").mkdir()
    assert "hexagon: not among the bundle's labels\nits labels are circle, square, triangle" in refused(data)
    (data / "hexagon").rmdir()
    assert f"Give {data}." in refused(data.parent)
    (data / "loose.JPG").write_bytes(b"")
    assert "photos outside the class folders: loose.JPG" in refused(data)
    (data / "loose.JPG").unlink()
    (data / "square" / "empty.jpg").touch()
    (data / "square" / "notes.txt").write_text("not a photo")
    error = refused(data)
    assert "2 of 14 photos cannot be read" in error
    assert "square/empty.jpg (empty), square/notes.txt (not image)" in error
    for label in tiny.labels:
        shutil.rmtree(data / label)
    assert "has no photos in folders of the bundle's classes" in refused(data)
    (data / "circle").mkdir()
    assert "has no photos in folders of the bundle's classes" in refused(data)


def test_a_class_without_photos_is_unknown_not_wrong(data: Path, tiny: Bundle) -> None:
    shutil.rmtree(data / "square")
    (run,) = run_bench(tiny, BenchOptions(variants=["int8"], data=data, **QUICK)).to_json()["runs"]
    assert run["per_class"][1]["photos"] == 0
    assert run["per_class"][1]["recall"] == {"unknown": "no photos of this class"}


def test_a_photo_that_changes_meanwhile_is_an_error(data: Path, tiny: Bundle) -> None:
    photos = photoset.of_folder(data, tiny)
    Image.new("RGB", (40, 40)).save(data / photos.photos[3].file)
    with pytest.raises(InputError, match="was changed during the bench"):
        photos.timed()


def test_links_are_followed_but_not_in_circles(data: Path, tiny: Bundle) -> None:
    (data / "circle" / "more" / "round").symlink_to(data / "circle", target_is_directory=True)
    (data / "square" / "other").symlink_to(data.parent / "elsewhere", target_is_directory=True)
    (data.parent / "elsewhere").mkdir()
    Image.new("RGB", (40, 40)).save(data.parent / "elsewhere" / "one.png")
    files = [photo.file for photo in photoset.of_folder(data, tiny).photos]
    assert len(files) == 13
    assert "square/other/one.png" in files


def test_only_so_many_photos_of_a_folder_are_timed(data: Path, tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = photoset.of_folder(data, tiny)
    sizes = {len(photos.read(photo)) for photo in photos.photos}
    monkeypatch.setattr(photoset, "TIMED_BYTES", 3 * max(sizes))
    timed = photos.timed()
    assert 3 <= len(timed) < 12
    assert timed == photos.timed()
    monkeypatch.setattr(photoset, "TIMED_BYTES", 1)
    assert len(photos.timed()) == 1


def test_top5_counts_the_five_likeliest() -> None:
    probabilities = np.array([[0.3, 0.2, 0.2, 0.1, 0.1, 0.1], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]], np.float32)
    found = accuracy.top5(probabilities, np.array([5, 3]))
    # Photo 0: of the tied classes 3, 4 and 5, the last is left out. Photo 1: the first four of the tied classes count.
    assert (found.correct, found.share) == (1, 0.5)
    assert found.ci95 == accuracy.wilson95(1, 2)


def test_the_command_of_the_device(
    device: Callable[..., subprocess.CompletedProcess[str]], refuses: Callable[..., None], tiny_file: Path, data: Path
) -> None:
    options = ("--variants", "int8", "--quick", "--duration", "0.05")
    done = device("bench", tiny_file, *options, "--data", data, "--batch", "1,2")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["evalset"]["name"] == "field"
    assert [run["batch"] for run in document["runs"]] == [1, 2]
    refuses(device("bench", tiny_file, *options, "--data", data.parent), 2, "field: not among the bundle's labels")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may refuse such names")
@pytest.mark.parametrize(
    ("name", "said"),
    [(b"a\xffb", "its name is not UTF-8\nRename the folder"), (b"a\nb", "a line break in its name")],
)
def test_names_that_cannot_be_labels(data: Path, tiny: Bundle, name: bytes, said: str) -> None:
    (data / os.fsdecode(name)).mkdir()
    with pytest.raises(InputError, match=said):
        photoset.of_folder(data, tiny)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may refuse such names")
def test_a_file_whose_name_is_no_text_is_told(data: Path, tiny: Bundle) -> None:
    Image.new("RGB", (40, 40)).save(data / "circle" / os.fsdecode(b"\xff.png"))
    with pytest.raises(InputError, match="its name is not UTF-8"):
        photoset.of_folder(data, tiny)


def test_a_link_to_nothing_is_told(data: Path, tiny: Bundle) -> None:
    (data / "circle" / "gone.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(InputError, match=r"circle/gone\.jpg \(No such file or directory\)"):
        photoset.of_folder(data, tiny)


def test_a_float32_variant_that_cannot_run_here_is_no_reference(
    data: Path, reseal: Callable[[Callable[[dict[str, Any]], None]], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_onnx(document: dict[str, Any]) -> None:
        document["variants"] = [one for one in document["variants"] if one["name"] in ("int8", "float32-onnx")]

    bundle = Bundle.open(reseal(only_onnx))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    said: list[str] = []
    document = run_bench(bundle, BenchOptions(variants=["int8"], data=data, **QUICK), say=said.append).to_json()
    why = "tiny: no float32 variant can run here: onnxruntime is not installed here"
    assert document["evalset"]["reference"] == document["runs"][0]["agreement"] == {"unknown": why}
    assert "no drop and no agreement: tiny: no float32 variant can run here" in said
