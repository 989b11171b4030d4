"""Keras models to one flat graph of plain layers: nested models opened, shared layers copied, training layers left out.

Files of Keras 2 and 3. What Keras reads was checked first, by :mod:`edgetl.importing.keras_config`.
"""

from __future__ import annotations

import json
import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetl._lib.extras import keras
from edgetl._lib.interrupts import uninterrupted
from edgetl._lib.quiet import quietly
from edgetl_device.errors import InputError, OptionError
from edgetl_device.input_size import LARGEST, SMALLEST, InputSize

from .keras_config import IDLE, KNOWN, OPERATIONS, WITHOUT_CODE
from .plain import Keras, Names, called, check_feature_maps, cloned, kind, nodes_of, per_channel, transformed

# The states of random generators are variables that a file may lack.
_SPARE_WEIGHTS = 1000


@dataclass(frozen=True, eq=False)
class KerasNetwork:
    """A Keras model as a flat graph.

    Attributes:
        network: Flat functional keras.Model, float32 [None, H, W, C] to the outputs of the original.
        size: Height, width and channels of the input.
        scales_pixels: Name of the layer that scales raw pixels; empty if it takes scaled ones, or that is not known.
        fit: ``crop`` if the model itself cropped photos to its size, ``stretch`` if it resized them; empty otherwise.
    """

    network: Keras
    size: InputSize
    scales_pixels: str
    fit: str


@uninterrupted()
def check_weights(text: str, stored: int, *, shown: Path) -> None:
    """Refuse an architecture with more weights than its file, before memory is taken for them.

    Args:
        text: A checked architecture, from :func:`edgetl.importing.keras_config.prepared`.
        stored: Number of weights in the file.
        shown: Its name in messages.

    Raises:
        InputError: It has more, or Keras cannot build it.
    """
    config = json.loads(text)
    found: list[int | Exception] = []

    def build() -> None:
        # Variables made in this scope take no memory. Keras keeps a list of them for each thread, and makes them real
        # at the end of the next such scope: the list ends with this thread.
        with keras().StatelessScope(initialize_variables=False):
            try:
                if "module" in config:
                    model = keras().saving.deserialize_keras_object(config, safe_mode=True)
                else:
                    sort = keras().Sequential if config["class_name"] == "Sequential" else keras().Model
                    model = sort.from_config(config["config"])
                found.append(sum(math.prod(variable.shape) for variable in model.variables))
            except Exception as error:  # as in load_keras
                found.append(error)

    thread = threading.Thread(target=build, name="edgetl weights")
    with quietly():
        thread.start()
        thread.join()
    (wanted,) = found
    if isinstance(wanted, Exception):
        raise _not_loaded(wanted, shown) from None
    if wanted > stored + _SPARE_WEIGHTS:
        raise InputError(
            f"{shown}: has {stored:,} weights for an architecture of {wanted:,}",
            hint="It is damaged, or weights and architecture are of two models: save the whole model again.",
        )


def _not_loaded(error: Exception, shown: Path) -> InputError:
    text = " ".join(str(error).split())
    return InputError(f"{shown}: Keras {keras().__version__} cannot load it", why=text[:300], hint=WITHOUT_CODE)


@uninterrupted()
def load_keras(path: Path, *, shown: Path) -> Keras:
    """Load a checked file in Keras' safe mode; ``shown`` is its name in messages.

    Raises:
        InputError: Keras refuses it.
    """
    saving = keras().saving
    try:
        with quietly():
            return saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises TypeError, ValueError and others for one and the same cause
        raise _not_loaded(error, shown) from None


@uninterrupted()
def flat_network(model: Keras, *, size: InputSize | None, shown: Path) -> KerasNetwork:
    """Turn a loaded Keras model into one flat graph.

    Args:
        model: keras.Model, functional or sequential, channels last.
        size: Height and width of the input, for a model that takes any.
        shown: Name of its file in messages.

    Raises:
        InputError: It has several inputs or outputs, another input than RGB or grey photos, or a layer that edgetl does
            not know.
    """
    if not getattr(model, "inputs", None):
        raise InputError(
            f"{shown}: does not say the shape of its input",
            hint="Begin the model with keras.Input((H, W, 3)), set its weights, and save that.",
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(
            f"{shown}: has {len(model.inputs)} inputs and {len(model.outputs)} outputs",
            why="an image classifier has one of each",
            hint="Detectors are not supported. Save a model with the scores of the classes as its only output.",
        )
    flattening = _Flattening(shown)
    resized = _first_resizing(model)
    shape = tuple(model.inputs[0].shape)
    found = _size(shape, size, resized, shown)
    pixels = keras().layers.Input(found.shape, name="input")
    try:
        (output,) = flattening.run(model, [pixels], "", skip=resized if None in shape[1:3] else None)
    except (TypeError, ValueError) as error:  # what Keras raises for shapes that do not fit
        text = " ".join(str(error).split())
        raise InputError(f"{shown}: cannot be built for photos of {found.px}", why=text[:300]) from error
    fit = ""
    if resized is not None and None in shape[1:3]:
        fit = "crop" if resized.crop_to_aspect_ratio else "pad" if resized.pad_to_aspect_ratio else "stretch"
    network = keras().Model(pixels, output)
    check_feature_maps(network, shown=str(shown))
    return KerasNetwork(network, found, _scales_pixels(network), fit)


def _size(shape: tuple[Any, ...], size: InputSize | None, resized: Keras | None, shown: Path) -> InputSize:
    text = ", ".join("?" if side is None else str(side) for side in shape)
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise InputError(
            f"{shown}: its input has shape [{text}]",
            why="a photo is [batch, H, W, 3], or [batch, H, W, 1] if it is grey",
            hint="Models of other inputs than photos are not supported.",
        )
    sides = list(shape[1:3])
    if None in sides and resized is not None:
        sides = [resized.height, resized.width]
    asked = [size.height, size.width] if size else [None, None]
    if size and any(side not in (None, given) for side, given in zip(sides, asked, strict=True)):
        raise OptionError(
            f"{shown}: its input has shape [{text}], not {{size=}}", hint="Leave out {size}.", size=str(size)
        )
    height, width = (side or given for side, given in zip(sides, asked, strict=True))
    if height is None or width is None:
        raise OptionError(
            f"{shown}: its input has shape [{text}]: it takes any size",
            hint="Give the one it was trained with, such as {size} 224.",
        )
    if not all(SMALLEST <= side <= LARGEST for side in (height, width)):
        raise InputError(
            f"{shown}: its input is {height} x {width}",
            why=f"edgetl takes {SMALLEST} x {SMALLEST} to {LARGEST} x {LARGEST}",
        )
    return InputSize(int(height), int(width), 1 if shape[3] == 1 else 3)


def _first_resizing(model: Keras) -> Keras | None:
    """Return the Resizing that reads the model's input, if there is one; layers that do nothing may come before it."""
    for node in nodes_of(model):
        if isinstance(node.operation, keras().Model):
            return _first_resizing(node.operation)
        if kind(node.operation) == "Resizing":
            return node.operation
        if kind(node.operation) not in IDLE:
            return None
    return None


class _Flattening:
    """Opens nested models, copies layers that are used twice, leaves out what does nothing after training."""

    def __init__(self, shown: Path) -> None:
        self._shown, self._names = shown, Names()

    def run(self, model: Keras, inputs: list[Keras], prefix: str, *, skip: Keras | None = None) -> list[Keras]:
        def call(operation: Keras, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            kwargs = {name: value for name, value in kwargs.items() if name not in ("training", "mask")}
            if isinstance(operation, keras().Model):
                found = self.run(operation, keras().tree.flatten(args), f"{prefix}{operation.name}.", skip=skip)
                return found[0] if len(found) == 1 else found
            if operation is skip or kind(operation) in IDLE:
                return args[0]
            return self._plain(operation, args, kwargs, self._names.of(prefix + operation.name))

        return transformed(model, inputs, call)

    def _plain(self, operation: Keras, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
        layers, name_of_class = keras().layers, kind(operation)
        if not isinstance(operation, layers.Layer):
            if name_of_class not in OPERATIONS:
                raise self._unknown(operation)
            return _operation(operation, args, kwargs, name)
        if name_of_class not in KNOWN or type(operation) is not getattr(layers, name_of_class):
            raise self._unknown(operation)
        if getattr(operation, "data_format", "channels_last") != "channels_last":
            raise InputError(
                f"{self._shown}: layer {operation.name!r} has its channels first",
                hint="Build the model with data_format='channels_last', or export it to ONNX.",
            )
        self._check_axis(operation, args[0])
        if name_of_class == "Normalization":
            return _normalized(operation, args[0], name)
        if name_of_class == "LayerNormalization":
            return _layer_normalized(operation, args[0], name, self._names)
        return called(cloned(operation, name), *args, **kwargs)

    def _check_axis(self, layer: Keras, tensor: Keras) -> None:
        """Refuse normalizations that no later step knows."""
        if kind(layer) not in ("BatchNormalization", "LayerNormalization"):
            return
        axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
        rank = len(tensor.shape)
        if [axis % rank for axis in axes] != [rank - 1]:
            raise InputError(
                f"{self._shown}: layer {layer.name!r} normalizes axes {list(axes)}",
                why="only the last one is supported",
            )
        if getattr(layer, "rms_scaling", False):
            raise InputError(
                f"{self._shown}: layer {layer.name!r} has rms_scaling",
                why="a LayerNormalization is imported if it subtracts the mean, too",
            )

    def _unknown(self, operation: Keras) -> InputError:
        kind_of = "layer" if isinstance(operation, keras().layers.Layer) else "operation"
        return InputError(
            f"{self._shown}: {kind_of} {operation.name!r} is a {kind(operation)}, which edgetl cannot import",
            why=f"known are {', '.join(KNOWN if kind_of == 'layer' else OPERATIONS)}",
            hint="Export the model to ONNX, which may have it as simpler operators: tf2onnx.convert.from_keras(model).",
        )


def _operation(operation: Keras, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
    """Call an operation of keras.ops; sums with constants are written so that no sum has a constant."""
    ops, tensors = keras().ops, [one for one in args[:2] if keras().backend.is_keras_tensor(one)]
    if kind(operation) == "Add":
        if len(tensors) == 2:
            return keras().layers.Add(name=name)(list(args[:2]))
        (constant,) = (one for one in args[:2] if one is not tensors[0])
        # Sums are taken for those of residual streams, whose channels int8 preparation scales.
        output = ops.subtract(tensors[0], -np.asarray(constant, np.float32))
    else:
        output = operation(*args, **kwargs)
    output._keras_history.operation.name = name
    return output


def _normalized(layer: Keras, tensor: Keras, name: str) -> Keras:
    """Return ``(tensor - mean) / sqrt(variance)`` of a Normalization, or its inverse, as a layer that int8 knows."""
    mean, variance = (np.asarray(value, np.float64).reshape(-1) for value in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), keras().backend.epsilon())
    factor, shift = (deviation, mean) if layer.invert else (1 / deviation, -mean / deviation)
    if np.ptp(factor) == 0 and np.ptp(shift) == 0:
        return keras().layers.Rescaling(float(factor[0]), float(shift[0]), name=name)(tensor)
    return per_channel(tensor, factor, shift, name)


def layer_normalized(tensor: Keras, epsilon: float, name: str, names: Names) -> Keras:
    """Return ``tensor`` with mean 0 and variance 1 over its last axis, in operations that TFLite has."""
    ops = keras().ops
    mean = ops.mean(tensor, axis=-1, keepdims=True)
    centred = keras().layers.Subtract(name=names.of(f"{name}.centred"))([tensor, mean])
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    # Not a sum: see _operation.
    factor = ops.rsqrt(ops.subtract(variance, np.float32(-epsilon)))
    return keras().layers.Multiply(name=names.of(f"{name}.normed"))([centred, factor])


def _layer_normalized(layer: Keras, tensor: Keras, name: str, names: Names) -> Keras:
    normed = layer_normalized(tensor, layer.epsilon, name, names)
    channels = tensor.shape[-1]
    gamma = np.asarray(layer.gamma) if layer.scale else np.ones(channels)
    beta = np.asarray(layer.beta) if layer.center else np.zeros(channels)
    return per_channel(normed, gamma, beta, name)


def _scales_pixels(network: Keras) -> str:
    """Return the name of the layer that scales raw pixels, if the model begins with one that can only be that."""
    for node in nodes_of(network):
        operation = node.operation
        if node.input_tensors[0] is network.inputs[0] and kind(operation) == "Rescaling":
            # From 0..255 to a few units; a factor near 1 or more works on pixels that are scaled already.
            return operation.name if 0 < float(np.max(operation.scale)) < 0.1 else ""
        if kind(operation) == "DepthwiseConv2D" and node.input_tensors[0] is network.inputs[0]:
            kernel = operation.get_weights()[0]
            return operation.name if operation.kernel_size == (1, 1) and 0 < kernel.max() < 0.1 else ""
        break
    return ""
