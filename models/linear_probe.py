"""Linear probe of a backbone: a logistic regression on its frozen features, scored on held-out photos.

``python models/linear_probe.py [--backbone mobilenet_v2] [--weights auto] [--size 160]`` prints the accuracy on the
shared flowers (5 classes, 80 training and 40 test photos each); with ``--folds 5`` that of a cross-validation on the
training photos alone, with ``--data waste`` on the shared waste photos. They are in ``$EDGETL_SHARED_DATA``, else in
``../shared/data`` relative to the root of the checkout.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

from edgetl.backbones import BACKBONES, build_base, resolve_weights
from edgetl_device.bench.accuracy import wilson95
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess, preprocess

_BATCH = 50


def shared_data() -> Path:
    """Return the folder of the shared data sets; it need not exist."""
    return Path(os.environ.get("EDGETL_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def read_photos(folder: Path, size: int) -> tuple[np.ndarray, list[str]]:
    """Return the photos of ``folder/<class>/*`` (uint8 [n, size, size, 3]) and their labels, sorted by path."""
    paths = sorted(path for path in folder.glob("*/*") if path.is_file())
    spec = Preprocess(size=square(size))
    return np.stack([preprocess(path, spec) for path in paths]), [path.parent.name for path in paths]


def pooled_features(base: Any, photos: np.ndarray) -> np.ndarray:
    """Return the base's last feature map, averaged over its area: float32 [n, channels]."""
    batches = (photos[start : start + _BATCH] for start in range(0, len(photos), _BATCH))
    return np.concatenate([np.asarray(base(b.astype(np.float32), training=False)).mean(axis=(1, 2)) for b in batches])


def probe(base: Any, data: Path) -> tuple[int, int]:
    """Train on ``data/train``, score on ``data/test``; return the number of correct photos and of all photos."""
    from sklearn.linear_model import LogisticRegression

    size = base.input_shape[1]
    photos, labels = read_photos(data / "train", size)
    test_photos, test_labels = read_photos(data / "test", size)
    classifier = LogisticRegression(max_iter=2000).fit(pooled_features(base, photos), labels)
    predicted = classifier.predict(pooled_features(base, test_photos))
    return int((predicted == np.asarray(test_labels)).sum()), len(test_labels)


def cross_validated(base: Any, data: Path, folds: int) -> tuple[int, int]:
    """Train and score on ``data/train`` in stratified folds; return the number of correct photos and of all photos."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    photos, labels = read_photos(data / "train", base.input_shape[1])
    split = StratifiedKFold(folds, shuffle=True, random_state=0)
    features = pooled_features(base, photos)
    predicted = cross_val_predict(LogisticRegression(max_iter=2000), features, labels, cv=split)
    return int((predicted == np.asarray(labels)).sum()), len(labels)


def main() -> None:
    """Print the accuracy of one backbone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="mobilenet_v2", choices=BACKBONES)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--weights", default="auto", help="auto, imagenet, none or a file")
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--data", default="flowers", help="a folder of the shared data")
    parser.add_argument("--folds", type=int, default=0, help="cross-validate on the training photos")
    asked = parser.parse_args()
    weights = resolve_weights(asked.backbone, width=asked.width, request=asked.weights, size=square(asked.size))
    base = build_base(asked.backbone, size=square(asked.size), width=asked.width, weights=weights)
    data = shared_data() / asked.data
    correct, total = cross_validated(base, data, asked.folds) if asked.folds else probe(base, data)
    print(f"{asked.backbone} {asked.width:g} at {asked.size} px, weights {weights.source}: {correct}/{total}", end=" ")
    print("= {:.3f} (95% CI {:.3f} .. {:.3f})".format(correct / total, *wilson95(correct, total)))


if __name__ == "__main__":
    main()
