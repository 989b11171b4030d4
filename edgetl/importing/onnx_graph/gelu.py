"""GELU written out with Erf, as exporters for opsets before 20 do, found and made one node.

TFLite has GELU and no Erf. Hendrycks and Gimpel 2016, arXiv:1606.08415: x * (1 + erf(x / sqrt(2))) / 2.
"""

from __future__ import annotations

import math
from typing import Any

from edgetl._lib import extras

Node = Any


def with_gelu(graph: Any) -> list[Node]:
    """Return the nodes of a graph with each written-out GELU replaced by one node ``Gelu``."""
    onnx = extras.require("onnx")
    nodes = list(graph.node)
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
