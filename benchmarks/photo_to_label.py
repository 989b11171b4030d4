"""Classify JPEG files on one thread with edgetl, MediaPipe or Keras; print labels and nanoseconds per photo as JSON.

Run each in its own process; ``mediapipe`` needs an environment with MediaPipe and without edgetl.

Example: python benchmarks/photo_to_label.py edgetl runs/flowers/bundle photo.jpg
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_WARMUP = 5

Way = Callable[[str], str]


def edgetl(model: Path) -> Way:
    """Classify with int8, as in the README of the device package."""
    from edgetl_device.classifier import Classifier

    classifier = Classifier(model, "int8", threads=1)
    return lambda photo: classifier.classify(photo, top=1)[0].label


def full_size(model: Path) -> Way:
    """The same, but the JPEG is decoded at full size."""
    from PIL import Image

    from edgetl_device.classifier import Classifier

    classifier = Classifier(model, "int8", threads=1)

    def classify(photo: str) -> str:
        with Image.open(photo) as image:
            image.load()
            return classifier.classify(image, top=1)[0].label

    return classify


def mediapipe(model: Path) -> Way:
    """Classify with MediaPipe Tasks' ImageClassifier on the int8 .tflite; it decodes and resizes by itself."""
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(model)), max_results=1)
    classifier = vision.ImageClassifier.create_from_options(options)

    def classify(photo: str) -> str:
        found = classifier.classify(mp.Image.create_from_file(photo))
        return str(found.classifications[0].categories[0].category_name)

    return classify


def keras(model: Path) -> Way:
    """Classify with model.keras: load_img, img_to_array and predict, as in Keras' documentation."""
    import keras as library
    import numpy as np

    network = library.models.load_model(model / "model.keras")
    labels = json.loads((model / "run.json").read_text(encoding="utf-8"))["labels"]
    size = network.input.shape[1:3]

    def classify(photo: str) -> str:
        image = library.utils.load_img(photo, target_size=size)
        batch = library.utils.img_to_array(image)[np.newaxis]
        return str(labels[int(network.predict(batch, verbose=0).argmax())])

    return classify


_WAYS = {way.__name__.replace("_", "-"): way for way in (edgetl, full_size, mediapipe, keras)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=_WAYS)
    parser.add_argument("model", type=Path, help="a bundle; for mediapipe a .tflite file, for keras a run directory")
    parser.add_argument("photos", nargs="+")
    arguments = parser.parse_args()
    classify = _WAYS[arguments.way](arguments.model)
    for photo in arguments.photos[:_WARMUP]:
        classify(photo)
    labels, samples_ns = [], []
    for photo in arguments.photos:
        started = time.perf_counter_ns()
        labels.append(classify(photo))
        samples_ns.append(time.perf_counter_ns() - started)
    print(json.dumps({"labels": labels, "samples_ns": samples_ns}))


if __name__ == "__main__":
    main()
