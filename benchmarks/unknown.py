"""Which score tells photos of things that a network was never taught: false acceptance at 95% of the known ones kept.

For each score: the share of unknown and distorted photos accepted, first with the threshold that keeps 95% of the
validation photos, as a bundle has it, then with the one that keeps exactly 95% of the test photos, which compares
scores without the chance in the threshold. Also the size of the bank, and the time of one score on one thread with
OPENBLAS_NUM_THREADS=1. With --bundles, what telling costs of a photo's time: a bundle without it and one with it, int8,
photo by photo in turn. Prints one JSON object.

Example: python benchmarks/unknown.py --run runs/flowers --unknown waste=../shared/data/waste/test
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

Array = npt.NDArray[Any]
Found = dict[str, Array]
_KEPT = 0.95
_RANK = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run with validation photos")
    parser.add_argument("--unknown", nargs="*", default=[], metavar="NAME=DIR", help="photos of other things")
    parser.add_argument("--features", type=Path, help="keep the features in this .npz, or read them from it")
    parser.add_argument("--bundles", nargs=2, type=Path, metavar=("PLAIN", "TELLING"), help="to compare their time")
    arguments = parser.parse_args()
    if arguments.features and arguments.features.exists():
        found = dict(np.load(arguments.features))
    else:
        found = features(arguments.run, dict(pair.split("=", 1) for pair in arguments.unknown))
        if arguments.features:
            np.savez(arguments.features, **found)  # type: ignore[arg-type]  # its stubs take keywords for allow_pickle
    costs = cost(found) | (slower(*arguments.bundles) if arguments.bundles else {})
    print(json.dumps({"cost": costs, "scores": compare(found)}, indent=1))


def features(folder: Path, unknown: dict[str, str]) -> Found:
    """Return features of known, unknown and distorted photos.

    Pooled ones are in ``NAME|f``, logits in ``NAME|l``, and the features of two depths, as a device has them, in
    ``NAME|d``.
    """
    from edgetl._lib.extras import keras
    from edgetl.export.conversion import float32_tflite
    from edgetl.export.features_output import with_features
    from edgetl.quantization.unknown.distortions import DISTORTIONS, drawn
    from edgetl.runs.directory import Run
    from edgetl.runs.held_out import find_photos
    from edgetl_device._lib.folders import PHOTO_SUFFIXES, files_below
    from edgetl_device.preprocess import preprocess
    from edgetl_device.runtime import open_runtime

    run = Run.open(folder)
    model = run.load_model()
    runtime = open_runtime(with_features(float32_tflite(model), "tflite"), "tflite")
    both = keras().Model(model.input, [model.get_layer("pool").output, model.get_layer("logits").output])
    found: Found = {}

    def add(name: str, pixels: Array) -> None:
        starts = range(0, len(pixels), 32)
        parts = [both.predict_on_batch(pixels[start : start + 32].astype(np.float32)) for start in starts]
        found[f"{name}|f"], found[f"{name}|l"] = (np.concatenate(part) for part in zip(*parts, strict=True))
        found[f"{name}|d"] = np.stack([of_two_depths(one) for one in pixels])

    def of_two_depths(photo: Array) -> Array:
        runtime.set_input(photo)
        runtime.invoke()
        return runtime.pooled()

    for split in ("train", "val", "test"):
        if samples := run.of(split):
            photos = find_photos(run, samples)
            add(split, photos.pixels)
            found[f"{split}|y"] = photos.targets
            if split == run.held_out:
                for name in DISTORTIONS:
                    add(f"d_{name}", drawn(name, photos.pixels))
    for name, place in unknown.items():
        files = [path for path in files_below(Path(place)) if path.name.lower().endswith(PHOTO_SUFFIXES)]
        add(f"u_{name}", np.stack([preprocess(file, run.preprocess) for file in files]))
    return found


def compare(found: Found) -> dict[str, Any]:
    """Return the shares accepted, by score and set of photos."""
    score = scores(*(found[f"train|{kind}"] for kind in "fdyl"))
    names = [key[:-2] for key in found if key.endswith("|f")]
    sets = {name: score(*(found[f"{name}|{kind}"] for kind in "fdl")) for name in names}
    held_out = sets.get("test", sets["val"])
    result: dict[str, Any] = {}
    for name, validation in sets["val"].items():
        as_bundled, exact = limit(validation), limit(held_out[name])
        others = [one for one in sets if one[:2] in ("u_", "d_")]
        exactly = {one: share(sets[one][name], exact) for one in others}
        result[name] = {
            "kept": share(held_out[name], as_bundled),
            "accepted": {one: share(sets[one][name], as_bundled) for one in others},
            "accepted_at_95": exactly,
            "mean_unknown_at_95": round(float(np.mean([exactly[one] for one in others if one[:2] == "u_"] or [0])), 3),
        }
    return dict(sorted(result.items(), key=lambda item: item[1]["mean_unknown_at_95"]))


def cost(found: Found) -> dict[str, Any]:
    """Return the bytes of the bank, and the milliseconds that a photo's score takes."""
    from edgetl.quantization.unknown.bank import feature_bank

    made = feature_bank(found["train|d"])
    times = []
    for features in np.tile(found["val|d"], (20, 1)):
        started = time.perf_counter()
        made.bank.distance(features)
        times.append(1e3 * (time.perf_counter() - started))
    low, median = np.percentile(times, (10, 50))
    return {
        "bank_bytes": sum(array.nbytes for array in made.arrays.values()),
        "score_p10_ms": round(float(low), 3),
        "score_p50_ms": round(float(median), 3),
    }


def slower(plain: Path, telling: Path) -> dict[str, Any]:
    """Return the median milliseconds from a photo's file to its answer without and with telling, and their ratio."""
    from edgetl_device import Classifier

    with Classifier(plain, variant="int8") as one, Classifier(telling, variant="int8") as other:
        photos = [one.bundle.read(photo.file) for photo in one.bundle.photos()]
        times = []
        for data in photos * (1 + 1000 // len(photos)):
            row = []
            for classifier in (one, other):
                started = time.perf_counter()
                classifier.classify(data)
                row.append(1e3 * (time.perf_counter() - started))
            times.append(row)
    without, with_it = np.median(times, axis=0)
    return {
        "photo_plain_ms": round(float(without), 3),
        "photo_telling_ms": round(float(with_it), 3),
        "ratio": round(float(with_it / without), 3),
    }


def limit(values: Array) -> float:
    """Return the smallest threshold that keeps 95%."""
    from edgetl.quantization.unknown.bank import threshold

    return threshold(values, _KEPT)


def share(values: Array, at_most: float) -> float:
    """Return the share of photos at or below a threshold."""
    return round(float((values <= at_most).mean()), 3)


def scores(train: Array, two_depths: Array, targets: Array, train_logits: Array) -> Any:
    """Return a function of features, those of two depths, and logits, which gives every score; larger is stranger."""
    from edgetl.quantization.unknown.bank import distances, feature_bank

    bank, both = feature_bank(train).bank, feature_bank(two_depths).bank
    near = unit(train)
    mean, axes = principal(near, _RANK)
    raw_mean, raw_axes = principal(train, _RANK // 2)
    inside = (near - mean) @ axes.T
    centres = np.stack([inside[targets == one].mean(axis=0) for one in np.unique(targets)])
    directions = unit(np.stack([near[targets == one].mean(axis=0) for one in np.unique(targets)]))
    of_class, of_all = shrunk(inside - centres[np.searchsorted(np.unique(targets), targets)]), shrunk(inside)
    # Wang et al. 2022, ViM: the residual, scaled to the logits, against their energy.
    scale = train_logits.max(axis=1).mean() / residual(train, raw_mean, raw_axes).mean()

    def every(features: Array, depths: Array, logits: Array) -> Found:
        features = features.astype(np.float32)
        at_unit = unit(features)
        place = (at_unit - mean) @ axes.T
        nearness = np.sort(at_unit @ near.T, axis=1)
        mahalanobis = np.min([quadratic(place - centre, of_class) for centre in centres], axis=0)
        return {
            "largest probability": -softmax(logits).max(axis=1),
            "energy": -energy(logits),
            "cosine to class means": 1 - (at_unit @ directions.T).max(axis=1),
            "Mahalanobis, shrunk": mahalanobis,
            "Mahalanobis, relative": mahalanobis - quadratic(place, of_all),
            "ViM": scale * residual(features, raw_mean, raw_axes) - energy(logits),
            "residual": residual(at_unit, mean, axes),
            **{f"neighbour {k}": 1 - nearness[:, -k] for k in (1, 3, 5, 10)},
            "bank of pooled features (neighbour 5, 128 components, int8)": distances(bank, features),
            "bank of two depths (the same)": distances(both, depths),
        }

    return every


def unit(rows: Array) -> Array:
    """Return rows at length 1."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def principal(rows: Array, count: int) -> tuple[Array, Array]:
    """Return the mean and the first principal components of rows."""
    mean = rows.mean(axis=0)
    return mean, np.linalg.svd(rows - mean, full_matrices=False)[2][:count]


def residual(rows: Array, mean: Array, axes: Array) -> Array:
    """Return the length of what components cannot express."""
    offset = rows - mean
    return np.asarray(np.linalg.norm(offset - offset @ axes.T @ axes, axis=1))


def shrunk(rows: Array) -> Array:
    """Return the inverse of the covariance of centred rows, shrunk by a fifth to a multiple of the identity."""
    covariance = rows.T @ rows / len(rows)
    return np.asarray(np.linalg.inv(0.8 * covariance + 0.2 * np.trace(covariance) / len(covariance) * np.eye(_RANK)))


def quadratic(rows: Array, inverse: Array) -> Array:
    """Return the squared Mahalanobis distance of rows."""
    return np.asarray(np.einsum("nd,de,ne->n", rows, inverse, rows))


def softmax(logits: Array) -> Array:
    """Return probabilities."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def energy(logits: Array) -> Array:
    """Return the negative energy of Liu et al. 2020: the logarithm of the sum of exponentials."""
    top = logits.max(axis=1)
    return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))


if __name__ == "__main__":
    main()
