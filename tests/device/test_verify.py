from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgetl_device._lib.files import sha256_bytes
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError
from edgetl_device.verify import Verification, raise_failures, verify

Reseal = Callable[[Callable[[dict[str, Any]], None]], Path]


def status(report: Verification) -> dict[str, str]:
    return {check.name: check.status for check in report.checks}


def replace(reseal: Reseal, folder: Path, name: str, data: bytes) -> Bundle:
    (folder / name).write_bytes(data)
    entry = {"sha256": sha256_bytes(data), "bytes": len(data)}

    def edit(document: dict[str, Any]) -> None:
        document["files"][name] = entry
        for row in document["variants"]:
            if row["file"] == name:
                row |= entry

    return Bundle.open(reseal(edit))


def with_arrays(reseal: Reseal, folder: Path, **arrays: np.ndarray) -> Bundle:
    stream = io.BytesIO()
    np.savez(stream, **(dict(np.load(folder / "reference.npz")) | arrays))
    return replace(reseal, folder, "reference.npz", stream.getvalue())


def test_a_whole_bundle(tiny: Bundle) -> None:
    report = verify(tiny)
    assert report.ok
    raise_failures(report)
    found = status(report)
    assert found["files"] == found["labels"] == found["golden pixels"] == "ok"
    assert found["reference, float32"] == found["reference, int8"] == "ok"
    assert found["reference, int8-onnx"] in ("ok", "skipped")
    golden = next(check for check in report.checks if check.name == "golden pixels")
    assert "on average" in golden.detail


def test_a_bundle_without_photos_proves_no_accuracy(reseal: Reseal) -> None:
    report = verify(Bundle.open(reseal(lambda document: document.update(schema="edgetl.bundle/3", truth="model"))))
    assert report.ok
    assert (status(report)["accuracy"], status(report)["reference, float32"]) == ("skipped", "ok")


def test_every_damaged_file_is_named(folder: Path) -> None:
    for name in ("models/int8.tflite", "evalset/00_circle.jpg"):
        data = bytearray((folder / name).read_bytes())
        data[-1] ^= 1
        (folder / name).write_bytes(data)
    (folder / "labels.txt").unlink()
    report = verify(Bundle.open(folder))
    detail = report.checks[0].detail
    assert not report.ok
    assert "3 of" in detail
    assert all(name in detail for name in ("models/int8.tflite", "evalset/00_circle.jpg", "labels.txt"))
    with pytest.raises(InputError) as caught:
        raise_failures(report)
    assert len(str(caught.value).splitlines()) <= 3


def test_labels_in_another_order(folder: Path, reseal: Reseal) -> None:
    bundle = replace(reseal, folder, "labels.txt", b"square\ncircle\ntriangle\n")
    assert status(verify(bundle))["labels"] == "failed"


@pytest.mark.parametrize("how", ["nearest", "no antialiasing", "brightness", "bgr"])
def test_another_preprocessing_fails_on_golden_pixels(folder: Path, reseal: Reseal, how: str) -> None:
    bundle = Bundle.open(folder)
    pixels = []
    for row in bundle.reference().golden_rows:
        image = Image.open(io.BytesIO(bundle.read(bundle.photos()[row].file))).convert("RGB")
        if how == "nearest":
            image = image.resize((32, 32), Image.Resampling.NEAREST)
        elif how == "no antialiasing":
            # tf.image.resize's default: four neighbours at any scale.
            image = image.transform((32, 32), Image.Transform.EXTENT, (0, 0, *image.size), Image.Resampling.BILINEAR)
        else:
            image = image.resize((32, 32), Image.Resampling.BILINEAR)
        array = np.asarray(image)
        array = array[..., ::-1] if how == "bgr" else np.clip(array + (how == "brightness"), 0, 255).astype(np.uint8)
        pixels.append(array)
    found = status(verify(with_arrays(reseal, folder, golden_pixels=np.stack(pixels))))
    assert found.pop("golden pixels") == "failed"
    assert "failed" not in found.values()


def test_a_single_stray_pixel_fails(folder: Path, reseal: Reseal) -> None:
    golden = np.load(folder / "reference.npz")["golden_pixels"].copy()
    golden[0, 5, 5, 0] ^= 0x40
    assert status(verify(with_arrays(reseal, folder, golden_pixels=golden)))["golden pixels"] == "failed"


def test_another_model_fails_on_the_reference(folder: Path, reseal: Reseal) -> None:
    probabilities = np.load(folder / "reference.npz")["probabilities"]
    found = status(verify(with_arrays(reseal, folder, probabilities=np.roll(probabilities, 1, axis=1))))
    assert found["reference, float32"] == found["reference, int8"] == "failed"
    found = status(verify(with_arrays(reseal, folder, probabilities=probabilities + np.float32(0.005))))
    assert found["reference, float32"] == "failed"
    nan = np.full_like(probabilities, np.nan)
    assert status(verify(with_arrays(reseal, folder, probabilities=nan)))["reference, float32"] == "failed"


def test_a_text_file_as_a_model(folder: Path, reseal: Reseal) -> None:
    bundle = replace(reseal, folder, "models/int8.tflite", b"I am not a model.\n" * 20)
    report = verify(bundle)
    check = next(check for check in report.checks if check.name == "reference, int8")
    assert check.status == "failed"
    assert "models/int8.tflite" in check.detail


def test_a_variant_without_recorded_agreement_is_skipped_aloud(reseal: Reseal) -> None:
    bundle = Bundle.open(reseal(lambda document: document["variants"][1].update(agreement=None)))
    check = next(check for check in verify(bundle).checks if check.name == "reference, int8")
    assert check.status == "skipped"
    assert check.detail


def test_a_bundle_without_golden_pixels_is_skipped_aloud(folder: Path, reseal: Reseal) -> None:
    none = {"golden_rows": np.zeros(0, np.int64), "golden_pixels": np.zeros((0, 32, 32, 3), np.uint8)}
    report = verify(with_arrays(reseal, folder, **none))
    check = next(check for check in report.checks if check.name == "golden pixels")
    assert (check.status, check.detail) == ("skipped", "the bundle has no golden pixels")
    assert report.ok


def test_memory_that_runs_out_damages_no_bundle(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("edgetl_device.verify.preprocess", fail)
    report = verify(tiny)
    assert status(report)["golden pixels"] == "skipped"
    assert report.ok
    assert report.to_json()["checks"][2]["detail"] == "this machine has not enough memory left for it"
