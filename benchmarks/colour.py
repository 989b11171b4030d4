"""Measure what colour profiles do to a model: accuracy on photos in wide colour spaces, and the time of the conversion.

Each photo is converted from sRGB to Display P3, Adobe RGB and ProPhoto RGB and saved with the profile, without loss, as
cameras and editors do. The run's float model classifies it twice: with the profile ignored, and converted to sRGB.

Example: python benchmarks/colour.py runs/flowers photos/test
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from edgetl.runs import float_model
from edgetl.runs.directory import Run
from edgetl_device._lib.folders import PHOTO_SUFFIXES
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.preprocess import Preprocess, preprocess

# For the tests' profiles.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

# Colorants of ROMM RGB (ISO 22028-2), whose white is D50.
_PROPHOTO = ((0.79767, 0.13519, 0.03135), (0.28804, 0.71188, 0.00009), (0.0, 0.0, 0.82491))
_ROUNDS = 5


def profiles() -> dict[str, bytes]:
    """Return the ICC profile of each colour space."""
    from profiles import ADOBE_RGB, DISPLAY_P3, rgb_profile

    return {
        "Display P3": rgb_profile(DISPLAY_P3),
        "Adobe RGB": rgb_profile(ADOBE_RGB, 2.19921875),
        "ProPhoto RGB": rgb_profile(_PROPHOTO, 1.8),
    }


def convert(photo: Path, target: Path, profile: bytes) -> None:
    """Save a photo in another colour space, with its profile; without one, as it is."""
    with Image.open(photo) as opened:
        image = opened.convert("RGB")
    if profile:
        wide = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        found = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), wide)
        assert found is not None
        image = found
    image.save(target, "PNG", compress_level=1, icc_profile=profile or None)


def score(run: Run, model: Any, photos: list[tuple[Path, str]], spec: Preprocess) -> dict[str, Any]:
    """Return the number of correct photos, with the 95% interval of their share."""
    pixels = np.stack([preprocess(path, spec) for path, _ in photos])
    rows = np.arange(len(photos))
    predicted = float_model.logits(model, pixels, rows, description="Classifying").argmax(axis=1)
    correct = sum(run.labels[index] == label for index, (_, label) in zip(predicted, photos, strict=True))
    return {"correct": correct, "photos": len(photos), "ci95": wilson95(correct, len(photos))}


def cost_ms(photos: list[tuple[Path, str]], ignored: Preprocess, converted: Preprocess) -> dict[str, float]:
    """Return the median CPU time of preprocessing a photo both ways, each the shortest of interleaved rounds."""
    medians = {"ignored": ignored, "converted": converted}
    times_ms: dict[str, list[float]] = {name: [] for name in medians}
    for path, _ in photos:
        shortest = dict.fromkeys(medians, float("inf"))
        for _ in range(_ROUNDS):
            for name, spec in medians.items():
                started = time.thread_time()
                preprocess(path, spec)
                shortest[name] = min(shortest[name], 1000 * (time.thread_time() - started))
        for name, took in shortest.items():
            times_ms[name].append(took)
    return {name: round(statistics.median(took), 2) for name, took in times_ms.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument("photos", type=Path, help="photos in sRGB that the run was not trained on, in folders by class")
    arguments = parser.parse_args()

    run = Run.open(arguments.run)
    model = run.load_model()
    originals = sorted(path for path in arguments.photos.glob("*/*") if path.suffix.lower() in PHOTO_SUFFIXES)
    results: dict[str, Any] = {}
    for space, profile in {"sRGB": b"", **profiles()}.items():
        with tempfile.TemporaryDirectory(prefix="edgetl-colour-") as name:
            photos = []
            for number, path in enumerate(originals):
                target = Path(name) / f"{number}.png"
                convert(path, target, profile)
                photos.append((target, path.parent.name))
            ignored, converted = (replace(run.preprocess, colours=way) for way in ("as-stored", "srgb"))
            results[space] = {
                "ignored": score(run, model, photos, ignored),
                "converted": score(run, model, photos, converted),
                "preprocess_ms": cost_ms(photos, ignored, converted),
            }
        print(f"{space}: {results[space]}", file=sys.stderr, flush=True)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
