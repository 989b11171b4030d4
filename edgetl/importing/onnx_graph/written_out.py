"""What exporters write out in several nodes, found and made one node.

GELU with Erf, as for opsets before 20: TFLite has GELU and no Erf. Hendrycks and Gimpel 2016, arXiv:1606.08415:
x * (1 + erf(x / sqrt(2))) / 2. And PyTorch's ``as_strided`` that changes nothing but the shape.
"""

from __future__ import annotations

import math
from typing import Any

from edgetl._lib import extras

Node = Any


def joined(graph: Any) -> list[Node]:
    """Return the nodes of a graph with each written-out operation replaced by one node; constants may be added."""
    return _with_gelu(graph, _with_reshapes(graph))


def _with_reshapes(graph: Any) -> list[Node]:
    """Replace a Reshape to one axis and a Gather of all elements in their order by one Reshape."""
    onnx = extras.require("onnx")
    nodes = list(graph.node)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in nodes for name in node.output}
    for place, gather in enumerate(nodes):
        flat = makers.get(gather.input[0]) if gather.op_type == "Gather" else None
        if flat is None or flat.op_type != "Reshape" or not {flat.input[1], gather.input[1]} <= set(constants):
            continue
        indices = onnx.numpy_helper.to_array(constants[gather.input[1]])
        if list(constants[flat.input[1]].dims) != [1] or indices.ndim < 2:
            continue
        if indices.reshape(-1).tolist() != list(range(indices.size)):
            continue
        shape = onnx.helper.make_tensor(f"{gather.name}.shape", onnx.TensorProto.INT64, [indices.ndim], indices.shape)
        graph.initializer.append(shape)
        inputs, outputs = [flat.input[0], shape.name], list(gather.output)
        nodes[place] = onnx.helper.make_node("Reshape", inputs, outputs, name=gather.name)
    used = {name for node in nodes for name in node.input} | {one.name for one in graph.output}
    return [node for node in nodes if used & set(node.output)]


def _with_gelu(graph: Any, nodes: list[Node]) -> list[Node]:
    """Replace each written-out GELU by one node ``Gelu``."""
    onnx = extras.require("onnx")
    numbers = {
        tensor.name: float(onnx.numpy_helper.to_array(tensor).reshape(-1)[0])
        for tensor in graph.initializer
        if math.prod(tensor.dims) == 1 and tensor.data_type == onnx.TensorProto.FLOAT
    }
    makers = {name: node for node in nodes for name in node.output}
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for erf in [node for node in nodes if node.op_type == "Erf"]:
        found = _gelu(erf, makers, readers, numbers)
        if found is None:
            continue
        source, parts, last = found
        gelu = onnx.helper.make_node("Gelu", [source], [last.output[0]], name=last.name or erf.name)
        place = nodes.index(last)
        nodes[place] = gelu
        nodes = [node for node in nodes if not any(node is part for part in parts)]
    return nodes


def _gelu(
    erf: Node, makers: dict[str, Node], readers: dict[str, list[Node]], numbers: dict[str, float]
) -> tuple[str, list[Node], Node] | None:
    """Return the input, the nodes to remove and the last node of a GELU around an Erf."""
    scaled = makers.get(erf.input[0])
    if scaled is None or scaled.op_type not in ("Div", "Mul"):
        return None
    source, factor = _and_number(scaled, numbers)
    wanted = math.sqrt(2) if scaled.op_type == "Div" else math.sqrt(0.5)
    if source is None or abs(factor - wanted) > 1e-4:
        return None
    plus = _only_reader(erf, readers)
    if plus is None or plus.op_type != "Add" or _and_number(plus, numbers)[1] != 1:
        return None
    parts, product, halved, has_source = [scaled, erf, plus], plus, False, False
    # The factors x and 1/2 come in any order; 1/2 may be on x.
    while not (halved and has_source):
        after = _only_reader(product, readers)
        if after is None or after.op_type not in ("Mul", "Div"):
            return None
        other = next((name for name in after.input if name != product.output[0]), "")
        if other == source:
            has_source = True
        elif numbers.get(other) == (0.5 if after.op_type == "Mul" else 2.0):
            halved = True
        elif (half := makers.get(other)) is not None and half.op_type in ("Mul", "Div"):
            name, number = _and_number(half, numbers)
            if name != source or number != (0.5 if half.op_type == "Mul" else 2.0):
                return None
            halved = has_source = True
            if len(readers[other]) == 1:
                parts.append(half)
        else:
            return None
        parts.append(after)
        product = after
    return source, [part for part in parts if part is not product], product


def _only_reader(node: Node, readers: dict[str, list[Node]]) -> Node | None:
    found = readers.get(node.output[0], [])
    return found[0] if len(found) == 1 else None


def _and_number(node: Node, numbers: dict[str, float]) -> tuple[str | None, float]:
    """Return the input of a node that is not a number, and the number."""
    for name, other in ((node.input[0], node.input[1]), (node.input[1], node.input[0])):
        if other in numbers and name not in numbers:
            return name, numbers[other]
    return None, math.nan
