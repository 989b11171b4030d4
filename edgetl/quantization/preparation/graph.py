"""Walk a flat functional Keras model with real tensors, or rebuild it with changed layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib import extras
from edgetl._lib.interrupts import uninterrupted
from edgetl_device.errors import InputError

Keras = Any  # Keras ships no types that mypy can follow.

# Layers whose kernel becomes int8, one scale per output channel.
LINEAR = ("Conv2D", "DepthwiseConv2D", "Dense")


def kind(operation: Keras) -> str:
    """Return the Keras class name of a layer or operation."""
    return type(operation).__name__


def is_linear(operation: Keras) -> bool:
    """Return whether this is exactly a Conv2D, DepthwiseConv2D or Dense: a subclass may use its kernel differently."""
    keras = extras.keras()
    return any(type(operation) is getattr(keras.layers, name) for name in LINEAR)


def steps(model: Keras) -> list[Keras]:
    """Return the nodes of ``model`` (operation, arguments, outputs) in topological order.

    Raises:
        InputError: The model is not flat and functional with one input and one output, or uses a layer twice.
    """
    keras = extras.keras()
    if not hasattr(model, "_nodes_by_depth") or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(
            f"model {getattr(model, 'name', model)!r}: cannot be walked layer by layer",
            why="it must be a functional Keras model with one input and one output",
        )
    # Keras keeps the graph in this attribute only; its own clone_model and summary read it the same way.
    by_depth = model._nodes_by_depth
    found = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]
    for operation, uses in Counter(node.operation for node in found).items():
        if isinstance(operation, keras.Model):
            raise InputError(f"layer {operation.name!r}: is a nested model", hint="Build the model flat.")
        if uses > 1:
            raise InputError(f"layer {operation.name!r}: is used {uses} times", why="shared layers cannot be quantized")
    return found


def walk(model: Keras, inputs: Keras, compute: Callable[[Keras, tuple[Any, ...], dict[str, Any]], Keras]) -> Keras:
    """Evaluate ``model`` on ``inputs``, calling ``compute(operation, args, kwargs)`` for each operation.

    Tensors are freed after their last use: peak memory is that of the widest point of the graph.
    """
    order = steps(model)
    left = Counter(id(tensor) for node in order for tensor in node.input_tensors)
    values = {id(model.inputs[0]): inputs}
    for node in order:
        args, kwargs = node.arguments.fill_in(values)
        for tensor in node.input_tensors:
            left[id(tensor)] -= 1
            if not left[id(tensor)]:
                values.pop(id(tensor), None)
        values[id(node.outputs[0])] = compute(node.operation, args, kwargs)
        del args, kwargs
    return values[id(model.outputs[0])]


@uninterrupted()
def rebuild(
    model: Keras,
    weights: Mapping[str, Sequence[npt.NDArray[np.float32]]],
    *,
    drop: Collection[str] = (),
    config: Mapping[str, dict[str, Any]] | None = None,
    replace: Mapping[str, Sequence[Keras]] | None = None,
) -> Keras:
    """Return a copy of ``model`` with the same layer names and its own weights, without the layers in ``drop``.

    Args:
        model: A flat functional model.
        weights: New weights per layer name. A linear layer that is given two arrays gets a bias if it had none.
        drop: Names of one-input layers to remove; their readers get their input.
        config: Changed settings per layer name.
        replace: Per layer name, the sequence of new layers that replaces it; their weights are in ``weights``.
    """
    keras = extras.keras()
    replaced = replace or {}

    def clone(operation: Keras) -> Keras:
        if operation.name in drop or operation.name in replaced:
            return operation
        settings = operation.get_config() | (config or {}).get(operation.name, {})
        if is_linear(operation) and len(weights.get(operation.name, ())) == 2:
            settings["use_bias"] = True
        return type(operation).from_config(settings)

    def call(operation: Keras, *args: Any, **kwargs: Any) -> Any:
        if operation.name in replaced:
            output = args[0]
            for layer in replaced[operation.name]:
                output = layer(output)
            return output
        return args[0] if operation.name in drop else operation(*args, **kwargs)

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in copy.layers:
        if layer.name in weights:
            layer.set_weights(list(weights[layer.name]))
        elif layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return copy
