"""Tensors of an ONNX graph as Keras computes them, constants, and what the conversion of a node needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgetl._lib import extras
from edgetl.importing.plain import Names
from edgetl_device.errors import InputError

Keras = Any  # Keras and ONNX ship no types that mypy can follow.
Node = Any
Array = npt.NDArray[Any]

NHWC = (0, 2, 3, 1)


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor that depends on the photo.

    Attributes:
        tensor: The Keras tensor; its first axis is the batch.
        order: Axis i of the Keras tensor is axis ``order[i]`` of the ONNX tensor.
        rows: For a flattened feature map: the ONNX index of each of its elements, where these differ.
        padded: For the output of a Pad with zeros: its input, and the zeros before and after height and width.
    """

    tensor: Keras
    order: tuple[int, ...]
    rows: npt.NDArray[np.int64] | None = None
    padded: tuple[Keras, tuple[int, int, int, int]] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the ONNX tensor, for one photo."""
        found = [1] * len(self.order)
        for axis, side in zip(self.order, self.tensor.shape, strict=True):
            found[axis] = 1 if side is None else side
        return tuple(found)


Tensor = Value | Array


class Refused(Exception):
    """Why a node cannot be converted; :func:`refusal` adds which one."""


class Graph:
    """The state of a conversion.

    Args:
        readers: How many nodes read each tensor.
        outputs: Names of the graph's outputs.
        opset: Its opset, which decides what defaults mean.
    """

    def __init__(self, readers: Counter[str], outputs: Sequence[str], opset: int) -> None:
        self.opset = opset
        # Bytes of the constants that were computed.
        self.computed_bytes = 0
        self.values: dict[str, Tensor] = {}
        # Layers whose weights may still change, by the name of the ONNX tensor that they alone write.
        self.linear: dict[str, Keras] = {}
        # By name: the tensor, factor and offset that a Rescaling made it of.
        self.scalings: dict[str, tuple[Value, float, float]] = {}
        self.names = Names()
        self.layers, self.ops = extras.keras().layers, extras.keras().ops
        self._readers = readers + Counter(outputs)

    def value(self, name: str) -> Value:
        """Return an input that depends on the photo."""
        found = self.values[name]
        if not isinstance(found, Value):
            raise Refused(f"{name!r} is a constant")
        return found

    def constant(self, name: str) -> Array:
        """Return an input that is a constant."""
        found = self.values[name]
        if isinstance(found, Value):
            raise Refused(f"{name!r} is not a constant")
        return found

    def is_constant(self, name: str) -> bool:
        """Whether an input is a constant."""
        return not isinstance(self.values[name], Value)

    def read_once(self, name: str) -> bool:
        """Whether a tensor has one reader, and is not the output of the graph."""
        return self._readers[name] == 1

    def named(self, tensor: Keras, node: Node) -> Keras:
        """Give the operation that made a tensor the name of a node."""
        tensor._keras_history.operation.name = self.names.of(title(node))
        return tensor


def title(node: Node) -> str:
    """Return the name of a node without slashes: ``/features/0/Conv`` is ``features.0.Conv``."""
    name = node.name or (node.output[0] if node.output else "") or node.op_type
    return str(name).replace("::", "/").strip("/").replace("/", ".")


def attributes(node: Node) -> dict[str, Any]:
    """Return the attributes of a node; bytes are text."""
    helper = extras.require("onnx").helper
    found = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def given(node: Node, place: int) -> str:
    """Return the name of an optional input; empty if it is not given."""
    return str(node.input[place]) if len(node.input) > place else ""


def refusal(node: Node, why: str, path: str) -> InputError:
    """Return the error for a node."""
    return InputError(
        f"{path}: {node.op_type} {node.name or node.output[0]!r} cannot be imported",
        why=why,
        hint="Export the model with another form of this operator, or build it without.",
    )


def aligned(graph: Graph, value: Value, order: Sequence[int], node: Node) -> Keras:
    """Return a tensor with its axes in another order; data moves only if axes longer than 1 do."""
    order = tuple(order)
    if value.order == order:
        return value.tensor
    shape = value.shape
    if [axis for axis in value.order if shape[axis] > 1] == [axis for axis in order if shape[axis] > 1]:
        moved = graph.layers.Reshape([shape[axis] for axis in order[1:]])(value.tensor)
    else:
        moved = graph.layers.Permute([value.order.index(axis) for axis in order[1:]])(value.tensor)
    return graph.named(moved, node)


def standard(graph: Graph, value: Value, node: Node) -> Keras:
    """Return a tensor with its axes as in ONNX."""
    return aligned(graph, value, range(len(value.order)), node)


def channels_last(graph: Graph, value: Value, node: Node) -> Keras:
    """Return a feature map, ONNX [N, C, H, W], as [N, H, W, C]."""
    if len(value.order) != 4:
        raise Refused(f"its input has {len(value.order)} axes, not 4")
    return aligned(graph, value, NHWC, node)
