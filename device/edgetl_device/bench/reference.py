"""The reference for drop and agreement: the float model's predictions on the same photos.

A bundle contains them for its own photos. For other photos, its float32 variant runs on this device; if it cannot,
there is no reference, and the result says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgetl_device._lib.documents import Unknown
from edgetl_device.bundle import Bundle, Variant
from edgetl_device.classifier import Classifier
from edgetl_device.errors import InputError, Unavailable
from edgetl_device.runtime import load_library

from . import predictions
from .photoset import PhotoSet

FLOAT_MODEL = "the float model that the bundle was made from"


@dataclass(frozen=True)
class BenchReference:
    """The reference predictions, or why there are none.

    Attributes:
        name: The model that made them; empty if there are none.
        probabilities: float32 [n, classes], row i = photo i of the set.
    """

    name: str
    probabilities: npt.NDArray[np.float32] | Unknown

    def classes(self) -> tuple[int, ...] | Unknown:
        """Return the predicted class index of each photo."""
        if isinstance(self.probabilities, Unknown):
            return self.probabilities
        return tuple(self.probabilities.argmax(axis=1).tolist())


def float_variant(bundle: Bundle, *, prefer: str | None = None) -> Variant:
    """Return the float32 variant to use as reference here, preferring TFLite to ONNX.

    Raises:
        InputError: The bundle has none.
        Unavailable: This machine lacks the runtime for it.
    """
    found = sorted(
        (variant for variant in bundle.variants if variant.precision == "float32"),
        key=lambda variant: variant.format != "tflite",
    )
    if not found:
        raise InputError(
            f"{bundle.path.name} has no float32 variant", why="the reference for other photos is a float32 variant"
        )
    lacks = {variant.format: _lack(variant.format, prefer) for variant in found}
    for variant in found:
        if lacks[variant.format] is None:
            return variant
    first = next(filter(None, lacks.values()))
    raise Unavailable(f"{bundle.path.name}: no float32 variant can run here", why=first.what, hint=first.hint)


def reference_of(
    bundle: Bundle, photos: PhotoSet, *, threads: int, prefer: str | None, say: Callable[[str], None]
) -> BenchReference:
    """Return the reference for a set of photos, running the float32 variant over all of them if necessary."""
    if photos.source == "bundle":
        return BenchReference(FLOAT_MODEL, bundle.reference().probabilities)
    try:
        variant = float_variant(bundle, prefer=prefer)
    except (InputError, Unavailable) as error:
        say(f"no drop and no agreement: {error.what}")
        return BenchReference("", Unknown(f"{error.what}: {error.why}"))
    say(f"reference: {variant.name} on {len(photos.photos)} photos")
    with Classifier(bundle, variant.name, threads, prefer=prefer) as classifier:
        return BenchReference(f"{variant.name} on this device", predictions.predicted(classifier, photos).probabilities)


def _lack(format: str, prefer: str | None) -> Unavailable | None:
    try:
        load_library(format, prefer=prefer)
    except Unavailable as error:
        return error
    return None
