"""Cut one operator, or everything after a tensor, out of a TFLite file as a file of its own."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

from edgetl.inspection.tflite.file import TFLiteModel
from edgetl.inspection.tflite.tree import Buffer, pack_tree


@dataclass(frozen=True)
class Cut:
    """A part of a TFLite file.

    Attributes:
        model: A TFLite file with the part's operators; all tensors keep their indices in the whole file.
        inputs: Maps the index of a tensor in the whole file to the index of the input of ``model`` that takes its
            values.
        outputs: Indices of the tensors that the part computes.
    """

    model: bytes
    inputs: dict[int, int]
    outputs: tuple[int, ...]


def separate(tree: Any, described: TFLiteModel) -> Cut:
    """Return a file whose operators are independent: every activation that an operator reads is an input of the file.

    One inference runs all operators, each on its own inputs, with the kernel options, integer weights, biases and
    scales of the original file.

    Args:
        tree: The file from :func:`edgetl.inspection.tflite.tree.read_tree`; it is not changed.
        described: The same file from :func:`edgetl.inspection.tflite.file.describe`.
    """
    whole, graph = _copied(tree)
    inputs: dict[int, int] = {}
    operators = []
    for operator, seen in zip(graph.operators, described.operators, strict=True):
        alone = copy(operator)
        for index in seen.inputs:
            if index >= 0 and not described.tensors[index].constant and index not in inputs:
                inputs[index] = len(graph.tensors)
                entry = copy(graph.tensors[index])
                entry.name = b"input/" + (entry.name or b"")
                graph.tensors.append(entry)
        alone.inputs = [inputs.get(index, index) for index in seen.inputs]
        operators.append(alone)
    graph.operators = operators
    graph.inputs = list(inputs.values())
    graph.outputs = [index for operator in described.operators for index in operator.outputs]
    return Cut(pack_tree(whole), inputs, tuple(graph.outputs))


def after(tree: Any, described: TFLiteModel, tensor: int) -> Cut:
    """Return the part of a file that depends on ``tensor``, from there to the file's outputs.

    Other activations that cross the cut, such as the other branch of a residual addition, become inputs too.

    Args:
        tree: The file from :func:`edgetl.inspection.tflite.tree.read_tree`; it is not changed.
        described: The same file from :func:`edgetl.inspection.tflite.file.describe`.
        tensor: Index of the activation to cut at.
    """
    whole, graph = _copied(tree)
    reached, kept = {tensor}, []
    for place, seen in enumerate(described.operators):
        if reached.intersection(seen.inputs):
            kept.append(place)
            reached.update(seen.outputs)
    read = [index for place in kept for index in described.operators[place].inputs if index >= 0]
    made = {index for place in kept for index in described.operators[place].outputs}
    inputs = {index: index for index in read if index not in made and not described.tensors[index].constant}
    graph.operators = [graph.operators[place] for place in kept]
    graph.inputs = list(inputs)
    graph.outputs = [index for index in described.outputs if index in made]
    # Drop constants that are no longer read.
    stored = {graph.tensors[index].buffer for index in read}
    whole.buffers = [buffer if place in stored else Buffer(None) for place, buffer in enumerate(whole.buffers)]
    return Cut(pack_tree(whole), inputs, tuple(graph.outputs))


def _copied(tree: Any) -> tuple[Any, Any]:
    whole, graph = copy(tree), copy(tree.subgraphs[0])
    graph.tensors = list(graph.tensors)
    whole.subgraphs = [graph]
    # Both refer to tensors of the whole file.
    whole.signatureDefs, whole.metadata = [], []
    return whole, graph
