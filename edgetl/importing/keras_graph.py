"""Keras models to one flat graph of plain layers: nested models opened, shared layers copied, training layers left out.

Files of Keras 2 and 3. A file cannot bring code: its configuration is looked through before Keras sees it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetl._lib.extras import keras
from edgetl._lib.interrupts import uninterrupted
from edgetl._lib.quiet import quietly
from edgetl_device.documents import Json
from edgetl_device.errors import InputError, OptionError

from .plain import Keras, Names, called, cloned, kind, nodes_of, per_channel, transformed

# Layers that are the same for the converters and the int8 preparation of edgetl's own models, by class name.
KNOWN = (
    "Activation", "Add", "Average", "AveragePooling2D", "BatchNormalization", "Concatenate", "Conv2D", "Cropping2D",
    "Dense", "DepthwiseConv2D", "ELU", "Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "LayerNormalization",
    "LeakyReLU", "MaxPooling2D", "Maximum", "Minimum", "Multiply", "Normalization", "Permute", "ReLU", "Rescaling",
    "Reshape", "Resizing", "SeparableConv2D", "Softmax", "Subtract", "UpSampling2D", "ZeroPadding2D",
)  # fmt: skip
# Layers that do nothing after training.
IDLE = (
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity", "RandomApply",
    "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomCrop", "RandomErasing",
    "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHeight", "RandomHue", "RandomInvert",
    "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear",
    "RandomTranslation", "RandomWidth", "RandomZoom", "SpatialDropout2D",
)  # fmt: skip
_CONTAINERS = ("Functional", "Model", "Sequential", "InputLayer")
# Operations of keras.ops and of Keras 2's functional TensorFlow calls that Keras 3 reads.
OPERATIONS = (
    "Absolute", "Add", "Clip", "Divide", "Exp", "GetItem", "Maximum", "Mean", "Minimum", "Multiply", "Negative", "Pad",
    "Power", "Relu", "Relu6", "Reshape", "Rsqrt", "Sigmoid", "Silu", "Softmax", "Sqrt", "Square", "Subtract", "Tanh",
    "Transpose", "TrueDivide",
)  # fmt: skip
_LAMBDA = ("Lambda", "__lambda__", "TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")
_WITHOUT_CODE = (
    "Where its code is, build the model from standard layers, or export it to ONNX: tf2onnx.convert.from_keras(model)."
)
_MOST_DEPTH = 100
_KERNEL = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")
# By class of layer: settings that Keras 2 wrote, with no effect or one effect only, and that Keras 3 does not take.
_OF_KERAS_2 = {
    "BatchNormalization": ("fused", "renorm", "renorm_clipping", "renorm_momentum", "virtual_batch_size", "adjustment"),
    "DepthwiseConv2D": ("groups", *_KERNEL),
    "SeparableConv2D": ("groups", *_KERNEL),
}


@dataclass(frozen=True, eq=False)
class KerasNetwork:
    """A Keras model as a flat graph.

    Attributes:
        network: Flat functional keras.Model, float32 [None, size, size, 3] to the outputs of the original.
        size: Height and width of the input.
        scales_pixels: Name of the layer that scales raw pixels; empty if it takes scaled ones, or that is not known.
        fit: ``crop`` if the model itself cropped photos to its size, ``stretch`` if it resized them; empty otherwise.
    """

    network: Keras
    size: int
    scales_pixels: str
    fit: str


def check_config(text: str, path: Path) -> None:
    """Refuse an architecture with code or unknown layers, before Keras reads it.

    Raises:
        InputError: It has a Lambda, a custom layer, or a layer that edgetl does not know; the layer is named.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its architecture is damaged", why=str(error)) from None
    for class_name, name, registered in _classes(config, 0):
        if class_name in _LAMBDA:
            raise InputError(
                f"{path}: layer {name!r} is a {class_name}", why="it is Python code in a file", hint=_WITHOUT_CODE
            )
        if registered:
            raise InputError(
                f"{path}: layer {name!r} is a custom {class_name}",
                why="its code is not in the file",
                hint=_WITHOUT_CODE,
            )


def _classes(config: Json, depth: int) -> Iterator[tuple[str, str, bool]]:
    """Yield class name, layer name, and whether it is registered by the user, of every object in a configuration."""
    if depth > _MOST_DEPTH:
        raise InputError("the architecture is nested too deeply")
    if isinstance(config, dict):
        if isinstance(class_name := config.get("class_name"), str):
            inner = config.get("config")
            name = config.get("name") or (inner.get("name") if isinstance(inner, dict) else "") or class_name
            registered = config.get("registered_name") or ""
            module = config.get("module") or ""
            custom = ">" in str(registered) and not str(registered).startswith("keras")
            yield class_name, str(name), custom or not str(module or "keras").startswith(("keras", "builtins"))
        for value in config.values():
            yield from _classes(value, depth + 1)
    elif isinstance(config, list):
        for value in config:
            yield from _classes(value, depth + 1)


def as_keras_3(text: str) -> str:
    """Return the architecture of a checked ``.h5`` without settings of Keras 2 that Keras 3 refuses."""

    def modern(config: Json) -> Json:
        if isinstance(config, list):
            return [modern(value) for value in config]
        if not isinstance(config, dict):
            return config
        found = {name: modern(value) for name, value in config.items()}
        settings, class_name = found.get("config"), found.get("class_name")
        if isinstance(settings, dict) and isinstance(class_name, str):
            for name in _OF_KERAS_2.get(class_name, ()):
                settings.pop(name, None)
            axis = settings.get("axis")
            if class_name == "BatchNormalization" and isinstance(axis, list) and len(axis) == 1:
                settings["axis"] = axis[0]
        return found

    return json.dumps(modern(json.loads(text)))


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
        text = " ".join(str(error).split())
        raise InputError(
            f"{shown}: Keras {keras().__version__} cannot load it", why=text[:300], hint=_WITHOUT_CODE
        ) from None


@uninterrupted()
def flat_network(model: Keras, *, size: int | None, shown: Path) -> KerasNetwork:
    """Turn a loaded Keras model into one flat graph.

    Args:
        model: keras.Model, functional or sequential, channels last.
        size: Height and width of the input, for a model that takes any.
        shown: Name of its file in messages.

    Raises:
        InputError: It has several inputs or outputs, another input than square RGB photos, or a layer that edgetl does
            not know.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(
            f"{shown}: has {len(model.inputs)} inputs and {len(model.outputs)} outputs",
            why="an image classifier has one of each",
            hint="Detectors are not supported. Save a model with the scores of the classes as its only output.",
        )
    flattening = _Flattening(shown)
    resized = _first_resizing(model)
    shape = tuple(model.inputs[0].shape)
    side = _side(shape, size, resized, shown)
    pixels = keras().layers.Input((side, side, 3), name="input")
    (output,) = flattening.run(model, [pixels], "", skip=resized if None in shape[1:3] else None)
    fit = ""
    if resized is not None and None in shape[1:3]:
        fit = "crop" if resized.crop_to_aspect_ratio else "pad" if resized.pad_to_aspect_ratio else "stretch"
    network = keras().Model(pixels, output)
    return KerasNetwork(network, side, _scales_pixels(network), fit)


def _side(shape: tuple[Any, ...], size: int | None, resized: Keras | None, shown: Path) -> int:
    text = ", ".join("?" if side is None else str(side) for side in shape)
    if len(shape) != 4 or shape[3] != 3:
        raise InputError(
            f"{shown}: its input has shape [{text}]",
            why="an RGB photo is [batch, S, S, 3]",
            hint="Models of one channel, and of other inputs than photos, are not supported.",
        )
    sides = [side for side in shape[1:3] if side is not None]
    if len(sides) < 2 and resized is not None:
        sides = [resized.height, resized.width]
    if size is not None and any(side != size for side in sides):
        raise OptionError(f"{shown}: its input has shape [{text}], not {{size=}}", hint="Leave out {size}.", size=size)
    if not sides and size is None:
        raise OptionError(
            f"{shown}: its input has shape [{text}]: it takes any size",
            hint="Give the one it was trained with, such as {size} 224.",
        )
    height, width = (sides * 2)[:2] if sides else (size, size)
    if height != width:
        raise InputError(f"{shown}: its input is {height} x {width}", why="edgetl takes square ones")
    assert height is not None
    return int(height)


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
        if name_of_class == "Normalization":
            return _normalized(operation, args[0], name)
        if name_of_class == "LayerNormalization":
            return _layer_normalized(operation, args[0], name, self._names)
        return called(cloned(operation, name), *args, **kwargs)

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
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    rank = len(tensor.shape)
    if [axis % rank for axis in axes] != [rank - 1]:
        raise InputError(f"layer {layer.name!r}: normalizes axes {list(axes)}", why="only the last one is supported")
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
