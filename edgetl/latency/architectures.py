"""int8 files of architectures with random weights: an architecture's time does not depend on its weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgetl._lib.extras import keras
from edgetl.backbones import BACKBONES, build_base, resolve_weights
from edgetl.backbones.truncate import truncate
from edgetl.quantization.conversion.tflite import int8_tflite
from edgetl.quantization.preparation.folding import fold_batch_norm
from edgetl_device.input_size import square

_CLASSES = 5
# Of two photos; the ranges of random weights mean nothing.
_PHOTOS = 2


@dataclass(frozen=True)
class Architecture:
    """What decides the time of a trained model.

    Attributes:
        backbone: A name of ``edgetl.backbones``.
        size: Input height and width, in pixels.
        width: Width multiplier.
        kept: Blocks that are kept; None for all.
        classes: Number of classes.
    """

    backbone: str
    size: int
    width: float = 1.0
    kept: int | None = None
    classes: int = _CLASSES

    def __str__(self) -> str:
        """Return its name: ``mobilenet_v2 160 px, 6 blocks``."""
        width = f" {self.width:g}" if self.width != 1.0 else ""
        return f"{self.backbone}{width} {self.size} px" + (f", {self.kept} blocks" if self.kept else "")


def int8_model(one: Architecture) -> bytes:
    """Return the int8 TFLite file of an architecture, as ``quantize`` makes it but with random weights.

    Raises:
        InputError: There is no such backbone, width or block, or the size is too small.
        Unavailable: TensorFlow is not installed.
    """
    keras().utils.set_random_seed(0)
    weights = resolve_weights(one.backbone, width=one.width, request="none")
    base = build_base(one.backbone, size=square(one.size), width=one.width, weights=weights)
    if one.kept is not None:
        base = truncate(one.backbone, base, str(one.kept))
    layers = keras().layers
    features = layers.GlobalAveragePooling2D(name="pool")(base.output)
    probabilities = layers.Softmax(name="probabilities")(layers.Dense(one.classes, name="logits")(features))
    model = keras().Model(base.input, probabilities)
    pixels = np.random.default_rng(0).integers(0, 256, (_PHOTOS, one.size, one.size, 3), np.uint8)
    return int8_tflite(fold_batch_norm(model), pixels)


def spread(names: tuple[str, ...]) -> Iterator[Architecture]:
    """Yield architectures of some backbones that a model of latencies is fitted on: small and large, short and long."""
    for name in names:
        row = BACKBONES[name]
        yield Architecture(name, 160)
        yield Architecture(name, 96, kept=max(1, row.block_count // 2))
        yield Architecture(name, 224, kept=max(1, 2 * row.block_count // 3))
        if min(row.widths) < 1:
            yield Architecture(name, 128, width=min(row.widths))
