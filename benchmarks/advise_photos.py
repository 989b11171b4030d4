"""Make the data sets of ``advise.py``, as train and test folders."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from harness import RowFailed

from edgetl.data.readers.array_files import open_file
from edgetl.training import TrainOptions

Pictures = npt.NDArray[np.uint8]

# The folder of Debian's package dataset-fashion-mnist.
FASHION = Path("/usr/share/datasets/fashion-mnist")
_FASHION_NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


@dataclass(frozen=True)
class DataSet:
    """Photos with a train and a test folder, and the settings that all strategies share on them."""

    name: str
    folder: Path
    options: TrainOptions


def flowers(arguments: argparse.Namespace, photos: Path) -> DataSet:
    return DataSet("flowers", _shared(arguments, "flowers", "test", photos), TrainOptions(test=0.0))


def food3(arguments: argparse.Namespace, photos: Path) -> DataSet:
    return DataSet("food3", _shared(arguments, "food3", "validation", photos), TrainOptions(size=96, test=0.0))


def _shared(arguments: argparse.Namespace, name: str, held_out: str, photos: Path) -> Path:
    """Copy shared photos to train and test folders; inside the training photos, every third is held out."""
    source = arguments.data / name
    if not source.is_dir():
        raise RowFailed(f"no {name} in the folder of shared data; give its path with --data")
    target = photos / name
    if not arguments.inside_train:
        shutil.copytree(source / "train", target / "train")
        shutil.copytree(source / held_out, target / "test")
        return target
    for label in sorted((source / "train").iterdir()):
        for place, file in enumerate(sorted(label.iterdir())):
            folder = target / ("test" if place % 3 == 2 else "train") / label.name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder)
    return target


def digits(arguments: argparse.Namespace, photos: Path) -> DataSet:
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(arguments.seed).permutation(len(found.target))
    pictures = np.minimum(255, found.images * 16).astype(np.uint8)[order]
    targets = found.target[order]
    held_out = (pictures[arguments.photos :], targets[arguments.photos :])
    names = [str(number) for number in range(10)]
    folder = _write(photos / "digits", (pictures[: arguments.photos], targets[: arguments.photos]), held_out, names)
    return DataSet("digits", folder, TrainOptions(size=32, test=0.0, augment="none"))


def fashion(arguments: argparse.Namespace, photos: Path) -> DataSet:
    if not (arguments.fashion / "train-images-idx3-ubyte.gz").is_file():
        raise RowFailed(
            f"Fashion-MNIST is not in {arguments.fashion}; install Debian's dataset-fashion-mnist, or give --fashion"
        )
    random = np.random.default_rng(arguments.seed)
    parts = []
    for part in ("train", "train" if arguments.inside_train else "t10k"):
        pictures = read_idx(arguments.fashion / f"{part}-images-idx3-ubyte.gz")
        targets = read_idx(arguments.fashion / f"{part}-labels-idx1-ubyte.gz")
        order = random.permutation(len(targets))
        parts.append((pictures[order], targets[order]))
    (train_pictures, train_targets), (test_pictures, test_targets) = parts
    n, held = arguments.photos, arguments.test_photos
    if arguments.inside_train:
        test_pictures, test_targets = train_pictures[n:], train_targets[n:]
    folder = _write(
        photos / "fashion",
        (train_pictures[:n], train_targets[:n]),
        (test_pictures[:held], test_targets[:held]),
        _FASHION_NAMES,
    )
    return DataSet("Fashion-MNIST", folder, TrainOptions(size=32, test=0.0, augment="none"))


def read_idx(file: Path) -> Pictures:
    """Read an IDX file, gzipped or not, as edgetl does."""
    with TemporaryDirectory() as scratch:
        return np.array(open_file(file, Path(scratch)))


def _write(
    folder: Path,
    training: tuple[Pictures, npt.NDArray[Any]],
    held_out: tuple[Pictures, npt.NDArray[Any]],
    names: Sequence[str],
) -> Path:
    """Write grey pictures as PNGs of 32 px, the smallest size that edgetl accepts without a warning."""
    from PIL import Image

    for split, (pictures, targets) in (("train", training), ("test", held_out)):
        for place, (picture, target) in enumerate(zip(pictures, targets, strict=True)):
            label = folder / split / names[target]
            label.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC).save(label / f"{place:05}.png")
    return folder
