"""One flat Keras graph of plain layers, with the names and ends that the rest of edgetl expects.

Names matter: exported files are searched for a layer by its name, and converters number what has the same one.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgetl._lib.extras import keras
from edgetl._lib.interrupts import uninterrupted
from edgetl.backbones.graph import INPUT_LAYER, scale_pixels
from edgetl.backbones.spec import SCALE_LAYER, Scaling
from edgetl_device.errors import InputError
from edgetl_device.input_size import InputSize

Keras = Any  # Keras ships no types that mypy can follow.
End = Literal["softmax", "log-softmax", "sigmoids", "one sigmoid", "logits", "one logit"]
# What an operation becomes: gets the operation and its arguments on the new tensors, returns its new output.
Call = Callable[[Keras, tuple[Any, ...], dict[str, Any]], Any]

LINEAR = ("Conv2D", "DepthwiseConv2D", "Dense")
_DRAWN = ("kernel_initializer", "depthwise_initializer", "pointwise_initializer")
# A diagonal matrix of more rows is larger than most models: 4096 take 64 MB.
_MOST_DIAGONAL = 2048
# Of one layer for one photo: 64 channels of 1024 x 1024. Photos are computed in batches.
MOST_OUTPUTS = 1 << 26
_LOGITS, _PROBABILITIES, _POOL = "logits", "probabilities", "pool"
_RESERVED = (INPUT_LAYER, SCALE_LAYER, _LOGITS, _PROBABILITIES, _POOL)
_ENDS = {"softmax": "softmax", "log_softmax": "log-softmax", "sigmoid": "sigmoids"}
# Keras' operations of the same meaning as its layers and activations, by class name.
_END_OPERATIONS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid"}
# Operations that put out the values they get, if as many, in another shape or order.
_SHAPING = (
    "ExpandDims", "Flatten", "GetItem", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "Identity", "Permute",
    "Reshape", "Squeeze", "Transpose",
)  # fmt: skip
# Outputs that sum to 1 within this are probabilities: float16 sums are off by less.
_OF_ONE = 1e-3
# Fewer single outputs may be from 0 to 1 by chance.
_LEAST_SINGLE = 20


class Names:
    """Unique names of layers, made of those in a file."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, text: str) -> str:
        """Return a name for a layer that is called ``text`` in its file.

        Converters append counters (``conv_1``), so no name ends in one: a number is set off with a dot.
        """
        name = re.sub(r"[^A-Za-z0-9.\-]+", "_", text).strip("_.-") or "layer"
        if not name[0].isalnum():
            name = f"layer.{name}"
        name = re.sub(r"_(\d+)$", r".\1", name)
        if name in _RESERVED:
            name += "-layer"
        found, count = name, 1
        while found in self._taken:
            count += 1
            found = f"{name}.copy{count}"
        self._taken.add(found)
        return found


def kind(operation: Keras) -> str:
    """Return the class name of a layer or operation."""
    return type(operation).__name__


def nodes_of(model: Keras) -> list[Keras]:
    """Return the nodes of a functional or sequential model in topological order.

    Raises:
        InputError: It is a subclassed model, whose graph is code.
    """
    functional = getattr(model, "_functional", None) or model
    if not hasattr(functional, "_nodes_by_depth"):
        raise InputError(
            f"model {getattr(model, 'name', model)!r}: is a subclassed Keras model",
            why="its graph is Python code, which is not in the file",
            hint="Export it to ONNX where its code is: tf2onnx.convert.from_keras(model).",
        )
    by_depth = functional._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def transformed(model: Keras, inputs: Sequence[Keras], call: Call) -> list[Keras]:
    """Return the outputs of a functional model on other tensors, each operation replaced by what ``call`` makes."""
    flatten = keras().tree.flatten
    functional = getattr(model, "_functional", None) or model
    values = {id(tensor): value for tensor, value in zip(flatten(functional.inputs), inputs, strict=True)}
    for node in nodes_of(model):
        args, kwargs = node.arguments.fill_in(values)
        outputs = flatten(call(node.operation, args, kwargs))
        values.update(zip(map(id, node.outputs), outputs, strict=True))
    return [values[id(tensor)] for tensor in flatten(functional.outputs)]


def check_feature_maps(network: Keras, *, shown: str) -> None:
    """Refuse a flat network whose outputs of a layer take too much memory, before it is run.

    Raises:
        InputError: One does; it is named.
    """
    for node in nodes_of(network):
        for tensor in node.outputs:
            count = math.prod(side or 1 for side in tensor.shape[1:])
            if count > MOST_OUTPUTS:
                raise InputError(
                    f"{shown}: layer {node.operation.name!r} puts out {4 * count / 1e9:.1f} GB a photo",
                    why=f"at most {4 * MOST_OUTPUTS / 1e9:.1f} GB are computed",
                    hint="Export the model for a smaller input.",
                )


def cloned(operation: Keras, name: str, **changes: Any) -> Keras:
    """Return a float32 copy of a layer under another name, with its weights; call it with :func:`called`."""
    config = operation.get_config()
    # Drawing initial weights takes longer than everything else, and they are replaced.
    drawn = {key: "zeros" for key in config if key.endswith(_DRAWN)}
    config |= {"name": name, "dtype": "float32", "trainable": True} | drawn | changes
    copy = type(operation).from_config(config)
    copy._edgetl_weights = operation.get_weights()
    return copy


def called(layer: Keras, *args: Any, weights: Sequence[npt.NDArray[np.float32]] | None = None, **kwargs: Any) -> Keras:
    """Call a new layer, then set its weights: those given, or those of the layer that it was cloned from."""
    output = layer(*args, **kwargs)
    arrays = getattr(layer, "_edgetl_weights", ()) if weights is None else weights
    if len(arrays):
        layer.set_weights([np.asarray(array, np.float32) for array in arrays])
    return output


def per_channel(
    tensor: Keras, factor: npt.NDArray[np.floating[Any]], shift: npt.NDArray[np.floating[Any]], name: str
) -> Keras:
    """Return ``tensor * factor + shift`` per channel (its last axis) as a layer that int8 knows."""
    layers, channels = keras().layers, tensor.shape[-1]
    factor, shift = (np.broadcast_to(part, channels).astype(np.float32) for part in (factor, shift))
    if len(tensor.shape) == 4:
        return called(layers.DepthwiseConv2D(1, name=name), tensor, weights=[factor.reshape(1, 1, -1, 1), shift])
    if len(tensor.shape) == 2 and channels > _MOST_DIAGONAL:
        pixel = layers.Reshape((1, 1, channels), name=f"{name}.pixel")(tensor)
        scaled = called(layers.DepthwiseConv2D(1, name=name), pixel, weights=[factor.reshape(1, 1, -1, 1), shift])
        return layers.Flatten(name=f"{name}.flat")(scaled)
    return called(layers.Dense(channels, name=name), tensor, weights=[np.diag(factor), shift])


@dataclass(frozen=True, eq=False)
class Finished:
    """An imported model.

    Attributes:
        model: keras.Model from ``pixels`` (raw RGB 0..255) to ``probabilities``, with a layer ``logits``.
        ends_in: What the original puts out; ``logits`` and :func:`original_outputs` give it back.
    """

    model: Keras
    ends_in: End


@uninterrupted()
def finished(network: Keras, scaling: Scaling | None, *, size: InputSize, name: str) -> Finished:
    """Put raw pixels before a flat network and a softmax after it, and settle its BatchNorms and names.

    Args:
        network: Flat functional model, float32 [None, H, W, C] to the outputs of the original.
        scaling: From raw pixels to the network's input; None if it takes raw pixels.
        size: Height, width and channels of the input.
        name: Name of the model.

    Raises:
        InputError: The outputs are not one row of two or more scores, or one score.
    """
    layers = keras().layers
    names, nodes = Names(), nodes_of(network)
    readers = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    writers = {id(node.outputs[0]): node for node in nodes}
    last, end = _end(nodes, network.outputs[0])

    def call(operation: Keras, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        title = names.of(operation.name)
        if operation is last:
            if kind(operation) in LINEAR:
                return called(cloned(operation, title, activation="linear"), *args)
            return args[0]
        if kind(operation) == "BatchNormalization" and not _folds(by_operation[id(operation)], writers, readers):
            return per_channel(args[0], *factor_and_shift(operation), title)
        if isinstance(operation, layers.Layer):
            return called(cloned(operation, title), *args, **kwargs)
        output = operation(*args, **kwargs)
        output._keras_history.operation.name = title
        return output

    by_operation = {id(node.operation): node for node in nodes}
    pixels = layers.Input(size.shape, name=INPUT_LAYER)
    start = pixels if scaling is None else scale_pixels(pixels, scaling)
    (scores,) = transformed(network, [start], call)
    if len(scores.shape) > 2 and max(scores.shape[1:]) == math.prod(scores.shape[1:]):
        scores = layers.Flatten(name=names.of("flat_scores"))(scores)
    if len(scores.shape) != 2:
        raise InputError(
            f"the model's output has shape {list(scores.shape)}",
            why="an image classifier has one row of scores: [1, classes]",
        )
    if scores.shape[-1] == 1:
        scores = _two_scores(scores)
    writer = scores._keras_history.operation
    if not isinstance(writer, layers.Layer) or writer.name == SCALE_LAYER:
        scores = layers.Activation("linear", name=_LOGITS)(scores)
    else:
        writer.name = _LOGITS
    model = keras().Model(pixels, layers.Softmax(name=_PROBABILITIES)(scores), name=name)
    _name_pool(model)
    single = _is_single(network)
    if single and end == "softmax":
        raise InputError("the model's output is one softmax", why="that is always 1, whatever the photo")
    return Finished(model, _single(end) if single else end)


def original_outputs(logits: npt.NDArray[np.float32], ends_in: End) -> npt.NDArray[np.float64]:
    """Return what the original would put out for logits of the import, after softmax or sigmoid.

    Args:
        logits: float32 [n, classes] of an imported model.
        ends_in: How the original ends. Of logits, the softmax is taken; of one logit, the sigmoid.
    """
    wide = logits.astype(np.float64)
    if ends_in in ("one sigmoid", "one logit"):
        return sigmoid(wide[:, 1:] - wide[:, :1])
    return sigmoid(wide) if ends_in == "sigmoids" else softmax(wide)


def comparable(outputs: npt.NDArray[np.float32], ends_in: End) -> npt.NDArray[np.float64]:
    """Return the outputs of the original on the scale of :func:`original_outputs`."""
    wide = outputs.reshape(len(outputs), -1).astype(np.float64)
    if ends_in == "logits":
        return softmax(wide)
    if ends_in == "one logit":
        return sigmoid(wide)
    return np.exp(wide) if ends_in == "log-softmax" else wide


def class_scores(outputs: npt.NDArray[np.float32], ends_in: End) -> npt.NDArray[np.float64]:
    """Return logits per class, float64 [n, classes], for outputs of the original; one output counts as two classes."""
    found = comparable(outputs, ends_in)
    if found.shape[1] == 1:
        found = np.concatenate([1 - found, found], axis=1)
        ends_in = "softmax"
    tiny = np.finfo(np.float32).tiny
    scores = np.log(np.maximum(found, tiny))
    # The logit of a sigmoid; the others are logarithms of probabilities already.
    return scores - np.log(np.maximum(1 - found, np.finfo(np.float64).eps)) if ends_in == "sigmoids" else scores


def are_probabilities(outputs: npt.NDArray[np.float32], ends_in: End) -> bool:
    """Return whether outputs that count as logits by the end of the graph are probabilities on each of these photos.

    They are if they are not negative and sum to 1; single ones, if they are from 0 to 1 on 20 photos or more.
    """
    rows = outputs.reshape(len(outputs), -1).astype(np.float64)
    if ends_in == "one logit":
        return len(rows) >= _LEAST_SINGLE and bool((rows >= 0).all() and (rows <= 1).all())
    if ends_in != "logits" or not (rows >= 0).all():
        return False
    return bool((np.abs(rows.sum(axis=1) - 1) <= _OF_ONE).all())


def softmax(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the softmax over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sigmoid(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logistic function."""
    return np.asarray(0.5 * (1 + np.tanh(scores / 2)))


def ends_in(network: Keras) -> End:
    """Return what a flat network ends in."""
    _, end = _end(nodes_of(network), network.outputs[0])
    return _single(end) if _is_single(network) else end


def _is_single(network: Keras) -> bool:
    return int(math.prod(network.outputs[0].shape[1:])) == 1


def _single(end: End) -> End:
    return "one sigmoid" if end == "sigmoids" else "one logit"


def _end(nodes: Sequence[Keras], output: Keras) -> tuple[Keras | None, End]:
    """Return the operation that turns scores into the output, if there is one, and what it makes.

    Operations after it that change no values do not hide it.
    """
    node = next((one for one in nodes if one.outputs[0] is output), None)
    while node is not None:
        if end := _end_of(node):
            return node.operation, end
        if not _changes_no_values(node):
            break
        source = node.input_tensors[0]
        node = next((one for one in nodes if one.outputs[0] is source), None)
    return None, "logits"


def _end_of(node: Keras) -> End | None:
    """Return what an operation makes of scores; None if it is no end, or one over a part of the scores only."""
    operation = node.operation
    name = _END_OPERATIONS.get(kind(operation))
    if kind(operation) == "Activation" or kind(operation) in LINEAR:
        name = getattr(operation.activation, "__name__", None)
    found = _ENDS.get(name or "")
    if found in ("softmax", "log-softmax"):
        shape = node.outputs[0].shape
        axis = getattr(operation, "axis", -1)
        axes = axis if isinstance(axis, (list, tuple)) else [axis]
        if math.prod(shape[one] or 0 for one in axes) != math.prod(shape[1:]):
            return None
    return found  # type: ignore[return-value]  # one of them


def _changes_no_values(node: Keras) -> bool:
    """Return whether an operation puts out what it gets, in any order and shape."""
    operation = node.operation
    if kind(operation) == "Activation":
        return bool(operation.activation is keras().activations.linear)
    if kind(operation) not in _SHAPING or len(node.input_tensors) != 1:
        return False
    before, after = (math.prod(tensor.shape[1:]) for tensor in (node.input_tensors[0], node.outputs[0]))
    return bool(before == after)


def _folds(node: Keras, writers: dict[int, Keras], readers: Counter[int]) -> bool:
    """Return whether int8 preparation can fold a BatchNormalization into the layer before it."""
    source = node.input_tensors[0]
    before = writers.get(id(source))
    if before is None or readers[id(source)] != 1:
        return False
    if kind(before.operation) not in (*LINEAR, "SeparableConv2D"):
        return False
    return before.operation.activation is keras().activations.linear


def factor_and_shift(norm: Keras) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the factor and shift per channel that equal a BatchNormalization after training."""
    mean, variance = (np.asarray(value, np.float64) for value in (norm.moving_mean, norm.moving_variance))
    gamma = np.asarray(norm.gamma, np.float64) if norm.scale else np.ones_like(mean)
    beta = np.asarray(norm.beta, np.float64) if norm.center else np.zeros_like(mean)
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return factor, beta - mean * factor


def _two_scores(score: Keras) -> Keras:
    """Turn one score z into two whose softmax is 1 - sigmoid(z) and sigmoid(z)."""
    halves = np.array([[-0.5, 0.5]], np.float32)
    writer = score._keras_history.operation
    if kind(writer) != "Dense" or writer.activation is not keras().activations.linear:
        return called(keras().layers.Dense(2, name=_LOGITS), score, weights=[halves, np.zeros(2, np.float32)])
    kernel, *bias = writer.get_weights()
    wider = keras().layers.Dense(2, use_bias=bool(bias), name=_LOGITS)
    return called(
        wider,
        writer.input,
        weights=[array.reshape(-1, 1) @ halves for array in (kernel,)] + [array * halves[0] for array in bias],
    )


def _name_pool(model: Keras) -> None:
    """Give the name ``pool`` to the layer that reads the last feature map, for Grad-CAM; there may be none."""
    logits = model.get_layer(_LOGITS).output
    for node in reversed(nodes_of(model)):
        if not node.input_tensors or not isinstance(node.operation, keras().layers.Layer):
            continue
        before, after = node.input_tensors[0].shape, node.outputs[0].shape
        is_map = len(before) == 4 and before[1] * before[2] > 1
        pools = len(after) == 2 or (len(after) == 4 and after[1] * after[2] == 1)
        if not is_map or not pools:
            continue
        try:
            keras().Model(node.input_tensors[0], logits)
        except ValueError:
            return  # the logits depend on more than this map
        if node.operation.name not in _RESERVED:
            node.operation.name = _POOL
        return
