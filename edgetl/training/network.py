"""The network that is trained: a base with its head, and the cut between what is frozen and what is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import keras
from edgetl._lib.interrupts import uninterrupted
from edgetl.backbones import Block
from edgetl.backbones.spec import SCALE_LAYER
from edgetl_device.errors import InputError, OptionError

# Keras' MobileNets use 0.999, meant for ImageNet's many thousand steps. After the thousand steps of a few hundred
# photos the initial values would still make up a third of the moving statistics.
_BATCH_NORM_MOMENTUM = 0.9
_POOL, _LOGITS = "pool", "logits"


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network in two parts.

    Attributes:
        base: keras.Model from raw pixels to what the head reads: the feature map that is pooled, or features.
        kernel: Of the last layer, float32 [channels, classes].
        bias: float32 [classes].
    """

    base: Any
    kernel: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def cut_layer(backbone: str, all_blocks: Sequence[Block], trainable_blocks: int) -> str | None:
    """Return the layer before the last ``trainable_blocks`` blocks; None if all layers are trained.

    Args:
        backbone: Name of the backbone in messages.
        all_blocks: Its blocks.
        trainable_blocks: Number of blocks to train.

    Raises:
        InputError: The backbone has fewer blocks.
    """
    if trainable_blocks > len(all_blocks):
        raise OptionError(
            f"{{trainable_blocks=}}: {backbone} has {len(all_blocks)} blocks", trainable_blocks=trainable_blocks
        )
    if trainable_blocks == len(all_blocks):
        return None
    return all_blocks[-trainable_blocks - 1].last_layer


@uninterrupted()
def build_network(base: Any, *, classes: int, dropout: float, head: Trained | None = None) -> Any:
    """Put a head on a base: average pooling, dropout, a dense layer ``logits`` and a softmax ``probabilities``.

    A base that ends in features, float32 [None, channels], not in a feature map, is not pooled. The dense
    layer has random weights, or those of ``head``.
    """
    layers, features = keras().layers, base.output
    if len(features.shape) == 4:
        features = layers.GlobalAveragePooling2D(name=_POOL)(features)
    features = layers.Dropout(dropout, name="dropout")(features)
    logits = layers.Dense(classes, name=_LOGITS)(features)
    network = keras().Model(base.input, layers.Softmax(name="probabilities")(logits), name=base.name)
    if head is not None:
        network.get_layer(_LOGITS).set_weights([head.kernel, head.bias])
    return network


def tail(network: Any, cut: str | None) -> Any:
    """Return the trainable part as a keras.Model, sharing layers and weights with ``network``.

    Its input is the output of the layer ``cut``, or raw pixels where ``cut`` is None; its output the logits.
    """
    start = network.input if cut is None else network.get_layer(cut).output
    return keras().Model(start, network.get_layer(_LOGITS).output)


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


@uninterrupted()
def without_head(network: Any, *, shown: str) -> Trained:
    """Return the base and the last layer of a network with a layer ``logits``; the base shares layers and weights.

    The last layer is a dense one, or a convolution that sees its whole input at once, which is the same.

    Args:
        network: Flat functional keras.Model, trained or imported by edgetl.
        shown: Name of its run in messages.

    Raises:
        InputError: The scores come of another layer.
    """
    library = keras()
    layers = library.layers
    last = network.get_layer(_LOGITS)
    while isinstance(last, (layers.Flatten, layers.Reshape)) or _is_linear_activation(last):
        last = last.input._keras_history.operation
    if not _is_dense(last):
        raise InputError(
            f"{shown}: its head cannot be trained",
            why=f"its scores come of {last.name!r}, a {type(last).__name__}: not of a dense layer",
        )
    source = last.input
    while isinstance(source._keras_history.operation, layers.Dropout):
        source = source._keras_history.operation.input
    pool = source._keras_history.operation
    if type(pool) is layers.GlobalAveragePooling2D and len(source.shape) == 2:
        source = pool.input
    elif len(source.shape) > 2:
        source = layers.Flatten(name="features")(source)
    kernel, *bias = last.get_weights()
    kernel = kernel.reshape(-1, kernel.shape[-1])
    return Trained(
        library.Model(network.input, source, name=network.name),
        kernel,
        bias[0] if bias else np.zeros(kernel.shape[1], np.float32),
    )


def _is_linear_activation(layer: Any) -> bool:
    return isinstance(layer, keras().layers.Activation) and layer.activation is keras().activations.linear


def _is_dense(layer: Any) -> bool:
    """Return whether each output of a layer is one weighted sum of all its inputs."""
    layers, linear = keras().layers, keras().activations.linear
    if type(layer) not in (layers.Dense, layers.Conv2D) or layer.activation is not linear:
        return False
    sides = layer.input.shape[1:-1]
    if type(layer) is layers.Dense:
        return all(side == 1 for side in sides)
    whole = layer.groups == 1 and (sides == (1, 1) == layer.kernel_size or layer.padding == "valid")
    return bool(whole and tuple(layer.kernel_size) == tuple(sides))
