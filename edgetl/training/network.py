"""The network that is trained: a base with its head, and the cut between what is frozen and what is trained."""

from __future__ import annotations

from typing import Any

from edgetl._lib.extras import keras
from edgetl._lib.interrupts import uninterrupted
from edgetl.backbones import blocks
from edgetl.backbones.spec import SCALE_LAYER
from edgetl_device.errors import OptionError

# Keras' MobileNets use 0.999, meant for ImageNet's many thousand steps. After the thousand steps of a few hundred
# photos the initial values would still make up a third of the moving statistics.
_BATCH_NORM_MOMENTUM = 0.9


def cut_layer(backbone: str, base: Any, trainable_blocks: int) -> str | None:
    """Return the layer before the last ``trainable_blocks`` blocks; None if all layers are trained.

    Raises:
        InputError: The backbone has fewer blocks.
    """
    all_blocks = blocks(backbone, base)
    if trainable_blocks > len(all_blocks):
        raise OptionError(
            f"{{trainable_blocks=}}: {backbone} has {len(all_blocks)} blocks", trainable_blocks=trainable_blocks
        )
    if trainable_blocks == len(all_blocks):
        return None
    return all_blocks[-trainable_blocks - 1].last_layer


@uninterrupted()
def build_network(base: Any, *, classes: int, dropout: float) -> Any:
    """Put a head on a base: average pooling, dropout, a dense layer ``logits`` and a softmax ``probabilities``."""
    layers = keras().layers
    features = layers.GlobalAveragePooling2D(name="pool")(base.output)
    features = layers.Dropout(dropout, name="dropout")(features)
    logits = layers.Dense(classes, name="logits")(features)
    return keras().Model(base.input, layers.Softmax(name="probabilities")(logits), name=base.name)


def tail(network: Any, cut: str | None) -> Any:
    """Return the trainable part as a keras.Model, sharing layers and weights with ``network``.

    Its input is the output of the layer ``cut``, or raw pixels where ``cut`` is None; its output the logits.
    """
    start = network.input if cut is None else network.get_layer(cut).output
    return keras().Model(start, network.get_layer("logits").output)


def unfreeze(network: Any, cut: str | None, *, train_batch_norm: bool) -> None:
    """Make the layers after ``cut`` trainable (all if it is None) and freeze the others.

    The input scaling is never trained, even if it is a convolution. BatchNorm keeps its moving statistics and its scale
    (inference mode) unless ``train_batch_norm``: with few photos, batch statistics are worse than the pretrained ones.
    """
    trained = {layer.name for layer in tail(network, cut).layers}
    for layer in network.layers:
        is_norm = isinstance(layer, keras().layers.BatchNormalization)
        fixed = layer.name == SCALE_LAYER or (is_norm and not train_batch_norm)
        layer.trainable = layer.name in trained and not fixed
        if is_norm and layer.trainable:
            layer.momentum = min(layer.momentum, _BATCH_NORM_MOMENTUM)
